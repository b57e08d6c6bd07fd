"""What converters share: reading raw JSON, writing RecBole's atomic files."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from recbole_instructrec.data.words import legible

#: Strings, whose brackets do not count, and brackets.
_NESTING = re.compile(r'"(?:\\.|[^"\\])*"|[\[\]{}]', re.DOTALL)
_DEEP = 100


class ConversionError(ValueError):
    """Raw files that cannot be converted; the message names file, line and field."""


def parse_json(text: str) -> Any:
    """Parse JSON as :func:`json.loads`, which ends with a stack trace where arrays or objects are nested too deeply.

    Raises
    ------
    ValueError
        When it cannot be read; names the line and column.
    """
    try:
        return json.loads(text)
    except RecursionError:
        depth = 0
        for token in _NESTING.finditer(text):
            depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(token[0], 0)
            if depth > _DEEP:
                break
        raise json.JSONDecodeError(f"nested more than {_DEEP} deep", text, token.start()) from None


def read_json_object(file: Path) -> dict[str, Any]:
    """Read a raw file that is one JSON object.

    Raises
    ------
    ConversionError
        When it is missing, cut off or of another form; names the file, line and column.
    """
    if not file.is_file():
        raise ConversionError(f"{file.parent}: {file.name} is missing. Give the folder that holds the official files.")
    try:
        value = parse_json(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConversionError(f"{file.name}: not JSON: it may be cut off or damaged: {error}") from error
    if not isinstance(value, dict):
        raise ConversionError(f"{file.name}: an object is expected, not {type(value).__name__}.")
    return value


def write_atomic_file(file: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> int:
    """Write one tab-separated file, under another name until it is whole.

    Parameters
    ----------
    file : Path
        Such as ``redial/redial.item``; its folder is made when it is missing.
    header : sequence of str
        Columns with their RecBole types, ``name:type``.
    rows : iterable of sequences
        Cells; white space within a cell, tabs and line ends among it, becomes one space, and so do control
        characters and lone surrogates, which cannot be written.

    Returns
    -------
    int
        Number of rows.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    count = 0
    try:
        with open(partial, "w", encoding="utf-8", newline="\n") as stream:
            stream.write("\t".join(header) + "\n")
            for row in rows:
                if len(row) != len(header):
                    raise ValueError(f"{file.name}: {len(row)} cells for {len(header)} columns: {row!r}")
                stream.write("\t".join(legible(str(cell)) for cell in row) + "\n")
                count += 1
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
    return count
