"""Real texts that came with the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from logging import getLogger
from pathlib import Path

import numpy as np

from recbole_instructrec.data.instructions.bank import InstructionBank, InstructionError


class FileSource:
    """Source ``file``: texts of ``<dataset>.inst``, named by the interactions' ``instruction_id``."""

    def __init__(self, bank: InstructionBank, texts: Mapping[str, str], ids: Sequence[str], column: np.ndarray) -> None:
        missing = [name for name in ids[1:] if not texts.get(str(name), "").strip()]
        if missing:
            rows = int(np.isin(column, [i for i, name in enumerate(ids) if name in set(missing)]).sum())
            getLogger().warning(
                f"{len(missing)} instruction ids have no text in the .inst file (such as {', '.join(missing[:3])}); "
                f"their {rows} interactions count as having no instruction."
            )
        number = [bank.add(texts.get(str(name), ""), None) if i else 0 for i, name in enumerate(ids)]
        self._numbers = np.array(number, dtype=np.int64)[column]

    def numbers(self, positions: np.ndarray, rng: np.random.Generator | None, part: str = "held_out") -> np.ndarray:
        """As :meth:`Source.numbers`: the text that the data has for that interaction."""
        return self._numbers[positions]


def read_instruction_file(file: Path, separator: str = "\t", encoding: str = "utf-8") -> dict[str, str]:
    """Read ``<dataset>.inst``: a header, then an id and a text a line.

    Parameters
    ----------
    file : Path
        Columns ``instruction_id:token`` and one more, the text, which is taken
        as it stands to the end of the line.
    separator : str
        Between the two columns (``field_separator``).
    encoding : str
        Of the file.

    Returns
    -------
    dict of str to str
        Text of each id.

    Raises
    ------
    InstructionError
        When the file is missing or a line has no separator; names the line.
    """
    if not file.is_file():
        raise InstructionError(
            f"instruction source 'file' needs {file}: a line 'instruction_id:token{separator!r}instruction:token_seq', "
            "then an id and a text a line."
        )
    texts: dict[str, str] = {}
    repeated = 0
    # By hand, because a text may hold quotation marks, separators and any line-like character but a line feed.
    lines = file.read_text(encoding="utf-8-sig" if encoding == "utf-8" else encoding).split("\n")
    if lines[0].split(separator)[0].split(":")[0] != "instruction_id":
        raise InstructionError(f"{file}: the first column of the header must be instruction_id:token.")
    for number, line in enumerate(lines[1:], 2):
        if not line.strip():
            continue
        name, found, text = line.partition(separator)
        if not found:
            raise InstructionError(f"{file}, line {number}: an id and a text, separated by a tab, are expected.")
        repeated += name in texts
        texts.setdefault(name, text)
    if repeated:
        getLogger().warning(f"{repeated} lines of {file} repeat an instruction id; the first text of each id is used.")
    return texts
