"""Independent work on several cores: a thread for each piece instead of all threads for one piece after the other."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

_POOLS: dict[int, ThreadPoolExecutor] = {}
_MAKING = threading.Lock()


def _after_fork() -> None:
    """A child has none of the threads."""
    global _MAKING
    _MAKING = threading.Lock()
    _POOLS.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

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
    pool, ahead = _pool(n), deque[Future[_Result]]()
    try:
        for piece in pieces:
            ahead.append(pool.submit(work, piece))
            if len(ahead) > 2 * n:  # what waits to be taken takes memory
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:  # an error, or Ctrl-C: what has not begun is not needed any more
        for future in ahead:
            future.cancel()


def _pool(n: int) -> ThreadPoolExecutor:
    with _MAKING:
        if n not in _POOLS:
            _POOLS[n] = _made(n)
        return _POOLS[n]


def _made(n: int) -> ThreadPoolExecutor:
    """Threads that torch computes with one core each."""
    started = threading.Barrier(n + 1)

    def begin() -> None:
        torch.get_num_threads()  # a thread's first look takes the number over from the process
        torch.set_num_threads(1)  # threads begun later would take this over, so it is set back below
        started.wait()

    pool = ThreadPoolExecutor(n, "texts")
    for _ in range(n):
        pool.submit(begin)
    started.wait()
    torch.set_num_threads(n)
    return pool
