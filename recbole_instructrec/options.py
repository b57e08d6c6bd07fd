"""Every option of InstructRec, read from the comments of ``properties/InstructRec.yaml``."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path
from typing import Any

from recbole_instructrec.report import TOLD
from recbole_instructrec.spelling import did_you_mean

PROPERTIES = Path(__file__).parent / "properties"

#: What is done where settings do not have an option because they are older than it: checkpoints and results of before.
#: The default may have become another since.
MEANT: dict[str, float] = {"neighbour_back": 0.5, "cooccurrence_weight": 0.0, "network_weight": 1.0}


def as_meant(config: Any, name: str) -> float:
    """A value that settings have, or what was done when they did not know the option (one of :data:`MEANT`)."""
    value: float | None = config[name]
    return MEANT[name] if value is None else value


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
            before = found[-1].default.strip("{}")
            found[-1].default = f"{{{before}{', ' if before else ''}{match['name']}: {match['default']}}}"
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


def listed(value: Any) -> list[str]:
    """An option that is a name, a list of names or nothing, as a list."""
    if value is None or value == "":
        return []
    return [value] if isinstance(value, str) else list(value)


def _number(low: float, high: float = float("inf")) -> Callable[[Any], bool]:
    def allowed(value: Any) -> bool:
        return type(value) in (int, float) and math.isfinite(value) and low <= value <= high

    return allowed


def _count(low: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and value >= low


def _share(value: Any) -> bool:
    return _number(0, 1)(value) and value < 1


def _names(value: Any) -> bool:
    """Nothing, a name or several; the characters of a name are texts, too."""
    return value is None or (isinstance(value, Iterable) and all(isinstance(one, str) for one in value))


_CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "instruction_mix": (
        lambda v: isinstance(v, dict) and bool(v),
        "a dict of shares, such as {none: 0.7, intent: 0.3}",
    ),
    "instruction_language": (lambda v: _names(v) and bool(listed(v)), "a language or a list of languages, such as en"),
    "report_rows": (
        lambda v: _names(v) and set(listed(v)) <= set(TOLD),
        f"a list of some of {', '.join(sorted(TOLD))}",
    ),
    "instruction_tokens": (_number(1), "a number of at least 1"),
    "item_experts": (_number(1), "a number of at least 1"),
    "item_text_size": (_number(1), "a number of at least 1"),
    "intent_max_values": (_number(1), "a number of at least 1"),
    "instruction_history_length": (_number(1), "a number of at least 1"),
    "max_text_tokens": (_number(3), "a number of at least 3"),
    "hidden_size": (_number(2), "a number of at least 2"),
    "n_layers": (_number(1), "a number of at least 1"),
    "n_heads": (_number(1), "a number of at least 1"),
    "temperature": (lambda v: _number(0)(v) and v > 0, "a number above 0"),
    "intent_weight": (_number(0), "a number of at least 0"),
    "loss_items": (_count(0), "a whole number of at least 0"),
    "loss_chunk": (_number(0), "a number of at least 0"),
    "warmup_steps": (_number(0), "a number of at least 0"),
    "accumulate_batches": (_number(1), "a number of at least 1"),
    "hidden_dropout_prob": (_share, "a number of at least 0 and below 1"),
    "attn_dropout_prob": (_share, "a number of at least 0 and below 1"),
    "item_dropout_prob": (_share, "a number of at least 0 and below 1"),
    "frozen_match_share": (_number(0, 1), "a number from 0 to 1"),
    "encoder_length": (lambda v: v is None or _count(0)(v), "~ (None) or a whole number of at least 0"),
    "encoder_rank": (_count(1), "a whole number of at least 1"),
    "intent_texts": (lambda v: v is None or _count(1)(v), "~ (None) or a whole number of at least 1"),
    "neighbour_weight": (_number(0), "a number of at least 0"),
    "neighbour_text": (_number(0), "a number of at least 0"),
    "neighbour_decay": (_number(0, 1), "a number from 0 to 1"),
    "neighbour_back": (_number(0, 1), "a number from 0 to 1"),
    "cooccurrence_weight": (_number(0), "a number of at least 0"),
    "network_weight": (_number(0), "a number of at least 0"),
    "instruction_seed": (_count(0), "a whole number of at least 0"),
    "pretrained": (lambda v: v is None or isinstance(v, str), "the path of a checkpoint of InstructRec"),
    "ema_decay": (_share, "a number of at least 0 and below 1"),
}


def wrong_values(told: Any) -> list[str]:
    """Options with values that cannot work, each with what it must be.

    Parameters
    ----------
    told : mapping or recbole.config.Config
        Values by name.

    Returns
    -------
    list of str
        One message an option.
    """
    return [
        f"{name} must be {rule}, not {told[name]!r}"
        for name, (holds, rule) in _CHECKS.items()
        if name in told and not holds(told[name])
    ]


def check_options(config: Any) -> None:
    """Refuse values that cannot work and misspelt names, before anything is loaded.

    Parameters
    ----------
    config : recbole.config.Config
        Options of a run.

    Raises
    ------
    ValueError
        Naming every option that is wrong and what it must be. A name that nothing reads is refused where it
        resembles one that is read: the run would be another than the one that was asked for.
    """
    from recbole_instructrec.checkpoint import OF_THE_PROCESS, check_readable, state_file  # torch: --help needs it not

    wrong = wrong_values(config)
    if config["train_neg_sample_args"]["distribution"] != "none":
        wrong.append("train_neg_sample_args must be ~ (None): InstructRec trains with a softmax over all items")
    if config["pretrained"] and config["resume"]:
        wrong.append(
            "pretrained must be left out where resume is given: a training that is resumed has its weights, "
            "also when it had started from another checkpoint"
        )
    known = {"model", "dataset", "config_files"} | set(getattr(config, "internal_config_dict", {}))
    known |= {option.name for option in options()}
    for group in config.parameters.values():
        known |= set(group)
    if unknown := [name for name in getattr(config, "external_config_dict", {}) if name not in known]:
        known |= _of_other_models() | OF_THE_PROCESS | {"group_offset"}
        for name in unknown:
            if name not in known and (hint := did_you_mean(name, known, 0.86)):
                wrong.append(f"nothing reads the option {name}{hint}")
    if wrong:
        raise ValueError("; ".join(wrong).rstrip("?") + ("?" if wrong[-1].endswith("?") else "."))
    if config["resume"]:
        check_readable(state_file(config["resume"]))  # before texts are encoded


def _of_other_models() -> set[str]:
    """Options that some model of RecBole reads: one file of options may serve several models."""
    import recbole

    found: set[str] = set()
    for file in (Path(recbole.__file__).parent / "properties").rglob("*.yaml"):
        found |= set(re.findall(r"^(\w+):", file.read_text(encoding="utf-8"), re.MULTILINE))
    return found


def drop_long_lists(config: Any, n_items: int) -> None:
    """Leave out the lengths of ``topk`` that the catalogue cannot fill, and say so.

    Parameters
    ----------
    config : recbole.config.Config
        Options of a run; its ``topk`` is changed.
    n_items : int
        Items of the catalogue.

    Raises
    ------
    ValueError
        When no length is left, or ``valid_metric`` needs one that is left out.
    """
    long = [k for k in config["topk"] if k > n_items]
    if not long:
        return
    short = [k for k in config["topk"] if k <= n_items]
    metric, _, needed = str(config["valid_metric"]).partition("@")
    if not short or needed in map(str, long):
        fits = short or [n_items]
        raise ValueError(
            f"topk: a list of {needed or long[0]} is asked for, but the catalogue has {n_items} items. Set lengths "
            f'that it can fill: "--topk={fits}" --valid_metric={metric}{f"@{fits[-1]}" if needed else ""}.'
        )
    getLogger().warning(f"topk: {long} left out, since the catalogue has {n_items} items; {short} are measured.")
    config["topk"] = short
