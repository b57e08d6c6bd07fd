"""Independent work on several cores: a thread for each piece instead of all threads for one piece after the other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, TypeVar

import torch

_Piece = TypeVar("_Piece")
_Result = TypeVar("_Result")


def in_threads(work: Callable[[_Piece], _Result], pieces: Sequence[_Piece], device: torch.device) -> Iterator[_Result]:
    """What ``map`` gives, on as many cores as torch may use.

    The operations on a few texts are too small to be shared out among cores one by one: waiting for each other takes
    what is gained.

    Parameters
    ----------
    work : callable
        Takes one piece; several run at a time.
    pieces : sequence
        What there is to do.
    device : torch.device
        Where ``work`` computes; only CPUs are shared out.

    Yields
    ------
    object
        Results in the order of the pieces.
    """
    n = torch.get_num_threads()
    if n == 1 or len(pieces) < 2 or device.type != "cpu":
        yield from map(work, pieces)
        return
    ahead = _pool(n).map(work, pieces)
    yield from ahead


@lru_cache(maxsize=1)
def _pool(n: int) -> ThreadPoolExecutor:
    """Threads that torch computes with one core each."""
    started = threading.Barrier(n + 1)

    def begin(*_: Any) -> None:
        torch.get_num_threads()  # a thread's first look takes the number over from the process
        torch.set_num_threads(1)  # threads begun later would take this over, so it is set back below
        started.wait()

    pool = ThreadPoolExecutor(n, "texts")
    for _ in range(n):
        pool.submit(begin)
    started.wait()
    torch.set_num_threads(n)
    return pool
