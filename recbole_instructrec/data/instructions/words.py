"""The words of synthesised instructions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from recbole_instructrec.data.instructions.bank import InstructionError

TEMPLATES = Path(__file__).parents[1] / "templates"


class Templates:
    """Templates of one or more languages.

    Parameters
    ----------
    languages : sequence of str
        Names of files in ``data/templates``.

    Raises
    ------
    InstructionError
        For a language that has no file.
    """

    def __init__(self, languages: Sequence[str]) -> None:
        self._languages = []
        for language in languages:
            file = TEMPLATES / f"{language}.yaml"
            if not file.is_file():
                known = ", ".join(sorted(path.stem for path in TEMPLATES.glob("*.yaml")))
                raise InstructionError(f"instruction_language: there are no templates for {language!r}, only {known}.")
            self._languages.append(yaml.safe_load(file.read_text(encoding="utf-8")))

    def texts(self, kind: str, part: str, values: Sequence[str]) -> list[str]:
        """Every template of a kind filled with the given values.

        Parameters
        ----------
        kind : {"intent", "history", "history_single", "history_title"}
            Which templates.
        part : {"train", "held_out"}
            Words of training, or words kept for evaluation.
        values : sequence of str
            For ``{a}`` and ``{b}``.

        Returns
        -------
        list of str
            One text a template.
        """
        filled: list[str] = []
        for language in self._languages:
            said = [language.get("values", {}).get(value, value) for value in values]
            names = dict(zip("ab", said, strict=False))
            filled.extend(template.format(**names) for template in language[kind][part])
        return filled
