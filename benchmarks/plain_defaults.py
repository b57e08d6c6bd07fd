"""What a data set of one's own gets: known data sets under another name, so that their own options are not read.

What describes the items is told, as a user would (``dataset_configs/``); all else are InstructRec's general defaults,
which were taken from what had been chosen on these data. ``--before=1`` gives those of before 2026-11-30: no
neighbours, no texts in the item table, 50 items known.

    python -m benchmarks.plain_defaults --dataset=ml-100k
    python -m benchmarks.plain_defaults --dataset=lastfm-tags --data_path=dataset/ --before=1
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.common import build, pending, record, recorded, settings_of, start, table, timed
from recbole_instructrec.leaderboard.plan import PlanError
from recbole_instructrec.leaderboard.runs import config_of, data_files

#: General defaults of before.
BEFORE: dict[str, Any] = {
    "MAX_ITEM_LIST_LENGTH": 50,
    "encoder_length": None,
    "item_fusion": "none",
    "neighbour_weight": 0.0,
    "neighbour_back": 0.5,
    "network_weight": 1.0,
}

_NAME = "data-of-ones-own"  # has no options of its own


def source_of(dataset: str, data_path: str) -> Path:
    """Folder of a data set; of ml-100k, RecBole's copy."""
    config = config_of("Pop", dataset, {}, 0, data_path)
    try:
        data_files(config)
    except PlanError as error:
        sys.exit(str(error))
    return Path(config["data_path"])


def measure(dataset: str, source: Path, seed: int, options: dict[str, Any]) -> dict[str, Any]:
    """Train with the general defaults, row ``none``; validation and test figures of the best epoch."""
    told = settings_of(dataset)
    told.pop("selected_features", None)  # of other models
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / _NAME
        folder.mkdir()
        for file in source.glob(f"{dataset}.*"):
            (folder / f"{_NAME}{file.suffix}").symlink_to(file.resolve())
        here = {"data_path": place, "checkpoint_dir": place, "report_rows": []}
        side = build("InstructRec", seed, _NAME, same=False, **{**told, **here, **options})
        trainer, curve = side["trainer"], []

        def after_epoch(epoch: int, score: float) -> None:
            curve.append(round(float(score), 6))
            print(f"epoch {epoch}: validation NDCG@10 {score:.4f}", flush=True)

        seconds, _ = timed(lambda: trainer.fit(side["train"], side["valid"], verbose=False, callback_fn=after_epoch))
        test = trainer.evaluate(side["test"])
    figures = {name: round(float(test[name]), 6) for name in ("ndcg@10", "recall@10")}
    return {"seconds": round(seconds, 1), "curve": curve, "valid": max(curve), **figures}


def main() -> None:
    args = start(__doc__ or "", dataset="ml-100k", data_path="dataset", seeds=1, before=0)
    source = source_of(args.dataset, args.data_path)
    options = BEFORE if args.before else {}
    label = "before" if args.before else "now"
    for seed in range(2020, 2020 + args.seeds):
        if pending("plain_defaults", seed, {"options": options}, dataset=args.dataset, label=label):
            found = measure(args.dataset, source, seed, dict(options))
            told = {"dataset": args.dataset, "label": label, "seed": seed, "options": options}
            record("plain_defaults", {**told, **found})
    table(
        ["data", "defaults", "seed", "validation NDCG@10", "test NDCG@10", "Recall@10", "epochs", "seconds"],
        [
            (
                one["dataset"], one["label"], one["seed"], f"{one['valid']:.4f}", f"{one['ndcg@10']:.4f}",
                f"{one['recall@10']:.4f}", len(one["curve"]), f"{one['seconds']:.0f}",
            )
            for one in recorded("plain_defaults")
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main()
