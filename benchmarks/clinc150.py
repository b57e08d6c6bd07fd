"""CLINC150: does a request to an assistant lead to the right action?

For each way to train the text encoder (``--tunings``): accuracy on requests that an action answers (in scope, Hit@1),
recall of those that none does (out of scope) with a threshold chosen on validation, parameters trained and seconds an
epoch. ``--data_path`` is where ``instructrec convert clinc150`` has written its files. Runs that are recorded already
are not run again; ``--show`` prints the table and runs nothing; ``--label`` and ``--options`` are those of an ablation.
"""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from scipy.special import logsumexp

from benchmarks.common import build, full_scores, record, recorded, start, table

CONFIG = Path(__file__).parents[1] / "dataset_configs" / "clinc150.yaml"
OUT_OF_SCOPE = "oos"

#: Adapters are few and start at zero: they take ten times the rate of the encoder itself.
ADAPTERS = {"encoder_learning_rate": 1.0e-3}
OF_TUNING: dict[str, dict[str, Any]] = {"lora": ADAPTERS, "adalora": ADAPTERS}

#: Accuracy in scope, on validation, that refusing may cost.
COST = 0.003


def confidence(side: dict[str, Any], part: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Best action in scope, how sure it is, and the true item of each request (0 for none), ``[n]`` each.

    Sure is the logarithm of the summed exponentials of the scores (Liu et al., Energy-based Out-of-distribution
    Detection, NeurIPS 2020): the largest probability forgets how high the scores are.
    """
    dataset = side[part]._dataset
    oos = dataset.field2token_id[dataset.iid_field][OUT_OF_SCOPE]
    scores = full_scores(side["model"], side[part])
    scores[:, [0, oos]] = -np.inf
    true = dataset.inter_feat[dataset.iid_field].numpy()
    return scores.argmax(1), logsumexp(scores, axis=1), np.where(true == oos, 0, true)


def measures(found: np.ndarray, sure: np.ndarray, true: np.ndarray, threshold: float) -> dict[str, float]:
    """In-scope accuracy and out-of-scope recall when requests below a threshold are refused."""
    inside = true > 0
    accepted = sure >= threshold
    return {
        "accuracy": float(((found == true) & accepted)[inside].mean()),
        "recall": float((~accepted)[~inside].mean()),
    }


def threshold_of(found: np.ndarray, sure: np.ndarray, true: np.ndarray) -> float:
    """The highest threshold that costs at most :data:`COST` of the accuracy on validation."""
    right = np.sort(sure[(true > 0) & (found == true)])
    return float(right[int(COST * (true > 0).sum())])


def run(label: str, tuning: str, seed: int, data_path: str, options: dict[str, Any]) -> None:
    """Train once and record."""
    settings = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    side = build(
        "InstructRec",
        seed,
        "clinc150",
        same=False,
        **{
            **settings,
            "data_path": data_path,
            "metrics": ["Recall"],
            "encoder_tuning": tuning,
            **OF_TUNING.get(tuning, {}),
            **options,
        },
    )
    marks = [time.perf_counter()]
    curve: list[float] = []

    def after(epoch: int, score: float) -> None:
        marks.append(time.perf_counter())
        curve.append(round(score, 5))
        print(f"  {tuning} seed {seed} epoch {epoch}: valid {score:.4f} ({marks[-1] - marks[-2]:.0f} s)", flush=True)

    side["trainer"].fit(side["train"], side["valid"], verbose=False, callback_fn=after)
    side["trainer"].evaluate(side["test"], load_best_model=True)
    valid, test = confidence(side, "valid"), confidence(side, "test")
    threshold = threshold_of(*valid)
    trained = sum(p.numel() for p in side["model"].parameters() if p.requires_grad)
    transformer = side["model"].transformer
    result = {
        "label": label,
        "tuning": tuning,
        "seed": seed,
        "options": options,
        "valid": measures(*valid, -np.inf),
        "in_scope": measures(*test, -np.inf)["accuracy"],
        "threshold": threshold,
        "valid_with_threshold": measures(*valid, threshold),
        "with_threshold": measures(*test, threshold),
        "parameters": trained,
        "encoder_parameters": 0
        if transformer is None
        else sum(p.numel() for p in transformer.parameters() if p.requires_grad),
        "seconds_an_epoch": round(statistics.median(np.diff(marks)), 1),
        "learning_curve": curve,
    }
    record("clinc150", result)
    print(json.dumps(result), flush=True)


def main() -> None:
    args = start(
        __doc__ or "",
        tunings="frozen,lora,adalora,full",
        seeds=1,
        label="default",
        data_path="dataset",
        options="{}",
        show=0,
    )
    options = json.loads(args.options)
    done = {(r["label"], r["tuning"], r["seed"]) for r in recorded("clinc150")}
    for seed in range(2020, 2020 + args.seeds) if not args.show else []:
        for tuning in args.tunings.split(","):
            if (args.label, tuning, seed) not in done:
                run(args.label, tuning, seed, args.data_path, options)
    lines = []
    labelled = [r for r in recorded("clinc150") if r["label"] == args.label]
    for tuning in dict.fromkeys(r["tuning"] for r in labelled):
        runs = [r for r in labelled if r["tuning"] == tuning]
        mean = statistics.mean
        lines.append(
            (
                tuning,
                len(runs),
                f"{mean(r['in_scope'] for r in runs):.4f}",
                f"{mean(r['with_threshold']['accuracy'] for r in runs):.4f}",
                f"{mean(r['with_threshold']['recall'] for r in runs):.4f}",
                f"{runs[0]['parameters']:,}",
                f"{runs[0]['encoder_parameters']:,}",
                f"{mean(r['seconds_an_epoch'] for r in runs):.0f}",
            )
        )
    table(
        (
            "encoder_tuning", "seeds", "in-scope accuracy", "accuracy with threshold", "out-of-scope recall",
            "parameters trained", "of the encoder", "s an epoch",
        ),
        lines,
    )  # fmt: skip


if __name__ == "__main__":
    main()
