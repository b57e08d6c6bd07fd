"""Which items are taken around which: counts over the training part."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
from scipy import sparse

#: A pair of items counts that much less for each step between them.
DECAY = 0.8

#: Pairs that are further apart do not count.
SPAN = 20

#: Pairs that are counted at a time, about 4 GiB of them.
MOST_PAIRS = 1 << 26


def transition_counts(
    item: np.ndarray,
    user_start: np.ndarray,
    is_target: np.ndarray,
    is_known: np.ndarray,
    n_items: int,
    back: float,
    most: int = MOST_PAIRS,
) -> Iterator[sparse.csr_matrix]:
    """Weighted counts of pairs of items, the later of which is a training target.

    Parameters
    ----------
    item, user_start : ndarray
        The history: items, and the position of the same user's first interaction, ``[n_interactions]`` each.
    is_target : ndarray of bool
        Training targets, ``[n_interactions]``.
    is_known : ndarray of bool
        What belongs to the training part: its targets and what nobody has as a target, ``[n_interactions]``.
    n_items : int
        With the padding item 0.
    back : float
        What the way back counts: from an item to one that was taken before it.
    most : int
        Pairs at a time, at least 1, which bounds the memory; rows of a single item may have more.

    Yields
    ------
    scipy.sparse.csr_matrix
        Rows of a float64 matrix, ``[n_items, n_items]`` together: each time that the column's item was taken ``n``
        steps after the row's counts :data:`DECAY` to the power of ``n - 1``, each time that it was taken before it
        ``back`` times that. Items are not counted with themselves.
    """
    # An interaction is in at most SPAN pairs with what came before it, and in as many with what came after it.
    for begin, end in row_blocks(2 * SPAN * np.bincount(item, minlength=n_items), most):
        shape = (end - begin, n_items)
        ahead, behind = sparse.csr_matrix(shape, dtype=np.float64), sparse.csr_matrix(shape, dtype=np.float64)
        for step, target in enumerate(_pairs(item, user_start, is_target, is_known), start=1):
            earlier, later = item[target - step], item[target]
            ahead = ahead + _rows(earlier, later, begin, shape, DECAY ** (step - 1))
            if back:
                behind = behind + _rows(later, earlier, begin, shape, DECAY ** (step - 1))
        yield (ahead + back * behind).tocsr()


def row_blocks(pairs: np.ndarray, most: int) -> Iterator[tuple[int, int]]:
    """Where blocks of rows begin and end that make about so many pairs each.

    Parameters
    ----------
    pairs : ndarray
        How many pairs each row makes, ``[n_rows]``.
    most : int
        Pairs of a block, at least 1; a single row may make more.

    Yields
    ------
    tuple of int
    """
    block = np.cumsum(pairs) // most
    yield from itertools.pairwise([0, *(np.flatnonzero(np.diff(block)) + 1).tolist(), len(pairs)])


def _pairs(
    item: np.ndarray, user_start: np.ndarray, is_target: np.ndarray, is_known: np.ndarray
) -> Iterator[np.ndarray]:
    """For 1, 2, ... steps: positions of the targets that have another known item so many steps before them."""
    targets = np.flatnonzero(is_target)
    for step in range(1, SPAN + 1):
        targets = targets[targets - step >= user_start[targets]]
        if not len(targets):
            return
        yield targets[is_known[targets - step] & (item[targets - step] != item[targets])]


def _rows(row: np.ndarray, column: np.ndarray, begin: int, shape: tuple[int, int], weight: float) -> sparse.csr_matrix:
    """A weight at each of those places that lie in some rows."""
    there = (row >= begin) & (row < begin + shape[0])
    return sparse.csr_matrix((np.full(int(there.sum()), weight), (row[there] - begin, column[there])), shape=shape)
