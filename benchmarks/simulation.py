"""Does it learn? The last interactions of every user replayed as a conversation.

The last ``--rounds`` interactions of each user are taken out of the data (``--part=valid``: those before these, which
are dropped, to choose settings by), a model is trained on the rest and served through ``recbole_instructrec.live``. In
each round every user asks without words for ten items; NDCG@10 says where the next held-out item stands. Then the
user reacts to that item, or not:

- *no feedback*: the history stays as it was;
- *immediate*: a click, which joins the history;
- *immediate + tuning*: and after each round ``learn()``;
- *retraining*: and after each round a training from scratch on all that has happened.

Arms that are recorded already are not run again; ``--show=1`` prints and draws only.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from benchmarks.common import (
    RESULTS,
    pending,
    read_interactions,
    record,
    recorded,
    start,
    table,
    write_dataset,
)

NONE, IMMEDIATE, TUNED, RETRAINED = "no feedback", "immediate", "immediate + tuning", "retraining"
ARMS = (NONE, IMMEDIATE, TUNED, RETRAINED)

#: The data set that is trained on.
NAME = "until-now"

#: NDCG@10 of users in batches of so many requests.
_AT_A_TIME = 64


def cut(inter: pd.DataFrame, rounds: int, drop: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Take the last interactions of every user out.

    Parameters
    ----------
    inter : DataFrame
        Columns ``user``, ``item``, ``time``; ties of time keep the order of the file.
    rounds : int
        Interactions that are replayed.
    drop : int
        Interactions after these, which are not used at all.

    Returns
    -------
    tuple of DataFrame
        What is trained on, and what is replayed, with its ``round`` (from 0); users with fewer than three interactions
        before those have neither.
    """
    inter = inter.sort_values("time", kind="stable")
    back = inter.groupby("user").cumcount(ascending=False)
    size = inter.groupby("user")["item"].transform("size")
    inter, back = inter[size >= rounds + drop + 3], back[size >= rounds + drop + 3]
    before = inter[back >= rounds + drop]
    replayed = inter[(back >= drop) & (back < rounds + drop)]
    return before, replayed.assign(round=rounds + drop - 1 - back[replayed.index])


def trained(folder: Path, seed: int, options: dict[str, Any]) -> str:
    """Train on a folder's data set; returns the checkpoint."""
    from benchmarks.common import build

    side = build("InstructRec", seed, NAME, same=False, data_path=str(folder), checkpoint_dir=str(folder), **options)
    side["trainer"].fit(side["train"], side["valid"], verbose=False)
    return str(side["trainer"].saved_model_file)


def settings_of(dataset: str) -> dict[str, Any]:
    """What the model's options are for a data set, for the cut one of another name."""
    root = Path(__file__).parents[1]
    files = (
        root / f"recbole_instructrec/properties/InstructRec_on_{dataset}.yaml",
        root / f"dataset_configs/{dataset}.yaml",
    )
    options: dict[str, Any] = yaml.safe_load(next(file for file in files if file.is_file()).read_text(encoding="utf-8"))
    item = options["load_col"]["item"]
    return {**options, "load_col": {"inter": ["user_id", "item_id", "timestamp"], "item": item}}


class Trainings:
    """Trains on the data until a round, each once.

    Parameters
    ----------
    folder : Path
        For data and checkpoints.
    source : Path
        Of the data set.
    part : tuple of DataFrame
        As from :func:`cut`.
    seed, options
        Of the model.
    """

    def __init__(
        self, folder: Path, source: Path, part: tuple[pd.DataFrame, pd.DataFrame], seed: int, options: dict[str, Any]
    ) -> None:
        self.folder, self._source, self.part = folder, source, part
        self._seed, self._options, self._made = seed, options, dict[int, str]()

    def __call__(self, until: int) -> str:
        """Checkpoint of a training on what happened before a round."""
        if until not in self._made:
            before, replayed = self.part
            place = self.folder / f"until-{until}"
            write_dataset(place / NAME, self._source, pd.concat([before, replayed[replayed["round"] < until]]))
            self._made[until] = trained(place, self._seed, self._options)
        return self._made[until]


def replay(trainings: Trainings, arm: str, learning: dict[str, Any]) -> dict[str, Any]:
    """One arm.

    Parameters
    ----------
    trainings : Trainings
        Of the data.
    arm : str
        One of :data:`ARMS`.
    learning : dict
        Options of ``learn()``.

    Returns
    -------
    dict
        NDCG@10 of each round, the mean over users, under ``ndcg``; what came of the learning under ``learned``.
    """
    from recbole_instructrec.live import Recommender

    store = trainings.folder / f"{arm}.sqlite"
    recommender = Recommender.load(trainings(0), store)
    replayed = trainings.part[1]
    gains, learned, seconds = [], [], []
    for number, happening in replayed.groupby("round"):
        if arm == RETRAINED and number:
            recommender.store.close()
            recommender = Recommender.load(trainings(int(number)))
        pairs = list(zip(happening["user"], happening["item"], strict=True))
        round_gains = []
        for begin in range(0, len(pairs), _AT_A_TIME):
            now = pairs[begin : begin + _AT_A_TIME]
            sessions = [recommender.session(user) for user, _ in now]
            prepared = [(session, session.prepare("", 10, reasons=False)) for session in sessions]
            answers = recommender.answer(prepared)
            for (_, item), answer, session in zip(now, answers, sessions, strict=True):
                ids = [one.id for one in answer]
                round_gains.append(1.0 / np.log2(2 + ids.index(item)) if item in ids else 0.0)
                if arm in (IMMEDIATE, TUNED) and item in recommender.catalogue.index:
                    session.feedback(item, "click")
        gains.append(float(np.mean(round_gains)))
        begun = time.perf_counter()
        if arm == TUNED:
            learned.append({k: v for k, v in recommender.learn(**learning).items() if k != "events"})
            seconds.append(round(time.perf_counter() - begun, 1))
        print(f"  {arm}, round {int(number) + 1}: NDCG@10 {gains[-1]:.4f} {learned[-1:]}", flush=True)
    recommender.store.close()
    return {"ndcg": [round(gain, 6) for gain in gains], "learned": learned, "learning_seconds": seconds}


def shares(runs: dict[str, list[float]]) -> dict[str, float]:
    """Which part of the gap between no feedback and retraining an arm recovers, from the second round on.

    Parameters
    ----------
    runs : dict
        NDCG@10 of each round by arm; in the first round nothing has been said yet.
    """
    later = {arm: float(np.mean(values[1:])) for arm, values in runs.items()}
    gap = later[RETRAINED] - later[NONE]
    return {arm: (later[arm] - later[NONE]) / gap for arm in (IMMEDIATE, TUNED) if arm in later}


def draw(runs: dict[str, list[float]], file: Path) -> None:
    """NDCG@10 by round."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for arm, values in runs.items():
        axes.plot(range(1, len(values) + 1), values, marker="o", label=arm)
    axes.set_xlabel("round")
    axes.set_ylabel("NDCG@10 of the next item")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=120)


def main() -> None:
    import recbole

    args = start(
        __doc__ or "",
        seeds=1,
        first_seed=2020,
        rounds=6,
        part="test",
        dataset="ml-100k",
        data_path="",
        arms="",
        learning="{}",
        options="{}",
        label="default",
        show=0,
    )
    root = Path(args.data_path) if args.data_path else Path(recbole.__file__).parent / "dataset_example"
    source, drop = root / args.dataset, args.rounds if args.part == "valid" else 0
    options = {**settings_of(args.dataset), **json.loads(args.options)}
    arms = args.arms.split(",") if args.arms else list(ARMS)
    for seed in range(args.first_seed, args.first_seed + args.seeds) if not args.show else []:
        with tempfile.TemporaryDirectory() as folder:
            part = cut(read_interactions(source), args.rounds, drop)
            trainings = Trainings(Path(folder), source, part, seed, options)
            for arm in arms:
                name = {"label": args.label, "dataset": args.dataset, "part": args.part, "arm": arm}
                learning = json.loads(args.learning) if arm == TUNED else {}
                told = {"rounds": args.rounds, "options": options, "learning": learning}
                if pending("simulation", seed, told, **name):
                    found = replay(trainings, arm, learning)
                    record("simulation", {**name, "seed": seed, **told, **found, "users": part[0]["user"].nunique()})
    for label, dataset, which in dict.fromkeys((r["label"], r["dataset"], r["part"]) for r in recorded("simulation")):
        runs = [r for r in recorded("simulation") if (r["label"], r["dataset"], r["part"]) == (label, dataset, which)]
        means = {
            arm: np.mean([r["ndcg"] for r in runs if r["arm"] == arm], axis=0).tolist()
            for arm in ARMS
            if any(r["arm"] == arm for r in runs)
        }
        seeds = {arm: sum(r["arm"] == arm for r in runs) for arm in means}
        print(f"\n{label}: {dataset}, {which} rounds")
        head = (
            "arm",
            "seeds",
            *(f"round {n + 1}" for n in range(len(next(iter(means.values()))))),
            "from the second on",
        )
        rows = [
            (arm, str(seeds[arm]), *(f"{value:.4f}" for value in values), f"{np.mean(values[1:]):.4f}")
            for arm, values in means.items()
        ]
        table(head, rows)
        if {NONE, RETRAINED} <= set(means):
            goals = {IMMEDIATE: 0.6, TUNED: 0.8}
            for arm, share in shares(means).items():
                print(f"{arm}: {share:.1%} of the gap (goal {goals[arm]:.0%})")
        if label == args.label and which == args.part and dataset == args.dataset:
            draw(means, RESULTS / f"simulation-{dataset}-{which}.png")


if __name__ == "__main__":
    main()
