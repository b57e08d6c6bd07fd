"""CLINC150: does a request to an assistant lead to the right action?

For each way to train the text encoder (``--tunings``), accuracy on requests that an action answers (in scope, Hit@1)
and recall of those that none does (out of scope), in three ways: "out of scope" is one more answer among 151, as in the
paper's ``oos-train``; the best of the 150 actions is taken whatever the request; requests whose best is not sure enough
are refused, by a threshold chosen on validation. In all three the 100 out-of-scope requests of the training part are
trained with. Further: parameters trained and seconds an epoch.

``--data_path`` is where ``instructrec convert clinc150`` has written its files. Runs that are recorded already are not
run again; ``--show`` prints the table and runs nothing; ``--label`` and ``--options`` are those of an ablation.
"""

from __future__ import annotations

import json
import statistics
import time
from typing import Any, NamedTuple

import numpy as np
import yaml
from scipy.special import logsumexp

from benchmarks.common import CONFIGS, build, full_scores, pending, record, recorded, start, table

CONFIG = CONFIGS / "clinc150.yaml"
OUT_OF_SCOPE = "oos"

#: Adapters are few and start at zero: they take ten times the rate of the encoder itself.
ADAPTERS = {"encoder_learning_rate": 1.0e-3}
OF_TUNING: dict[str, dict[str, Any]] = {"lora": ADAPTERS, "adalora": ADAPTERS}

#: Accuracy in scope, on validation, that refusing may cost.
COST = 0.003


class Answers(NamedTuple):
    """What is answered to the requests of a part, ``[n]`` each; 0 for "out of scope".

    Attributes
    ----------
    free : ndarray
        Best of all answers.
    found : ndarray
        Best action.
    sure : ndarray
        How sure that is.
    true : ndarray
        The right answer.
    """

    free: np.ndarray
    found: np.ndarray
    sure: np.ndarray
    true: np.ndarray


def answers(side: dict[str, Any], part: str) -> Answers:
    """Answers of a trained model.

    Sure is the logarithm of the summed exponentials of the scores (Liu et al., Energy-based Out-of-distribution
    Detection, NeurIPS 2020): the largest probability forgets how high the scores are.
    """
    dataset = side[part]._dataset
    oos = dataset.field2token_id[dataset.iid_field][OUT_OF_SCOPE]
    scores = full_scores(side["model"], side[part])
    free, true = scores.argmax(1), dataset.inter_feat[dataset.iid_field].numpy()
    scores[:, [0, oos]] = -np.inf
    named = [np.where(item == oos, 0, item) for item in (free, true)]
    return Answers(named[0], scores.argmax(1), logsumexp(scores, axis=1), named[1])


def measures(given: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """In-scope accuracy and out-of-scope recall of answers, 0 for "out of scope"."""
    inside = true > 0
    return {"accuracy": float((given == true)[inside].mean()), "recall": float((given == true)[~inside].mean())}


def refusing(answers: Answers, threshold: float) -> np.ndarray:
    """Answers when requests below a threshold are refused."""
    return np.where(answers.sure >= threshold, answers.found, 0)


def threshold_of(answers: Answers) -> float:
    """The highest threshold that costs at most :data:`COST` of the accuracy on validation."""
    inside = answers.true > 0
    right = np.sort(answers.sure[inside & (answers.found == answers.true)])
    return float(right[int(COST * inside.sum())])


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
    valid, test = answers(side, "valid"), answers(side, "test")
    threshold = threshold_of(valid)
    trained = sum(p.numel() for p in side["model"].parameters() if p.requires_grad)
    transformer = side["model"].transformer
    result = {
        "label": label,
        "tuning": tuning,
        "seed": seed,
        "options": options,
        "valid": measures(valid.found, valid.true),
        "one_more_answer": measures(test.free, test.true),
        "in_scope": measures(test.found, test.true)["accuracy"],
        "threshold": threshold,
        "valid_with_threshold": measures(refusing(valid, threshold), valid.true),
        "with_threshold": measures(refusing(test, threshold), test.true),
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
    for seed in range(2020, 2020 + args.seeds) if not args.show else []:
        for tuning in args.tunings.split(","):
            if pending("clinc150", seed, {"options": options}, label=args.label, tuning=tuning):
                run(args.label, tuning, seed, args.data_path, options)
    lines = []
    labelled = [r for r in recorded("clinc150") if r["label"] == args.label]
    for tuning in dict.fromkeys(r["tuning"] for r in labelled):
        runs = [r for r in labelled if r["tuning"] == tuning]
        mean = statistics.mean
        free = [r["one_more_answer"] for r in runs if "one_more_answer" in r]
        one_more = [f"{mean(f[key] for f in free):.4f}" if free else "" for key in ("accuracy", "recall")]
        lines.append(
            (
                tuning,
                len(runs),
                *one_more,
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
            "encoder_tuning", "seeds", "151 answers: accuracy", "recall", "150 answers: accuracy",
            "threshold: accuracy", "recall", "parameters trained", "of the encoder", "s an epoch",
        ),
        lines,
    )  # fmt: skip


if __name__ == "__main__":
    main()
