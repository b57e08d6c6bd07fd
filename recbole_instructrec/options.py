"""Every option of InstructRec, read from the comments of ``properties/InstructRec.yaml``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from recbole_instructrec.registry import PROPERTIES

_SECTION = re.compile(r"^# --- (?P<title>.+?) -+$")
_OPTION = re.compile(r"^(?P<name>[A-Za-z_]+):\s*(?P<default>.*?)\s*(?:#\s*(?P<text>.*))?$")
_NESTED = re.compile(r"^  (?P<name>\w+):\s*(?P<default>\S+)")


@dataclass
class Option:
    """One option: its section, name, default as written, and what it does."""

    section: str
    name: str
    default: str
    text: str


def options() -> list[Option]:
    """All options in the order of the file."""
    found: list[Option] = []
    section = ""
    for line in (PROPERTIES / "InstructRec.yaml").read_text(encoding="utf-8").splitlines():
        if match := _SECTION.match(line):
            section = match["title"]
        elif match := _NESTED.match(line):
            found[-1].default += f"{', ' if found[-1].default else ''}{match['name']}: {match['default']}"
        elif match := _OPTION.match(line):
            found.append(Option(section, match["name"], match["default"], match["text"] or "(as in RecBole)"))
    return found


def help_text() -> str:
    """The options as text for ``--help``."""
    lines: list[str] = []
    section = None
    for option in options():
        if option.section != section:
            section = option.section
            lines.append(f"\n{section}:")
        lines.append(f"  --{option.name}={option.default or '~'}")
        lines.append(f"      {option.text}")
    return "\n".join(lines)
