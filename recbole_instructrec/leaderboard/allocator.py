"""Keeps freed memory for the next batch instead of giving it back to the system."""

from __future__ import annotations

import ctypes

#: Parameters of glibc's ``mallopt``, from its ``malloc.h``.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> bool:
    """Have every model of a table train without a page fault for each page of each large tensor.

    By default glibc asks the system for every large block and hands it back at once, and the system clears its pages
    anew: on a CPU that took 45 % of an epoch of RecBole's SASRec on ml-100k. What is computed does not change.

    Returns
    -------
    bool
        Whether it was possible: False where the C library is another.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # no glibc: musl, macOS, Windows
        return False
    return all([mallopt(_MMAP_MAX, 0), mallopt(_TRIM_THRESHOLD, -1), mallopt(_TOP_PAD, 1 << 26)])
