"""Measure 3: peak memory of building the ml-1m data set at length 200, against the stock SequentialDataset.

Needs ml-1m: ``--data_path`` names the folder that holds it.
"""

from __future__ import annotations

import resource
import subprocess
import sys

from benchmarks.common import record, start, table, timed

_CHILD = "--child"


def child(model: str, data_path: str, length: int) -> None:
    """Build one data set and print the memory before, the peak, and the seconds it took."""
    sys.argv = sys.argv[:1]
    import logging

    from recbole.config import Config
    from recbole.data import create_dataset
    from recbole.utils import get_model

    import recbole_instructrec  # noqa: F401

    logging.disable(logging.WARNING)
    # The same columns on both sides: interactions only.
    options = {
        "data_path": data_path,
        "MAX_ITEM_LIST_LENGTH": length,
        "train_neg_sample_args": None,
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "item_text_fields": [],
        "intent_field": None,
    }
    get_model(model)
    config = Config(model=model, dataset="ml-1m", config_dict=options)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds, parts = timed(lambda: create_dataset(config).build())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print("RESULT", before, peak, round(seconds, 1), len(parts[2]))


def main() -> None:
    if _CHILD in sys.argv:
        child(sys.argv[2], sys.argv[3], int(sys.argv[4]))
        return
    args = start(__doc__ or "", data_path="dataset", length=200, repeats=3)
    peaks: dict[str, list[float]] = {"SASRec": [], "InstructRec": []}
    seconds: dict[str, list[float]] = {"SASRec": [], "InstructRec": []}
    for _ in range(args.repeats):
        for name in peaks:
            command = [
                sys.executable,
                "-m",
                "benchmarks.dataset_memory",
                _CHILD,
                name,
                args.data_path,
                str(args.length),
            ]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            line = next((line for line in done.stdout.splitlines() if line.startswith("RESULT")), None)
            if line is None:
                sys.exit(f"{name} failed:\n{done.stderr[-2000:]}")
            before, peak, spent, _ = line.split()[1:]
            peaks[name].append((int(peak) - int(before)) / 1024)
            seconds[name].append(float(spent))
            print(f"{name}: {peaks[name][-1]:.0f} MiB, {spent} s", flush=True)
    middle = {name: sorted(values)[len(values) // 2] for name, values in peaks.items()}
    table(
        ["data set", "peak above the start (MiB)", "seconds"],
        [
            ("SequentialDataset (stock)", f"{middle['SASRec']:.0f}", sorted(seconds["SASRec"])[args.repeats // 2]),
            ("InstructRecDataset", f"{middle['InstructRec']:.0f}", sorted(seconds["InstructRec"])[args.repeats // 2]),
        ],
    )
    ratio = middle["SASRec"] / middle["InstructRec"]
    print(f"InstructRecDataset needs 1/{ratio:.1f} of the memory (goal: 1/10)")
    record("dataset_memory", {"length": args.length, "mib": peaks, "seconds": seconds, "ratio": round(ratio, 2)})


if __name__ == "__main__":
    main()
