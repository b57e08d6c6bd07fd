"""Computes every metric again from the stored ranks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recbole_instructrec.leaderboard.matching import same_run
from recbole_instructrec.leaderboard.ranks import per_user, unpacked
from recbole_instructrec.leaderboard.runs import commit_of, decisive, hash_of, identity, name_of
from recbole_instructrec.leaderboard.store import DONE, Store

#: Metrics are stored with eight digits; RecBole computes some in float32.
_TOLERANCE = 2e-7

#: Scores of epochs are stored with six digits.
_ROUNDED = 1e-6


def mistakes(record: Mapping[str, Any]) -> list[str]:
    """What of a record does not hold.

    Parameters
    ----------
    record : mapping
        Of a run that has ended well.

    Returns
    -------
    list of str
        One message each.
    """
    found = []
    if hash_of(decisive(record["config"])) != record["config_hash"]:
        found.append("the configuration is not the one that the run is named by")
    if identity(record) != record["id"]:
        found.append("model, data set, configuration, seed, files or rows are not those that the run is named by")
    score = record["valid"].get(str(record["config"].get("valid_metric", "")).lower())
    scores = [score, max((epoch["score"] for epoch in record["curve"]), default=score)]
    if score is None or not all(abs(record["valid_score"] - value) <= _ROUNDED for value in scores):
        found.append(f"the validation score {record['valid_score']} is not that of its metrics and of its best epoch")
    for row, metrics in record["rows"].items():
        try:
            rank = unpacked(record["ranks"][row])
            kept = record.get("unseen", {}).get(row)
            unseen = rank if kept is None else unpacked(kept)
        except KeyError:
            found.append(f"row {row}: there are no ranks")
            continue
        except (TypeError, ValueError) as error:
            found.append(f"row {row}: the ranks cannot be read ({error})")
            continue
        if len(rank) != record["counts"]["tests"]:
            found.append(f"row {row}: {len(rank)} ranks, {record['counts']['tests']} test targets")
        if len(unseen) != len(rank):
            found.append(f"row {row}: {len(unseen)} ranks with seen items left out, {len(rank)} others")
        for metric, stored in metrics.items():
            computed = float(per_user(rank, metric).mean())
            if not abs(computed - stored) <= _TOLERANCE:
                found.append(f"row {row}: {metric} is {stored:.8f}, from the ranks {computed:.8f}")
    return found


def _mistakes_of(record: Mapping[str, Any]) -> list[str]:
    """The same, of a record whose parts may be of any kind."""
    try:
        return mistakes(record)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        return [f"it cannot be examined ({type(error).__name__}: {error})"]


def sound(store: Store, dataset: str) -> tuple[list[dict[str, Any]], list[str]]:
    """Results that can be reported.

    Parameters
    ----------
    store : Store
        Results.
    dataset : str
        Name.

    Returns
    -------
    tuple
        Records without a mistake, in the order they were written; and why others were left aside, a message for each
        damaged line and each mistake.
    """
    examined, messages = _examine(store, dataset)
    return [record for record, wrong in examined if not wrong], messages


def _examine(store: Store, dataset: str) -> tuple[list[tuple[dict[str, Any], list[str]]], list[str]]:
    """All records with their mistakes, and a message for each damaged line and each mistake."""
    records, damaged = store.read(dataset)
    examined = [(record, _mistakes_of(record) if record["status"] == DONE else []) for record in records]
    file = store.file(dataset)
    told = [f"{file}: {name_of(record)}: {mistake}" for record, wrong in examined for mistake in wrong]
    return examined, [*map(str, damaged), *told]


def verify(store: Store) -> int:
    """Check a store and print what is wrong.

    Parameters
    ----------
    store : Store
        Results.

    Returns
    -------
    int
        0, or 1 where something does not hold.
    """
    wrong, n = 0, 0
    if not store.datasets():
        print(f"{store.folder} holds no results.")
        return 1
    for dataset in store.datasets():
        examined, messages = _examine(store, dataset)
        for id in store.contradictions(dataset):
            messages.append(f"{store.file(dataset)}: run {id} stands there more than once, with different ranks")
        for message in messages:
            print(message)
        wrong += len(messages)
        n += sum(record["status"] == DONE for record, _ in examined)
    print(f"{n} runs of {len(store.datasets())} data sets: " + (f"{wrong} mistakes" if wrong else "all metrics hold"))
    return 1 if wrong else 0


def compare(store: Store, other: Store) -> int:
    """Compare the test metrics of runs that stand in two stores and print where they differ.

    Parameters
    ----------
    store, other : Store
        Results.

    Returns
    -------
    int
        0, or 1 where a metric differs, or where the stores have no run in common.
    """
    n, different = 0, 0
    for dataset in store.datasets():
        theirs = [record for record in other.read(dataset)[0] if record["status"] == DONE]
        for record in store.read(dataset)[0]:
            if record["status"] != DONE:
                continue
            known = next((known for known in reversed(theirs) if same_run(record, known)), None)
            if known is None:
                continue
            n += 1
            gaps = {
                (row, metric): abs(value - known["rows"].get(row, {}).get(metric, float("nan")))
                for row, metrics in record["rows"].items()
                for metric, value in metrics.items()
            }
            (row, metric), gap = max(gaps.items(), key=lambda pair: (pair[1] != pair[1], pair[1]))
            if not gap <= _TOLERANCE:
                different += 1
                made = ", ".join(dict.fromkeys(commit_of(one) for one in (record, known)))
                print(f"{name_of(record)}: row {row}, {metric} differs by {gap:.6f} (made by {made})")
    if not n:
        print(f"{store.folder} and {other.folder} have no run in common.")
        return 1
    print(f"{n} runs stand in both: " + (f"{different} differ" if different else "all metrics are the same"))
    return 1 if different else 0
