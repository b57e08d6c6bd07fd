"""How much hangs on an order that nobody knows: interactions of one time stand in ascending order of their item's id.

HetRec's Last.fm has the month of a tagging, and within it the file goes by the number of the artist: the test item is
likely a high number. Months are not in the atomic files, but show as stretches of ascending ids. Here the order within
each stretch is drawn at random, ``--orders`` times, and the models are trained and ranked on each, every one with the
options of its line in the table; of models with a search that is done again on each order.

    python -m benchmarks.tie_order --dataset=lastfm-tags --data_path=dataset
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.common import PLANS, pending, read_interactions, record, recorded, start, table, write_dataset
from recbole_instructrec.leaderboard.execute import Conditions, execute
from recbole_instructrec.leaderboard.plan import FIRST, Entry, Plan
from recbole_instructrec.leaderboard.ranks import per_user, unpacked
from recbole_instructrec.leaderboard.runs import run_of
from recbole_instructrec.leaderboard.statistics import interval_of
from recbole_instructrec.leaderboard.table import OURS

#: Lines of the plan, and further options of each way of ours; the validation score says which of these is shown.
OTHERS = ("ItemKNN (up to the target)", "EASE (up to the target)")
WAYS: tuple[dict[str, Any], ...] = ({}, {"neighbour_back": 1.0})


def shuffled(inter: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Draw the order of each stretch of ascending ids at random.

    Parameters
    ----------
    inter : DataFrame
        Columns user, item, time; each user's times are the places of the interactions.
    seed : int
        Of the draws.

    Returns
    -------
    DataFrame
        The same, in order of user and place.
    """
    inter = inter.sort_values(["user", "time"], kind="stable")
    stretch = stretches(inter)
    drawn = np.random.default_rng(seed).random(len(inter))
    order = np.lexsort((drawn, stretch))
    return inter.assign(item=inter["item"].to_numpy()[order])


def stretches(inter: pd.DataFrame) -> np.ndarray:
    """Numbers of the stretches of ascending ids, ``[n_interactions]``; the interactions in order of user and time."""
    ids = inter["item"].astype(int).to_numpy()
    user = inter["user"].to_numpy()
    begins = np.ones(len(inter), dtype=bool)
    begins[1:] = (user[1:] != user[:-1]) | (ids[1:] < ids[:-1])
    return begins.cumsum()


def write(source: Path, folder: Path, seed: int) -> dict[str, float]:
    """A data set of the same name in another order; returns how the order of before is."""
    inter = read_interactions(source).sort_values(["user", "time"], kind="stable")
    write_dataset(folder / source.name, source, shuffled(inter, seed))
    ids = inter["item"].astype(int)
    step = ids.groupby(inter["user"]).diff().dropna()
    return {
        "ascending": round(float((step > 0).mean()), 4),
        "of_a_stretch": round(len(inter) / int(stretches(inter)[-1]), 2),
    }


def lines(plan: Plan) -> Iterator[tuple[str, list[Entry]]]:
    """Names, and the trials of which validation chooses."""
    by_name = {entry.name: entry for entry in plan.entries}
    for name in OTHERS:
        entry = by_name[name]
        yield name, [replace(entry, trials=(trial,)) for trial in entry.trials]
    ours = replace(by_name[OURS], rows=("none",))
    for way in WAYS:
        trial = {**ours.trials[0], **way}  # the dropout that the table's trial has
        yield f"{OURS} {way or ''}".strip(), [replace(ours, trials=(trial,))]


def measure(plan: Plan, entries: list[Entry], seed: int, folder: Path) -> dict[str, Any]:
    """Run the trials and keep the one that is best on validation."""
    best: dict[str, Any] = {}
    for entry in entries:
        run = run_of(plan, entry, entry.trials[0], seed, str(folder))
        found = execute(run, Conditions(folder / "work", str(folder)))
        if found["status"] != "done":
            raise RuntimeError(f"{entry.name}: {found['error']}")
        if not best or found["valid_score"] > best["valid_score"]:
            best = found
    return best


def main() -> None:
    args = start(__doc__ or "", dataset="lastfm-tags", data_path="dataset", orders=3, show=0)
    plan, source = Plan.read(PLANS / f"{args.dataset}.yaml"), Path(args.data_path) / args.dataset
    for seed in range(2020, 2020 + args.orders) if not args.show else []:
        with tempfile.TemporaryDirectory() as folder:
            before = write(source, Path(folder), seed)
            for name, entries in lines(plan):
                if pending("tie_order", seed, {}, dataset=args.dataset, line=name):
                    found = measure(plan, entries, seed, Path(folder))
                    kept = {key: found[key] for key in ("valid_score", "options", "asked")}
                    users = {"ranks": found["ranks"]["none"], "ndcg": found["rows"]["none"][FIRST]}
                    record(
                        "tie_order", {"dataset": args.dataset, "line": name, "seed": seed, **before, **kept, **users}
                    )
                    print(f"{name}, order {seed}: validation {found['valid_score']:.4f}, test {users['ndcg']:.4f}")
    show(args.dataset)


def show(dataset: str) -> None:
    """Means over the orders, and how far each way of ours is from each other line."""
    known = [line for line in recorded("tie_order") if line["dataset"] == dataset]
    by_line: dict[str, list[dict[str, Any]]] = {}
    for line in known:
        by_line.setdefault(line["line"], []).append(line)
    ways = [name for name in by_line if name.startswith(OURS)]
    gains = {name: [per_user(unpacked(line["ranks"]), FIRST) for line in found] for name, found in by_line.items()}
    rows = []
    for name, found in by_line.items():
        other = name not in ways
        gaps = [_gap(gains[own], gains[name]) if other and len(gains[own]) == len(gains[name]) else "" for own in ways]
        valid = np.mean([line["valid_score"] for line in found])
        test = np.mean([line["ndcg"] for line in found])
        rows.append((name, str(len(found)), f"{valid:.4f}", f"{test:.4f}", *gaps))
    head = ["line", "orders", "validation NDCG@10", "test NDCG@10", *(f"{own} less this, 95 %" for own in ways)]
    table(head, rows)


def _gap(ours: list[np.ndarray], theirs: list[np.ndarray]) -> str:
    found = interval_of(np.mean(ours, axis=0), np.mean(theirs, axis=0))
    return f"{found.mean:+.4f} ({found.low:+.4f} to {found.high:+.4f})"


if __name__ == "__main__":
    main()
