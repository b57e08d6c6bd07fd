"""The headers of RecBole's atomic files."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def columns_of(file: str | Path, config: Any) -> list[str]:
    """Columns of an atomic file, ``name:type`` each, as its first line has them.

    Parameters
    ----------
    file : path
        An atomic file.
    config : recbole.config.Config
        For ``encoding`` and ``field_separator``.

    Returns
    -------
    list of str
    """
    with open(file, encoding=config["encoding"]) as stream:
        return stream.readline().rstrip("\r\n").split(config["field_separator"])
