"""Measure 2: training time until validation NDCG@10 reaches the best of SASRec's run.

SASRec's side is the recorded run of ``benchmarks.baseline``: its training and validation time up to its best epoch.
InstructRec is trained here, ``--repeats`` seeds, until it reaches that score. Both sides are counted in processor
seconds of one thread, which do not depend on what else the machine does; wall-clock seconds are recorded too.
"""

from __future__ import annotations

import sys
import time

from benchmarks.baseline import name_of
from benchmarks.common import build, median, record, recorded, start, table


class Reached(Exception):
    """Raised to stop training at the target."""


def main() -> None:
    args = start(__doc__ or "", repeats=3, seed=2020)
    runs = {d: [r for r in recorded(name_of(d, args.seed)) if "epoch" in r] for d in (0.2, 0.5)}
    finished = {d: runs[d] for d in runs if any(r.get("done") for r in recorded(name_of(d, args.seed)))}
    if not finished:
        sys.exit("there is no finished run of SASRec: run python -m benchmarks.baseline first")
    best = {d: max(r["valid"]["ndcg@10"] for r in epochs) for d, epochs in finished.items()}
    dropout = max(best, key=lambda d: best[d])
    target, epochs = best[dropout], finished[dropout]
    upto = next(k for k, r in enumerate(epochs) if r["valid"]["ndcg@10"] >= target)
    stock = {
        clock: sum(r[f"train_{clock}"] + r[f"valid_{clock}"] for r in epochs[: upto + 1])
        for clock in ("seconds", "cpu_seconds")
    }
    ours: dict[str, list[float]] = {"seconds": [], "cpu_seconds": [], "epochs": []}
    for seed in range(args.seed, args.seed + args.repeats):
        side = build("InstructRec", seed, same=False)
        wall, cpu = time.perf_counter(), time.process_time()

        def check(epoch: int, score: float, wall: float = wall, cpu: float = cpu) -> None:
            if score >= target:
                ours["seconds"].append(round(time.perf_counter() - wall, 2))
                ours["cpu_seconds"].append(round(time.process_time() - cpu, 2))
                ours["epochs"].append(epoch + 1)
                raise Reached

        try:
            side["trainer"].fit(side["train"], side["valid"], verbose=False, saved=False, callback_fn=check)
            sys.exit(f"InstructRec with seed {seed} never reached {target}")
        except Reached:
            print(f"seed {seed}: {ours['cpu_seconds'][-1]} s, {ours['epochs'][-1]} epochs", flush=True)
    ratio = stock["cpu_seconds"] / median(ours["cpu_seconds"])
    table(
        ("model", "epochs", "processor seconds", "wall seconds"),
        [
            (f"SASRec, dropout {dropout}", upto + 1, f"{stock['cpu_seconds']:.0f}", f"{stock['seconds']:.0f}"),
            (
                "InstructRec",
                median(ours["epochs"]),
                f"{median(ours['cpu_seconds']):.1f}",
                f"{median(ours['seconds']):.1f}",
            ),
        ],
    )
    print(f"validation NDCG@10 {target:.4f}: {ratio:.0f} times less training time (goal: 15)")
    record(
        "time_to_quality",
        {"target": target, "dropout": dropout, "sasrec": stock, "instructrec": ours, "ratio": round(ratio, 1)},
    )


if __name__ == "__main__":
    main()
