"""Seconds an epoch of RecBole's models on ml-100k as RecBole trains them, and with what the leaderboard changes.

Some batches of each model are trained in turn in each way: as they are, with freed memory kept
(``leaderboard/allocator.py``), with faster layers, too (``layers.py``), and without padding and what no score depends
on (``sequences.py``). Processor seconds, the median of the batches times their number.
"""

from __future__ import annotations

import copy
import itertools
import time
from typing import Any

import torch

from benchmarks.common import build, median, record, start, table
from recbole_instructrec.leaderboard.allocator import keep_freed_memory
from recbole_instructrec.leaderboard.layers import use_fast_layers
from recbole_instructrec.leaderboard.sequences import leave_out_padding

MODELS = ("SASRec", "SASRecF", "FDSA", "GRU4Rec", "BERT4Rec", "LightSANs")
WAYS = ("as RecBole", "freed memory kept", "and faster layers", "and nothing left over")

_ATTRIBUTES: dict[str, Any] = {
    "load_col": {"inter": ["user_id", "item_id", "rating", "timestamp"], "item": ["item_id", "class"]},
    "selected_features": ["class"],
}


def seconds(model: Any, batches: list[Any]) -> list[float]:
    """Processor seconds of a step on each batch."""
    optimizer = torch.optim.Adam(model.parameters())
    spent = []
    for batch in batches:
        begin = time.process_time()
        optimizer.zero_grad()
        model.train().calculate_loss(batch).backward()
        optimizer.step()
        spent.append(time.process_time() - begin)
    return spent


def main() -> None:
    args = start(__doc__ or "", batches=4, models=",".join(MODELS))
    names = args.models.split(",")
    sides = {}
    for name in names:
        side = build(name, same=False, **(_ATTRIBUTES if name in ("SASRecF", "FDSA") else {}))
        fast = copy.deepcopy(side["model"])
        use_fast_layers(fast)
        lean = copy.deepcopy(fast)
        leave_out_padding(lean)
        batches = list(itertools.islice(side["train"], args.batches + 1))
        sides[name] = (batches, len(side["train"]), side["model"], fast, lean)
    found: dict[str, dict[str, float]] = {name: {} for name in names}

    def measure(name: str, way: int, model: Any) -> None:
        batches, n = sides[name][:2]
        found[name][WAYS[way]] = round(median(seconds(model, batches)[1:]) * n, 1)  # the first warms up

    for name in names:
        measure(name, 0, copy.deepcopy(sides[name][2]))
    keep_freed_memory()  # of the whole process, so that nothing comes before it that is to be without
    for name in names:
        for way, model in enumerate(sides[name][2:], 1):
            measure(name, way, model)
    table(["model", *WAYS], [(name, *(f"{found[name][way]:.1f}" for way in WAYS)) for name in names])
    record("other_models_time", {"batches": args.batches, "seconds_an_epoch": found})


if __name__ == "__main__":
    main()
