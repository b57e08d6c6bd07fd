"""How well ranked lists follow requests. Formulas are in docs/steering.md."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recbole_instructrec.data.instructions.wish import Wish


def top(scores: np.ndarray, k: int) -> np.ndarray:
    """The k items with the highest scores, best first, ``[n, k]``; of equal ones the lower number first."""
    if scores.shape[1] <= k:
        return np.argsort(-scores, axis=1, kind="stable")
    last = -np.partition(-scores, k - 1, axis=1)[:, k - 1 : k]
    better, tied = scores > last, scores == last
    chosen = better | (tied & (tied.cumsum(1) <= k - better.sum(1, keepdims=True)))
    best = np.nonzero(chosen)[1].reshape(len(scores), k)
    order = np.argsort(-np.take_along_axis(scores, best, 1), axis=1, kind="stable")
    return np.take_along_axis(best, order, 1)


def rank_of(scores: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Place of each target in its row's ranking, 1 for the first, ``[n]``; ties count half."""
    own = np.take_along_axis(scores, target[:, None], 1)
    return 1.0 + (scores > own).sum(1) + 0.5 * ((scores == own).sum(1) - 1)


def ndcg(rank: np.ndarray, k: int) -> np.ndarray:
    """NDCG at k of one relevant item: ``1 / log2(1 + rank)`` within the first k, else 0, ``[n]``."""
    return np.where(rank <= k, 1.0 / np.log2(1.0 + rank), 0.0)


def share(lists: np.ndarray, attribute: np.ndarray, has: np.ndarray) -> np.ndarray:
    """Share of each list that has its row's attribute, ``[n]``."""
    return has[lists, attribute[:, None]].mean(1)


def satisfied(lists: np.ndarray, wishes: Sequence[Wish], has: np.ndarray) -> np.ndarray:
    """Share of each list that has all that is wanted and nothing that is avoided, ``[n]``."""
    result = np.zeros(len(lists))
    for row, (items, wish) in enumerate(zip(lists, wishes, strict=True)):
        good = has[items][:, list(wish.want)].all(1) & ~has[items][:, list(wish.avoid)].any(1)
        result[row] = good.mean()
    return result


def mean(values: np.ndarray, groups: np.ndarray | None = None) -> dict[str, float]:
    """Mean, its standard error, and over how many rows.

    Parameters
    ----------
    values : ndarray
        ``[n]``.
    groups : ndarray of int, optional
        Which rows go together, such as those with the same wording, ``[n]``. The error is then that of the mean of
        clusters (Liang and Zeger, Longitudinal Data Analysis Using Generalized Linear Models, Biometrika 1986), where
        it is the greater one.

    Returns
    -------
    dict
        ``value``, ``error`` (nan where there are no two rows) and ``n``.
    """
    n = len(values)
    value = float(np.mean(values)) if n else float("nan")
    error = float(np.std(values, ddof=1) / np.sqrt(n)) if n > 1 else float("nan")
    if n > 1 and groups is not None:
        sums = np.bincount(np.unique(groups, return_inverse=True)[1], weights=values - value)
        if len(sums) > 1:
            error = max(error, float(np.sqrt(len(sums) / (len(sums) - 1) * (sums**2).sum()) / n))
    return {"value": value, "error": error, "n": n}
