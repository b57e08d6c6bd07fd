"""Measure 2: training time until validation NDCG@10 reaches the best of SASRec's run.

SASRec's side is the recorded run of ``benchmarks.baseline``: its training and validation time up to its best epoch.
InstructRec is trained here, ``--repeats`` seeds, until it reaches that score. Both sides are counted in processor
seconds of one thread, which do not depend on what else the machine does; wall-clock seconds are recorded too.

InstructRec learns not to recommend what the history already holds, which alone lifts the score. So there is a second,
harder target: the score of the same SASRec when everything that the user took before is excluded from its list.

Texts are encoded once and kept; a first run on a machine pays for that, so the time with an empty cache is given too.
"""

from __future__ import annotations

import sys
import tempfile
import time
from typing import Any

from benchmarks.baseline import name_of
from benchmarks.common import build, median, record, recorded, start, table


class Reached(Exception):
    """Raised to stop training at the last target."""


def finished_runs(seed: int) -> dict[float, tuple[list[dict[str, Any]], dict[str, Any]]]:
    """Epochs and final record of each of SASRec's runs that has ended, by dropout."""
    runs = {}
    for dropout in (0.2, 0.5):
        lines = recorded(name_of(dropout, seed))
        done = next((line for line in lines if line.get("done")), None)
        if done is not None:
            runs[dropout] = ([line for line in lines if "epoch" in line], done)
    if not runs:
        sys.exit("there is no finished run of SASRec: run python -m benchmarks.baseline first")
    return runs


def cold_start(seed: int) -> float:
    """Processor seconds of building data set and model when no text has been encoded before."""
    with tempfile.TemporaryDirectory() as folder:
        begin = time.process_time()
        build("InstructRec", seed, same=False, text_cache_dir=folder)
        return time.process_time() - begin


def main() -> None:
    args = start(__doc__ or "", repeats=3, seed=2020)
    runs = finished_runs(args.seed)
    dropout = max(runs, key=lambda d: runs[d][1]["valid"]["ndcg@10"])
    epochs, best = runs[dropout]
    targets = {
        "as RecBole evaluates": best["valid"]["ndcg@10"],
        "whole history excluded from SASRec's list": best["valid_excluding_all"]["ndcg@10"],
    }
    cold = cold_start(args.seed)
    print(f"InstructRec starts in {cold:.1f} processor seconds with an empty cache of texts", flush=True)
    upto = next(k for k, r in enumerate(epochs) if r["valid"]["ndcg@10"] >= targets["as RecBole evaluates"])
    stock = {
        clock: round(sum(r[f"train_{clock}"] + r[f"valid_{clock}"] for r in epochs[: upto + 1]), 1)
        for clock in ("seconds", "cpu_seconds")
    }
    ours: dict[str, list[dict[str, float]]] = {name: [] for name in targets}
    for seed in range(args.seed, args.seed + args.repeats):
        side = build("InstructRec", seed, same=False)
        wall, cpu = time.perf_counter(), time.process_time()
        reached: set[str] = set()

        def check(epoch: int, score: float, wall: float = wall, cpu: float = cpu, reached: set[str] = reached) -> None:
            spent = {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}
            for name, target in targets.items():
                if score >= target and name not in reached:
                    reached.add(name)
                    ours[name].append({"epochs": epoch + 1, **{k: round(v, 2) for k, v in spent.items()}})
            if len(reached) == len(targets):
                raise Reached

        try:
            side["trainer"].fit(side["train"], side["valid"], verbose=False, saved=False, callback_fn=check)
            print(f"seed {seed} reached only {sorted(reached)}")
        except Reached:
            print(f"seed {seed}: {[ours[name][-1] for name in targets]}", flush=True)
    lines = []
    ratios = {}
    for name, target in targets.items():
        lines.append((f"SASRec, dropout {dropout}", name, f"{target:.4f}", upto + 1, stock["cpu_seconds"]))
        if len(ours[name]) == args.repeats:
            middle = {key: median([run[key] for run in ours[name]]) for key in ("epochs", "cpu_seconds")}
            ratios[name] = round(stock["cpu_seconds"] / middle["cpu_seconds"], 1)
            ratios[f"{name}, empty cache"] = round(stock["cpu_seconds"] / (middle["cpu_seconds"] + cold), 1)
            lines.append(("InstructRec", name, f"{target:.4f}", middle["epochs"], middle["cpu_seconds"]))
    table(("model", "target", "valid NDCG@10", "epochs", "processor seconds"), lines)
    for name, ratio in ratios.items():
        print(f"{name}: {ratio:.0f} times less training time (goal: 15)")
    record(
        "time_to_quality",
        {
            "targets": targets,
            "dropout": dropout,
            "sasrec": {"epochs": upto + 1, **stock},
            "instructrec": ours,
            "cold_start_cpu_seconds": round(cold, 2),
            "ratios": ratios,
        },
    )


if __name__ == "__main__":
    main()
