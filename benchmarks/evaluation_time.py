"""Measure 4: seconds of full-sort evaluation of ml-100k's test set, InstructRec against SASRec."""

from __future__ import annotations

from benchmarks.common import build, median, record, start, table, timed


def main() -> None:
    args = start(__doc__ or "", repeats=15)
    sides = {"SASRec": build("SASRec"), "InstructRec": build("InstructRec", report_rows=[])}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for repeat in range(args.repeats + 1):
        for name, side in sides.items():
            side["trainer"].eval_collector.data_collect(side["train"])
            spent, _ = timed(lambda side=side: side["trainer"].evaluate(side["test"], load_best_model=False))
            if repeat:  # the first is a warm-up
                seconds[name].append(round(spent, 4))
    ratio = median(seconds["InstructRec"]) / median(seconds["SASRec"])
    table(
        ["model", "seconds (median)", "range"],
        [(n, f"{median(s):.4f}", f"{min(s):.4f}-{max(s):.4f}") for n, s in seconds.items()],
    )
    print(f"InstructRec takes {ratio:.2f} times as long (bound: 1.3)")
    record("evaluation_time", {"seconds": seconds, "ratio": round(ratio, 3)})


if __name__ == "__main__":
    main()
