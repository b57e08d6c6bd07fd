"""Seconds an epoch on ml-1m, InstructRec against RecTools' SASRec: same width, depth, length and threads.

RecTools needs an environment of its own: ``pip install torch==2.13.0 "rectools[torch]==0.19.0"``; give its Python.
RecTools trains the last targets of each user, as many as its length; InstructRec all of them. So seconds per
thousand targets are printed too, and with ``--same_targets=1`` both are given the last interactions of each user alone.
Each has its own default batch (RecTools 128 users, InstructRec 32 windows).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.common import SAME, build, median, record, start, table, timed

_THEIRS, _OURS, _PLAIN = "RecTools SASRec", "InstructRec", "InstructRec without instructions"


class Theirs:
    """RecTools' SASRec in a process of its own, an epoch whenever it is told to."""

    def __init__(self, python: str, **told: Any) -> None:
        script = Path(__file__).with_name("rectools_side.py")
        self._process = subprocess.Popen(
            [python, str(script), json.dumps(told)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.targets = int(self._read("targets"))

    def epoch(self) -> float:
        """Seconds."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._read("seconds")

    def end(self) -> None:
        """Stop it."""
        self._process.kill()
        self._process.wait()

    def _read(self, name: str) -> float:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(name):
                return float(line.split()[1])
        sys.exit("RecTools' side has ended; run benchmarks/rectools_side.py with its Python to see why.")


def last_alone(folder: Path, data_path: str, length: int) -> str:
    """Write ml-1m with the last ``length + 1`` training interactions of each user, and the two that are held out.

    Returns
    -------
    str
        What to give as ``data_path``.
    """
    source, target = Path(data_path, "ml-1m"), folder / "ml-1m"
    target.mkdir()
    (target / "ml-1m.item").symlink_to((source / "ml-1m.item").resolve())
    table = pd.read_csv(source / "ml-1m.inter", sep="\t", dtype=str)
    table = table.sort_values("timestamp:float", key=lambda column: column.astype(float), kind="stable")
    table.groupby("user_id:token").tail(length + 3).to_csv(target / "ml-1m.inter", sep="\t", index=False)
    return str(folder)


def main() -> None:
    args = start(__doc__ or "", rectools_python="", data_path="dataset", repeats=3, length=50, same_targets=0)
    if not args.rectools_python:
        sys.exit("--rectools_python: the Python of an environment with RecTools.")
    with tempfile.TemporaryDirectory() as folder:
        if args.same_targets:
            args.data_path = last_alone(Path(folder), args.data_path, args.length)
        compare(args)


def compare(args: argparse.Namespace) -> None:
    """Train epochs in turn; print and record how long they took."""
    shape = {**SAME, "MAX_ITEM_LIST_LENGTH": args.length, "hidden_dropout_prob": 0.2, "attn_dropout_prob": 0.2}
    fields = {
        "load_col": {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id", "movie_title", "genre"]},
        "item_text_fields": ["movie_title", "genre"],
        "intent_field": "genre",
    }
    common = {"dataset": "ml-1m", "data_path": args.data_path, **shape}
    sides = {
        _OURS: build("InstructRec", **common, **fields, encoder_length=None),
        _PLAIN: build("InstructRec", **common, load_col={"inter": fields["load_col"]["inter"]}, encoder_length=None),
    }
    theirs = Theirs(
        args.rectools_python,
        file=str(Path(args.data_path, "ml-1m", "ml-1m.inter").resolve()),
        threads=args.threads,
        length=args.length,
        width=shape["hidden_size"],
        layers=shape["n_layers"],
        heads=shape["n_heads"],
        dropout=0.2,
        batch_size=128,
        epochs=args.repeats + 1,
    )
    seconds: dict[str, list[float]] = {_THEIRS: [], **{name: [] for name in sides}}
    targets = {_THEIRS: theirs.targets}
    for name, side in sides.items():
        side["trainer"]._keeps_state = False
        targets[name] = side["train"]._dataset.n_training_targets
    for repeat in range(args.repeats):  # in turn, so that a slower spell of the machine hits all
        seconds[_THEIRS].append(round(theirs.epoch(), 2))
        for name, side in sides.items():
            spent, _ = timed(lambda side=side, epoch=repeat: side["trainer"]._train_epoch(side["train"], epoch))
            seconds[name].append(round(spent, 2))
        print({name: values[-1] for name, values in seconds.items()}, flush=True)
    theirs.end()
    rows = [
        (
            name,
            targets[name],
            f"{median(s):.1f}",
            f"{min(s):.1f}-{max(s):.1f}",
            f"{1e6 * median(s) / targets[name]:.1f}",
        )
        for name, s in seconds.items()
    ]
    table(["model", "targets an epoch", "seconds (median)", "range", "ms a thousand targets"], rows)
    ratio = {name: round(median(seconds[name]) / median(seconds[_THEIRS]), 3) for name in sides}
    per_target = {name: round(ratio[name] * targets[_THEIRS] / targets[name], 3) for name in sides}
    print(f"seconds an epoch against RecTools': {ratio} (goal: .8); a target: {per_target}")
    told = {"length": args.length, "same_targets": bool(args.same_targets), "seconds": seconds, "targets": targets}
    record("rectools_time", {**told, "ratio": ratio, "ratio_per_target": per_target})


if __name__ == "__main__":
    main()
