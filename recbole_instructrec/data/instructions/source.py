"""What every source of instructions offers."""

from __future__ import annotations

from typing import Protocol

import numpy as np


class Source(Protocol):
    """Gives each position of the history the number of its instruction."""

    def numbers(self, positions: np.ndarray, rng: np.random.Generator | None, part: str = "held_out") -> np.ndarray:
        """Numbers for targets at ``positions``.

        Parameters
        ----------
        positions : ndarray
            In the history, ``[n]``.
        rng : numpy.random.Generator or None
            Draws wordings in training. Without it the numbers are fixed.
        part : {"dev", "held_out"}
            Words of validation or of the test, without ``rng``.

        Returns
        -------
        ndarray
            ``[n]``.
        """


class NoInstruction:
    """Source ``none``."""

    def numbers(self, positions: np.ndarray, rng: np.random.Generator | None, part: str = "held_out") -> np.ndarray:
        """As :meth:`Source.numbers`: always the empty instruction."""
        return np.zeros(len(positions), dtype=np.int64)


class FixedNumbers:
    """Numbers in [0, 1) that belong to a position, so that every model and seed is asked the same."""

    def __init__(self, n_positions: int, seed: int) -> None:
        self._values = np.random.default_rng(seed).random((2, n_positions), dtype=np.float32)

    def draw(self, positions: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        """``[2, n]`` numbers for n positions: from ``rng`` in training, else those that belong to the positions."""
        if rng is None:
            return self._values[:, positions]
        return rng.random((2, len(positions)), dtype=np.float32)
