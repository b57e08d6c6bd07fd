"""Measures 5 and 6: accuracy on ml-100k by evaluation row, over seeds, beside SASRec.

Runs that are recorded already are not run again. ``--options`` sets options of an ablation and ``--label`` names it;
``--show`` prints the table and runs nothing.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from typing import Any

from benchmarks.baseline import name_of
from benchmarks.common import build, record, recorded, start, table
from benchmarks.perfect_reader import controls

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
        },
    )
    print(f"{label} seed {seed}: valid NDCG@10 {best:.4f}, test row none {rows['none']['ndcg@10']:.4f}", flush=True)
    return side


def main() -> None:
    args = start(__doc__ or "", seeds=5, first_seed=2020, label="default", options="{}", show=0)
    options = json.loads(args.options)
    for seed in range(args.first_seed, args.first_seed + args.seeds) if not args.show else []:
        earlier = [r for r in recorded("accuracy") if r["label"] == args.label]
        if any(r["options"] != options for r in earlier):
            sys.exit(f"--label={args.label!r} is recorded with the options {earlier[0]['options']}; choose another one")
        if not any(r["seed"] == seed for r in earlier):
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


if __name__ == "__main__":
    main()
