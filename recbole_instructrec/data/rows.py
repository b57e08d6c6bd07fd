"""Training rows: which slices of the history are read, and which positions are targets.

A row reads up to ``width`` consecutive interactions of a user and is trained at
the positions of its own targets only, so that each target is used exactly once
an epoch whatever the slices overlap.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass
class Rows:
    """Slices of the history.

    Attributes
    ----------
    start : ndarray
        Position of the first interaction that is read, ``[n_rows]``.
    first_target, end : ndarray
        Targets are the positions ``first_target <= p < end``, ``[n_rows]``;
        interactions ``start <= p < end - 1`` are read.
    """

    start: np.ndarray
    first_target: np.ndarray
    end: np.ndarray

    def __len__(self) -> int:
        return len(self.start)

    @property
    def length(self) -> np.ndarray:
        """Number of interactions that each row reads, ``[n_rows]``."""
        return self.end - 1 - self.start

    def take(self, index: np.ndarray) -> Rows:
        """The rows at ``index``."""
        return Rows(self.start[index], self.first_target[index], self.end[index])


class RowPlan:
    """Cuts the training targets of every user into rows, anew for each epoch.

    Parameters
    ----------
    is_target : ndarray of bool
        Which positions of the history are training targets, ``[n_interactions]``.
    user_start : ndarray
        Position of each interaction's user's first interaction, ``[n_interactions]``.
    width : int
        Number of interactions a row may read (``encoder_length``).
    targets_per_row : int
        At most so many targets a row: ``width`` makes windows, 1 makes RecBole's prefixes.
    seed : int
        With the epoch it fixes where windows begin and how rows are ordered.

    Notes
    -----
    A user gets as few rows as hold all targets, so the number of rows is known
    (RecBole's loader fixes it) and little is read twice. Where the rows are not
    quite full, the first one is shortened by a random number of targets each
    epoch and the others move along; otherwise the same targets would always see
    a short history. A user whose targets fill all rows has them cut at the same
    places always; a width above ``targets_per_row`` gives their first targets a
    history too.
    """

    def __init__(
        self, is_target: np.ndarray, user_start: np.ndarray, width: int, targets_per_row: int, seed: int
    ) -> None:
        positions = np.flatnonzero(is_target)
        owner = user_start[positions]
        # Spans of neighbouring targets; one for each user, unless other parts' targets lie between.
        apart = (owner[1:] != owner[:-1]) | (np.diff(positions) != 1)
        edges = np.flatnonzero(np.r_[True, apart]) if len(positions) else np.zeros(0, dtype=int)
        self._user = owner[edges]
        self._first = positions[edges]
        self._end = positions[np.r_[edges[1:], len(positions)] - 1] + 1 if len(positions) else edges
        if not 1 <= targets_per_row <= width:
            raise ValueError(f"targets_per_row must be between 1 and width ({width}), not {targets_per_row}.")
        self._width, self._size, self._seed = width, targets_per_row, seed
        span = self._end - self._first
        self._count = -(-span // self._size)  # rows of each span
        self._spare = np.where(self._count > 1, self._count * self._size - span, 0)  # by how much they may move
        self.n_rows = int(self._count.sum())

    def epoch(self, epoch: int, batch_size: int) -> Rows:
        """The rows of one epoch, rows of like length in one batch, batches in random order.

        Parameters
        ----------
        epoch : int
            Epoch number; the same number gives the same rows.
        batch_size : int
            Number of rows that the loader takes at a time.

        Returns
        -------
        Rows
            ``n_rows`` rows.
        """
        rng = np.random.default_rng([self._seed, epoch])
        rows = self._cut(rng)
        return rows.take(self._order(rows.length, batch_size, rng))

    def _cut(self, rng: np.random.Generator) -> Rows:
        moved = rng.integers(0, self._spare + 1)
        span = np.repeat(np.arange(len(self._count)), self._count)
        nth = np.arange(len(span)) - np.repeat(np.cumsum(self._count) - self._count, self._count)
        full = self._first[span] - moved[span] + nth * self._size
        first = np.maximum(full, self._first[span])
        end = np.minimum(full + self._size, self._end[span])
        start = np.maximum(self._user[span], end - 1 - self._width)
        return Rows(start, first, end)

    @staticmethod
    def _order(length: np.ndarray, batch_size: int, rng: np.random.Generator) -> np.ndarray:
        shuffled = rng.permutation(len(length))
        # Sorting all rows would always put the same ones together; sort within pools of many batches.
        pool = 50 * batch_size
        for begin in range(0, len(shuffled), pool):
            part = shuffled[begin : begin + pool]
            shuffled[begin : begin + pool] = part[np.argsort(length[part], kind="stable")]
        whole = len(shuffled) // batch_size * batch_size
        batches = shuffled[:whole].reshape(-1, batch_size)
        return np.r_[batches[rng.permutation(len(batches))].ravel(), shuffled[whole:]]
