"""Which items are taken around which: counts over the training part."""

from __future__ import annotations

import numpy as np
from scipy import sparse

#: A pair of items counts that much less for each step between them.
DECAY = 0.8

#: Pairs that are further apart do not count.
SPAN = 20

#: Last items of a history whose neighbours are looked at.
RECENT = 20

#: What the way back counts: from an item to one that was taken before it.
BACK = 0.5


def transition_counts(
    item: np.ndarray, user_start: np.ndarray, is_target: np.ndarray, is_known: np.ndarray, n_items: int
) -> sparse.csr_matrix:
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

    Returns
    -------
    scipy.sparse.csr_matrix
        Float64, ``[n_items, n_items]``: each time that the column's item was taken ``n`` steps after the row's counts
        :data:`DECAY` to the power of ``n - 1``, each time that it was taken before it :data:`BACK` times that. Items
        are not counted with themselves.
    """
    targets = np.flatnonzero(is_target)
    total = sparse.csr_matrix((n_items, n_items), dtype=np.float64)
    for step in range(1, SPAN + 1):
        targets = targets[targets - step >= user_start[targets]]
        if not len(targets):
            break
        target = targets[is_known[targets - step] & (item[targets - step] != item[targets])]
        weight = np.full(len(target), DECAY ** (step - 1))
        total = total + sparse.csr_matrix((weight, (item[target - step], item[target])), shape=total.shape)
    return (total + BACK * total.T).tocsr()
