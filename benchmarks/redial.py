"""ReDial: films that people asked for in their own words, row ``file``, beside what one would otherwise do.

InstructRec over seeds, and: itself un-instructed, popularity, what the user took before and then popularity, BM25,
dense retrieval, dense retrieval plus log-popularity (the weight is chosen on validation), these also without the films
that the request names, which nobody asks for, reciprocal rank fusion of retrieval and the un-instructed model,
RecBole's SASRec (dropout chosen on validation). ``--data_path`` is where ``instructrec convert redial`` has written its
files. Runs that are recorded already are not run again; ``--show`` prints the table and runs nothing; ``--label`` and
``--options`` are those of an ablation.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import yaml
from scipy.stats import bootstrap

from benchmarks.common import CONFIGS, build, full_scores, pending, record, recorded, start, table
from benchmarks.perfect_reader import requests_of
from recbole_instructrec.data.mentions import ItemMentions
from recbole_instructrec.leaderboard.ranks import per_user
from recbole_instructrec.model.text_vectors import FrozenTextEncoder
from recbole_instructrec.steering.measures import ndcg, rank_of
from recbole_instructrec.steering.rankers import Bm25, Dense, Fixed, Fused, Ranker

CONFIG = CONFIGS / "redial.yaml"
OURS = "InstructRec"
K, METRICS = 10, ("recall@10", "ndcg@10")

#: Dropout of SASRec that is tried.
DROPOUTS = (0.5, 0.2)

#: Weights of log-popularity that are tried on validation.
WEIGHTS = (0.0, 0.02, 0.05, 0.08, 0.12, 0.2, 0.3, 0.5)


class Told:
    """Rows of one part, what is said in each, and the targets."""

    def __init__(self, side: dict[str, Any], part: str) -> None:
        dataset = side[part]._dataset
        self.dataset, self.loader, self.model = dataset, side[part], side["model"]
        self.requests = requests_of(dataset, "file")
        self.target = dataset.inter_feat[dataset.iid_field].numpy()
        self.user = dataset.inter_feat[dataset.uid_field].numpy()
        self.history = dataset[:][
            dataset.item_id_list_field
        ].numpy()  # rows hold where their history ends, not its items
        self.taken_before = (self.history == self.target[:, None]).any(1)

    def scores(self, source: str) -> np.ndarray:
        """Of the model in one evaluation row, ``[n, n_items]``."""
        self.dataset.use_instructions(source)
        return full_scores(self.model, self.loader)


def baselines(side: dict[str, Any]) -> dict[str, np.ndarray]:
    """Ranks of the test targets under every baseline of a trained side."""
    test, valid, config = Told(side, "test"), Told(side, "valid"), side["config"]
    texts = test.dataset.item_texts
    encoder = FrozenTextEncoder(config["text_encoder"], config["max_text_tokens"], config["text_cache_dir"], False)
    dense: Ranker = Dense(encoder, texts)
    popularity = np.log1p(side["train"]._dataset.target_counts())

    names = ItemMentions(test.dataset.item_names, texts)

    def unnamed(scores: np.ndarray, told: Told) -> np.ndarray:
        """Scores with the films that each request names out of reach."""
        scores = scores.copy()
        for row, text in enumerate(told.requests.texts):
            scores[row, names.find(text)] = -np.inf
        return scores

    def best_weight(change: Callable[[np.ndarray, Told], np.ndarray]) -> float:
        scores = dense(valid.requests)

        def gain(weight: float) -> float:
            return float(ndcg(rank_of(change(scores + weight * popularity, valid), valid.target), K).mean())

        return max(WEIGHTS, key=gain)

    weight, weight_unnamed = best_weight(lambda scores, told: scores), best_weight(unnamed)
    plain, words = Fixed(test.scores("none")), Bm25(texts)
    by_words, by_vector = words(test.requests), dense(test.requests)
    popular = np.tile(popularity, (len(test.target), 1))
    popular[:, 0] = -np.inf  # padding
    repeated = popular.copy()
    np.put_along_axis(repeated, test.history, np.take_along_axis(popular, test.history, 1) + popularity.max() + 1.0, 1)
    found = {
        "un-instructed": plain(test.requests),
        "popularity": popular,
        "taken before, then popularity": repeated,
        "BM25": by_words,
        "BM25, named films left out": unnamed(by_words, test),
        "dense": by_vector,
        "dense, named films left out": unnamed(by_vector, test),
        f"dense + {weight} log-popularity": by_vector + weight * popularity,
        f"dense + {weight_unnamed} log-popularity, named films left out": unnamed(
            by_vector + weight_unnamed * popularity, test
        ),
        "BM25 + un-instructed (RRF)": Fused(words, plain)(test.requests),
        "dense + un-instructed (RRF)": Fused(dense, plain)(test.requests),
    }
    return {name: rank_of(scores, test.target) for name, scores in found.items()}


def run(label: str, seed: int, data_path: str, options: dict[str, Any]) -> None:
    """Train InstructRec once and record the ranks of all."""
    settings = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    side = build(OURS, seed, "redial", same=False, **{**settings, "data_path": data_path, "report_rows": [], **options})
    curve: list[float] = []
    side["trainer"].fit(
        side["train"], side["valid"], verbose=False, callback_fn=lambda epoch, score: curve.append(round(score, 5))
    )
    side["trainer"].evaluate(side["test"], load_best_model=True)
    test, valid = Told(side, "test"), Told(side, "valid")
    found = {OURS: rank_of(test.scores("file"), test.target), **baselines(side)}
    on_validation = ndcg(rank_of(valid.scores("file"), valid.target), K).mean()
    _record(label, seed, options, found, test.user, float(on_validation), curve, test.taken_before)


def run_sasrec(seed: int, data_path: str, dropout: float) -> None:
    """Train RecBole's SASRec once and record the ranks."""
    settings = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    columns = {"inter": ["user_id", "item_id", "item_id_list"]}
    own = {key: settings[key] for key in ("alias_of_item_id", "benchmark_filename")}
    rates = {"hidden_dropout_prob": dropout, "attn_dropout_prob": dropout}
    end = {"epochs": 100, "stopping_step": 10}
    side = build("SASRec", seed, "redial", same=False, **own, **rates, **end, load_col=columns, data_path=data_path)
    for part in ("train", "valid", "test"):  # SASRec fails on an empty history: such a one is read as one padding item
        rows = side[part]._dataset
        rows.inter_feat[rows.item_list_length_field].clamp_(min=1)
    curve: list[float] = []
    side["trainer"].fit(
        side["train"], side["valid"], verbose=False, callback_fn=lambda epoch, score: curve.append(round(score, 5))
    )
    side["trainer"].evaluate(side["test"], load_best_model=True)
    dataset = side["test"]._dataset
    target, user = (dataset.inter_feat[field].numpy() for field in (dataset.iid_field, dataset.uid_field))
    rank = rank_of(full_scores(side["model"], side["test"]), target)
    _record(sasrec_label(dropout), seed, rates, {"SASRec": rank}, user, max(curve), curve)


def sasrec_label(dropout: float) -> str:
    """Label of its runs."""
    return f"SASRec, dropout {dropout}"


def _record(
    label: str,
    seed: int,
    options: dict[str, Any],
    found: dict[str, np.ndarray],
    user: np.ndarray,
    valid: float,
    curve: list[float],
    taken_before: np.ndarray | None = None,
) -> None:
    figures = {
        name: {metric: float(per_user(rank, metric).mean()) for metric in METRICS} for name, rank in found.items()
    }
    record(
        "redial",
        {
            "label": label,
            "seed": seed,
            "options": options,
            "valid_ndcg@10": round(valid, 6),
            "figures": figures,
            "ranks": {name: rank.tolist() for name, rank in found.items()},
            "user": user.tolist(),
            **({} if taken_before is None else {"taken_before": taken_before.tolist()}),
            "learning_curve": curve,
        },
    )
    print(f"{label} seed {seed}: valid {valid:.4f}, test {figures}", flush=True)


def interval(
    ours: list[np.ndarray], others: list[np.ndarray], user: np.ndarray, metric: str, rows: np.ndarray
) -> tuple[float, float]:
    """95 % interval of the difference of a metric, paired by example, over some rows.

    Users are resampled, whose examples are alike; as they have different numbers of examples, the mean over examples is
    a ratio of two sums over users.
    """
    gains = [np.mean([per_user(rank, metric) for rank in ranks], axis=0)[rows] for ranks in (ours, others)]
    _, code = np.unique(user[rows], return_inverse=True)
    total, count = np.bincount(code, gains[0] - gains[1]), np.bincount(code)
    found = bootstrap(
        (total, count),
        lambda total, count, axis=-1: total.sum(axis) / count.sum(axis),
        paired=True,
        n_resamples=5000,
        method="percentile",
        rng=np.random.default_rng(0),
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def show(of: dict[str, list[dict[str, Any]]], user: np.ndarray, rows: np.ndarray) -> dict[str, dict[str, float]]:
    """Print the table over some rows; gives the means.

    Parameters
    ----------
    of : dict of str to list
        Runs with the ranks of each ranker.
    user : ndarray
        Of each row, ``[n]``.
    rows : ndarray of bool
        ``[n]``.

    Returns
    -------
    dict of str to dict
        Metrics of each ranker.
    """
    ranks = {name: [np.array(run["ranks"][name]) for run in runs if name in run["ranks"]] for name, runs in of.items()}
    lines, found = [], {}
    for name, own in ranks.items():
        found[name] = {metric: float(np.mean([per_user(r, metric)[rows] for r in own])) for metric in METRICS}
        gaps = ["", ""]
        if name != OURS:
            intervals = [interval(ranks[OURS], own, user, metric, rows) for metric in METRICS]
            gaps = [f"[{low:+.4f}, {high:+.4f}]" for low, high in intervals]
        lines.append((name, len(own), *(f"{found[name][metric]:.4f}" for metric in METRICS), *gaps))
    better = [f"InstructRec better by, {metric}, 95 %" for metric in ("Recall@10", "NDCG@10")]
    table(("ranker", "seeds", "Recall@10", "NDCG@10", *better), lines)
    return found


def main() -> None:
    args = start(__doc__ or "", seeds=3, label="default", data_path="dataset", options="{}", sasrec=1, show=0)
    options = json.loads(args.options)
    for seed in range(2020, 2020 + args.seeds) if not args.show else []:
        if pending("redial", seed, {"options": options}, label=args.label):
            run(args.label, seed, args.data_path, options)
        for dropout in DROPOUTS if args.sasrec else ():
            if pending("redial", seed, {}, label=sasrec_label(dropout)):
                run_sasrec(seed, args.data_path, dropout)
    runs = [r for r in recorded("redial") if r["label"] == args.label]
    of_dropout = {d: [r for r in recorded("redial") if r["label"] == sasrec_label(d)] for d in DROPOUTS}
    others = max(
        of_dropout.values(), key=lambda runs: statistics.mean(r["valid_ndcg@10"] for r in runs) if runs else 0.0
    )
    if not runs:
        labels = sorted({r["label"] for r in recorded("redial")})
        sys.exit(
            f"there are no results with --label={args.label!r}, only {', '.join(labels)}; without --show they are made"
        )
    of: dict[str, list[dict[str, Any]]] = dict.fromkeys(runs[0]["ranks"], runs)
    if others:
        of["SASRec"] = others
    user = np.array(runs[0]["user"])
    of = {name: from_runs for name, from_runs in of.items() if from_runs[0]["user"] == runs[0]["user"]}
    found = show(of, user, np.ones(len(user), dtype=bool))
    before = np.array(runs[0].get("taken_before", [False] * len(user)), dtype=bool)
    for said, rows in (("the target was taken before", before), ("the target is new to the user", ~before)):
        if rows.any() and not rows.all():
            print(f"\n{said}: {rows.sum()} of {len(rows)} requests")
            show(of, user, rows)
    ratios = [
        f"{said} {found[OURS][metric] / max(f[metric] for name, f in found.items() if name != OURS):.2f} times"
        for said, metric in (("Recall@10", "recall@10"), ("NDCG@10", "ndcg@10"))
    ]
    print(f"Against the best of the others: {', '.join(ratios)} (goal: 1.25)")


if __name__ == "__main__":
    main()
