"""Means over seeds, and tests over users, paired."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from recbole_instructrec.leaderboard.ranks import per_user, unpacked
from recbole_instructrec.leaderboard.runs import leaves_seen_out

#: Draws of the bootstrap and of the randomisation test, users of a batch of draws at a time, level of the intervals.
DRAWS, _AT_A_TIME, LEVEL = 9999, 4_000_000, 0.95


class Summary(NamedTuple):
    """A metric over seeds.

    Attributes
    ----------
    mean, sd : float
        Mean and standard deviation (nan of one seed).
    n : int
        Seeds.
    """

    mean: float
    sd: float
    n: int


class Interval(NamedTuple):
    """One model's metric less another's, over the same users.

    Attributes
    ----------
    mean, low, high : float
        Mean and the limits of its 95 % interval (bootstrap over users, percentiles).
    """

    mean: float
    low: float
    high: float


class Difference(NamedTuple):
    """An interval, and how likely such a distance is by chance.

    Attributes
    ----------
    mean, low, high : float
        As of :class:`Interval`.
    p : float
        Of the randomisation test over users, two-sided.
    """

    mean: float
    low: float
    high: float
    p: float


def summary(records: Sequence[Mapping[str, Any]], row: str, metric: str) -> Summary:
    """A metric of one line of a table.

    Parameters
    ----------
    records : sequence of mapping
        Of the line, one a seed.
    row : str
        Evaluation row.
    metric : str
        As RecBole writes it, such as ``ndcg@10``.

    Returns
    -------
    Summary
    """
    return over_seeds(np.array([record["rows"][row][metric] for record in records]))


def over_seeds(values: np.ndarray) -> Summary:
    """Mean and standard deviation of a metric, one value a seed, ``[n_seeds]``."""
    return Summary(float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else float("nan"), len(values))


def ranks_unseen(record: Mapping[str, Any], row: str) -> str | None:
    """Packed ranks with all that a user took before left out of the lists; None of runs that did not keep them.

    RecBole evaluates its general models in that way, so that their ranks are these.
    """
    kept: str | None = record.get("unseen", {}).get(row)
    return record["ranks"][row] if kept is None and leaves_seen_out(record["model"]) else kept


def of_users(records: Sequence[Mapping[str, Any]], row: str, metric: str) -> np.ndarray:
    """A metric of every test user, mean over seeds, ``[n_users]``."""
    return np.mean([per_user(unpacked(record["ranks"][row]), metric) for record in records], axis=0)


def interval_of(ours: np.ndarray, theirs: np.ndarray, seed: int = 0) -> Interval:
    """How far two models are apart; arguments and reference as of :func:`difference`."""
    gap = ours - theirs
    if not gap.any():
        return Interval(0.0, 0.0, 0.0)
    found = stats.bootstrap(
        (gap,), np.mean, confidence_level=LEVEL, n_resamples=DRAWS, batch=_batch(gap), method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval  # fmt: skip
    return Interval(float(gap.mean()), float(found.low), float(found.high))


def _batch(gap: np.ndarray) -> int:
    """Draws at a time."""
    return max(1, _AT_A_TIME // len(gap))


def difference(ours: np.ndarray, theirs: np.ndarray, seed: int = 0) -> Difference:
    """Compare two models over the same users.

    Parameters
    ----------
    ours, theirs : ndarray
        From :func:`of_users`, ``[n_users]``.
    seed : int
        Of the draws.

    Returns
    -------
    Difference

    References
    ----------
    Efron and Tibshirani, An Introduction to the Bootstrap, 1993; Smucker, Allan and Carterette, A Comparison of
    Statistical Significance Tests for Information Retrieval Evaluation, CIKM 2007.
    """
    gap = ours - theirs
    if not gap.any():
        return Difference(0.0, 0.0, 0.0, 1.0)
    rng = np.random.default_rng(seed)

    def exchanged(size: tuple[int, ...]) -> np.ndarray:
        """Differences with the two models exchanged for about half of the users."""
        return np.where(rng.random(size, dtype=np.float32) < 0.5, gap, -gap)

    # As scipy's permutation_test of paired samples, which takes nine times as long.
    test = stats.monte_carlo_test(gap, exchanged, np.mean, vectorized=True, n_resamples=DRAWS, batch=_batch(gap))
    return Difference(*interval_of(ours, theirs, seed), float(test.pvalue))


def corrected(p: Sequence[float]) -> list[float]:
    """p-values of several comparisons, corrected for their number.

    Parameters
    ----------
    p : sequence of float
        One a comparison.

    Returns
    -------
    list of float

    References
    ----------
    Benjamini and Hochberg, Controlling the False Discovery Rate, 1995; as in ``scipy.stats.false_discovery_control``.
    """
    return [float(value) for value in stats.false_discovery_control(p)] if len(p) else []


def comparable(ours: Sequence[Mapping[str, Any]], theirs: Sequence[Mapping[str, Any]]) -> bool:
    """Whether all runs of two lines were asked for the same targets by the same users."""
    return len({record["asked"] for record in [*ours, *theirs]}) == 1
