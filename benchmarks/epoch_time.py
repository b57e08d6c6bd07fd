"""Measure 1: seconds an epoch on ml-100k, InstructRec against SASRec through RecBole's loader and trainer."""

from __future__ import annotations

from benchmarks.common import build, median, record, start, table, timed


def main() -> None:
    args = start(__doc__ or "", repeats=3)
    sides = {"SASRec": build("SASRec"), "InstructRec": build("InstructRec")}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for side in sides.values():
        side["trainer"]._keeps_state = False
    timed(lambda: sides["InstructRec"]["trainer"]._train_epoch(sides["InstructRec"]["train"], 0))  # warm up
    for repeat in range(args.repeats):
        for name, side in sides.items():  # in turn, so that a slower spell of the machine hits both
            spent, _ = timed(lambda side=side, epoch=repeat + 1: side["trainer"]._train_epoch(side["train"], epoch))
            seconds[name].append(round(spent, 2))
            print(f"{name} epoch {repeat + 1}: {spent:.2f} s", flush=True)
    targets = {"SASRec": len(sides["SASRec"]["train"]._dataset), "InstructRec": None}
    targets["InstructRec"] = sides["InstructRec"]["train"]._dataset.n_training_targets
    ratio = median(seconds["SASRec"]) / median(seconds["InstructRec"])
    rows = [(n, targets[n], f"{median(s):.2f}", f"{min(s):.2f}-{max(s):.2f}") for n, s in seconds.items()]
    table(["model", "targets an epoch", "seconds (median)", "range"], rows)
    print(f"InstructRec is {ratio:.1f} times faster an epoch (goal: 25)")
    record("epoch_time", {"seconds": seconds, "targets": targets, "ratio": round(ratio, 2)})


if __name__ == "__main__":
    main()
