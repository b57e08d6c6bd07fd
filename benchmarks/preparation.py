"""Processor seconds until the first epoch begins, which the minutes of the leaderboard do not hold.

Reading the data set and making the model: InstructRec's item neighbours and texts, similarities of item-based models.
Texts are encoded once and kept; ``--texts=0`` leaves out the line with an empty cache, minutes on a large catalogue.

    python -m benchmarks.preparation --dataset=ml-100k
"""

from __future__ import annotations

import tempfile
import time
from typing import Any

from benchmarks.common import PLANS, record, start, table
from recbole_instructrec.leaderboard.plan import Entry, Plan
from recbole_instructrec.leaderboard.runs import config_of, model_class, run_of
from recbole_instructrec.leaderboard.table import OURS

OTHERS = ("SASRec", "EASE (up to the target)", "ItemKNN (up to the target)")


def prepare(plan: Plan, entry: Entry, data_path: str, **options: Any) -> dict[str, float]:
    """Processor seconds of reading the data and of making the model, for the first trial of a line."""
    from recbole.data import create_dataset, data_preparation

    run = run_of(plan, entry, entry.trials[0], 2020, data_path)
    config = config_of(run.model, run.dataset, {**run.options, **options, "use_gpu": False}, run.seed, data_path)
    begin = time.process_time()
    dataset = create_dataset(config)
    train, _, _ = data_preparation(config, dataset)
    read = time.process_time()
    model_class(run.model)(config, train._dataset)
    return {"data": round(read - begin, 2), "model": round(time.process_time() - read, 2)}


def main() -> None:
    args = start(__doc__ or "", dataset="ml-100k", data_path="", texts=1)
    plan = Plan.read(PLANS / f"{args.dataset}.yaml")
    entries = {entry.name: entry for entry in plan.entries}
    found = {}
    prepare(plan, entries[OURS], args.data_path)  # imports, and texts that are not kept yet
    for name in (OURS, *OTHERS):
        found[name] = prepare(plan, entries[name], args.data_path)
    if args.texts:
        with tempfile.TemporaryDirectory() as folder:
            found[f"{OURS}, no texts kept"] = prepare(plan, entries[OURS], args.data_path, text_cache_dir=folder)
    record("preparation", {"dataset": args.dataset, "seconds": found})
    table(["line", "reading the data", "making the model"], [(name, *spent.values()) for name, spent in found.items()])


if __name__ == "__main__":
    main()
