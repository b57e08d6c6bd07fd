"""Measures 5 and 6: accuracy on ml-100k by evaluation row, over seeds, beside SASRec.

Runs that are recorded already are not run again. ``--options`` sets options of an ablation and ``--label`` names it;
``--show`` prints the table and runs nothing. ``--against`` names a label whose row none is compared, user by user.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from typing import Any

import numpy as np
import torch

from benchmarks.baseline import name_of
from benchmarks.common import build, full_scores, pending, record, recorded, start, table
from benchmarks.perfect_reader import controls
from recbole_instructrec.leaderboard.ranks import Ranks, packed
from recbole_instructrec.leaderboard.statistics import difference, of_users

METRICS = ("recall@10", "ndcg@10", "mrr@10")


def run(label: str, seed: int, options: dict[str, Any]) -> dict[str, Any]:
    """Train once and record every row; gives the trained side."""
    side = build("InstructRec", seed, same=False, **options)
    begin, cpu = time.perf_counter(), time.process_time()
    epochs = []
    best, result = side["trainer"].fit(
        side["train"], side["valid"], verbose=False, callback_fn=lambda epoch, score: epochs.append(round(score, 5))
    )
    seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
    test = side["trainer"].evaluate(side["test"])
    rows = {row: {k: round(float(v), 6) for k, v in values.items()} for row, values in test.rows.items()}
    if "intent" in rows:
        rows |= {f"none + {name}": metrics for name, metrics in controls(side).items()}
    record(
        "accuracy",
        {
            "label": label,
            "seed": seed,
            "options": options,
            "valid": {k: round(float(v), 6) for k, v in result.items()},
            "rows": rows,
            "epochs": len(epochs),
            "seconds": round(seconds, 1),
            "cpu_seconds": round(cpu, 1),
            "learning_curve": epochs,
            "ranks": {"none": packed(ranks(side))},
        },
    )
    print(f"{label} seed {seed}: valid NDCG@10 {best:.4f}, test row none {rows['none']['ndcg@10']:.4f}", flush=True)
    return side


def ranks(side: dict[str, Any]) -> np.ndarray:
    """Rank of each test target without instruction, by user, ``[n]``."""
    data = side["test"]._dataset
    data.use_instructions("none")
    user, target = (data.inter_feat[field] for field in (data.uid_field, data.iid_field))
    found = Ranks()
    found.add(
        torch.from_numpy(full_scores(side["model"], side["test"])),
        user,
        torch.arange(len(user)),
        target,
        max(side["config"]["topk"]),
    )
    return found.sorted()[0]


def compare(label: str, other: str) -> None:
    """Print how row none of two labels differs, user by user."""
    runs = [[r for r in recorded("accuracy") if r["label"] == name and "ranks" in r] for name in (label, other)]
    if not all(runs):
        sys.exit(f"--against: there are no ranks of {label if not runs[0] else other!r}.")
    for metric in METRICS[:2]:
        gap = difference(*[of_users(records, "none", metric) for records in runs])
        print(
            f"row none, {label} ({len(runs[0])} seeds) less {other} ({len(runs[1])} seeds), {metric}: {gap.mean:+.4f}, "
            f"95 % interval over users [{gap.low:+.4f}, {gap.high:+.4f}], p {gap.p:.2f}"
        )


def main() -> None:
    args = start(__doc__ or "", seeds=5, first_seed=2020, label="default", options="{}", against="", show=0)
    options = json.loads(args.options)
    for seed in range(args.first_seed, args.first_seed + args.seeds) if not args.show else []:
        if pending("accuracy", seed, {"options": options}, label=args.label):
            run(args.label, seed, options)
    lines = []
    for dropout in (0.5, 0.2):
        for done in (r for r in recorded(name_of(dropout, 2020)) if r.get("done")):
            for key, said in (
                ("test", ""),
                ("test_excluding", ", last 50 items excluded"),
                ("test_excluding_all", ", whole history excluded"),
            ):
                cells = [f"{done[key][m]:.4f}" for m in METRICS]
                lines.append((f"SASRec, dropout {dropout}{said}", "none", 1, *cells))
    for label in dict.fromkeys(r["label"] for r in recorded("accuracy")):
        runs = [r for r in recorded("accuracy") if r["label"] == label]
        for row in runs[0]["rows"]:
            cells = []
            for metric in METRICS:
                values = [r["rows"][row][metric] for r in runs]
                spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
                cells.append(f"{statistics.mean(values):.4f}{spread}")
            lines.append((f"InstructRec, {label}", row, len(runs), *cells))
        means = {row: statistics.mean(r["rows"][row]["ndcg@10"] for r in runs) for row in runs[0]["rows"]}
        if {"none", "intent"} <= set(means):
            print(
                f"{label}: NDCG@10 of row intent is {means['intent'] / means['none']:.2f} times row none (goal: 3); "
                f"a reader without error of the same scores reaches {means['none + bound'] / means['none']:.2f} times"
            )
    table(("model", "row", "seeds", *METRICS), lines)
    if args.against:
        compare(args.label, args.against)


if __name__ == "__main__":
    main()
