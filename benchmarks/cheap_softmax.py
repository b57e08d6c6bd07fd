"""What a cheaper softmax costs: the whole catalogue in float32 and bf16, and part of it (``loss_items``).

Each variant is trained as ``dataset_configs`` and the defaults of the data set say, over ``--seeds`` seeds. Seconds
are the processor's, of training alone. Runs that are recorded already are not run again.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import yaml

from benchmarks.common import CONFIGS, build, median, pending, record, recorded, start, table

METRICS = ("ndcg@10", "recall@10")


def variants(drawn: str) -> dict[str, dict[str, Any]]:
    """Options of each variant, by name."""
    whole = {"whole catalogue": {}, "whole catalogue, bf16": {"precision": "bf16"}}
    return whole | {f"{n} items drawn": {"loss_items": int(n)} for n in drawn.split(",") if n}


def train(side: dict[str, Any]) -> dict[str, Any]:
    """One training to its end and its test result."""
    spent: list[float] = []
    inner = side["trainer"]._train_epoch

    def epoch(*args: Any, **kwargs: Any) -> Any:
        begin = time.process_time()
        try:
            return inner(*args, **kwargs)
        finally:
            spent.append(round(time.process_time() - begin, 2))

    side["trainer"]._train_epoch = epoch
    _, valid = side["trainer"].fit(side["train"], side["valid"], verbose=False)
    test = side["trainer"].evaluate(side["test"]).rows["none"]
    return {
        "epoch_seconds": spent,
        "valid": {name: round(float(valid[name]), 6) for name in METRICS},
        "test": {name: round(float(test[name]), 6) for name in METRICS},
    }


def main() -> None:
    args = start(__doc__ or "", dataset="Amazon_Beauty", data_path="dataset", seeds=2, drawn="512,2048")
    own = yaml.safe_load((CONFIGS / f"{args.dataset}.yaml").read_text(encoding="utf-8"))
    common = {**own, "dataset": args.dataset, "data_path": args.data_path, "report_rows": ["none"]}
    for seed in range(2020, 2020 + args.seeds):
        for name, options in variants(args.drawn).items():
            if not pending("cheap_softmax", seed, {}, dataset=args.dataset, variant=name):
                continue
            found = train(build("InstructRec", seed, same=False, **common, **options))
            record("cheap_softmax", {"dataset": args.dataset, "variant": name, "seed": seed, **found})
            print(f"{name}, seed {seed}: {found['valid']['ndcg@10']:.4f} on validation", flush=True)
    rows = []
    for name in variants(args.drawn):
        runs = [r for r in recorded("cheap_softmax") if r["dataset"] == args.dataset and r["variant"] == name]

        def told(part: str, metric: str, runs: list[dict[str, Any]] = runs) -> str:
            values = [run[part][metric] for run in runs]
            return f"{statistics.mean(values):.4f}" + (f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else "")

        seconds = [s for run in runs for s in run["epoch_seconds"]]
        parts = [told(part, metric) for part in ("valid", "test") for metric in METRICS]
        rows.append((name, len(runs), f"{median(seconds):.1f}", *parts))
    head = ["softmax over", "seeds", "s an epoch"]
    table([*head, "validation NDCG@10", "Recall@10", "test NDCG@10", "Recall@10"], rows)


if __name__ == "__main__":
    main()
