"""Steering on ml-100k over seeds: is what is asked for in words followed?

Trains a checkpoint for each seed and measures it as ``instructrec steer`` does. Runs that are recorded already are
not run again; ``--show`` prints the table and runs nothing. ``--options`` sets options, ``--label`` names them.
"""

from __future__ import annotations

import json
import statistics
from typing import Any

from benchmarks import accuracy
from benchmarks.common import build, pending, record, recorded, start, table
from recbole_instructrec.options import listed
from recbole_instructrec.steering.axes import BOUND, FILTER, FREE, MODEL, PLAIN, UNLIKE, K
from recbole_instructrec.steering.report import INTERVAL
from recbole_instructrec.steering.run import measure

ASK, SHARE, GAIN = "ask for an attribute", "share in the top 10", "NDCG@10 of the target"
ABOVE = f"NDCG@{K} above {FILTER}, row by row"


def run(label: str, seed: int, dataset: str, options: dict[str, Any]) -> None:
    """Train once, measure, record."""
    # What is trained here counts for the table of accuracy, too.
    if dataset == "ml-100k" and pending("accuracy", seed, {"options": options}, label=label):
        side = accuracy.run(label, seed, options)
    else:
        side = build("InstructRec", seed, dataset, same=False, **options)
        side["trainer"].fit(side["train"], side["valid"], verbose=False)
        side["trainer"].evaluate(side["test"], load_best_model=True)
    lines, _ = measure(side["model"], side["test"]._dataset, 0, 2020, lambda axis: print(f"  {axis} ...", flush=True))
    figures = [
        {"axis": line.axis, "wording": line.wording, "measure": line.measure, "values": line.values} for line in lines
    ]
    record("steering", {"label": label, "seed": seed, "dataset": dataset, "options": options, "lines": figures})


class Figures:
    """Means over seeds."""

    def __init__(self, runs: list[dict[str, Any]]) -> None:
        self._runs = runs

    def _of(self, axis: str, wording: str, measure: str, ranker: str, what: str) -> list[float]:
        return [
            line["values"][ranker][what]
            for run in self._runs
            for line in run["lines"]
            if (line["axis"], line["wording"], line["measure"]) == (axis, wording, measure)
        ]

    def __call__(self, axis: str, wording: str, measure: str, ranker: str) -> float:
        """One figure."""
        found = self._of(axis, wording, measure, ranker, "value")
        return statistics.mean(found) if found else float("nan")

    def gap(self, axis: str, wording: str, measure: str, ranker: str) -> str:
        """A difference with the widest of its seeds' 95 % intervals: the seeds ask the same rows in the same words."""
        errors = self._of(axis, wording, measure, ranker, "error")
        if not errors:
            return "-"
        value, half = self(axis, wording, measure, ranker), INTERVAL * max(errors)
        return f"{value:+.4f} [{value - half:+.4f}, {value + half:+.4f}]"

    def speaks(self, language: str) -> bool:
        """Whether the model was taught to read a language."""
        return language in listed(self._runs[0]["options"].get("instruction_language", "en"))


def goals(f: Figures, language: str = "zh") -> list[tuple[str, str, str]]:
    """The goals of the benchmark, what was found and in what it consists."""
    gain, asked = f(ASK, "held out", GAIN, MODEL), f(ASK, "held out", SHARE, MODEL)
    filtered, bound = f(ASK, "held out", GAIN, FILTER), f(ASK, "held out", GAIN, BOUND)
    left, avoided = "share left in the top 10", "avoid an attribute"
    own = ("paraphrase", "training words")
    free = {f"own-words-free, {name}": ("paraphrase", wording) for name, wording in FREE.items()}
    lines = [
        ("ask: share in the top 10", ">= .90", f"{asked:.3f}"),
        (
            "ask: NDCG@10 against un-instructed + hard filter",
            ">= 1.05",
            f"{gain:.4f} / {filtered:.4f} = {gain / filtered:.3f} (reader without error {bound / filtered:.3f})",
        ),
        ("ask: NDCG@10 above the filter, row by row", "interval > 0", f.gap(ASK, "held out", ABOVE, MODEL)),
        ("avoid: share left in the top 10", "<= .03", f"{f(avoided, 'held out', left, MODEL):.3f}"),
        (
            "avoid: NDCG@10 against hard filter",
            ">= .97",
            f"{f(avoided, 'held out', GAIN, MODEL) / f(avoided, 'held out', GAIN, FILTER):.3f}",
        ),
    ]
    for said, wording in {"held-out": ("paraphrase", "held out"), **free}.items():
        goal = "-" if "uncommon" in said else ">= .85" if said in free else ">= .95"
        for figure in (SHARE, GAIN):
            ratio = f(*wording, figure, MODEL) / f(*own, figure, MODEL)
            lines.append((f"paraphrase, {said} against training words: {figure}", goal, f"{ratio:.3f}"))
    for figure in (SHARE, GAIN):  # no goal: the harder part of the lines above, on its own rows
        for said, (axis, wording) in {"held out": (ASK, "held out"), **free}.items():
            about = (axis, f"{wording}, {UNLIKE}")
            found = [f(*about, figure, ranker) for ranker in (MODEL, PLAIN, FILTER)]
            told = "; un-instructed {:.3f}, filter {:.3f}".format(*found[1:])
            lines.append((f"{said}, {UNLIKE}: {figure}", "-", f"{found[0]:.3f}{told}"))
    for figure in (SHARE, GAIN) if f.speaks(language) else ():
        ratio = f("language, ask", language, figure, MODEL) / f("language, ask", "en", figure, MODEL)
        lines.append((f"{language} against English, ask: {figure}", ">= .85", f"{ratio:.3f}"))
    if f.speaks(language):
        left_there = [f("language, avoid", said, left, MODEL) for said in (language, "en")]
        lines.append(
            (f"{language}, avoid: share left in the top 10", "-", "{:.3f}; English {:.3f}".format(*left_there))
        )
    plain = f("control", "another user's request", GAIN, PLAIN)
    lines.append(
        (
            "shuffled against none, NDCG@10",
            "<= 1",
            f"{f('control', 'another user' + chr(39) + 's request', GAIN, MODEL) / plain:.3f}",
        )
    )
    steps = [
        f("degree", "held out", f"{SHARE}, told: {said}", MODEL) for said in ("nothing", "a bit more", "more", "only")
    ]
    lines.append(("degree: share told nothing, a bit more, more, only", "rises", ", ".join(f"{s:.3f}" for s in steps)))
    return lines


def every(runs: list[dict[str, Any]]) -> None:
    """Print all axes and rankers, means over seeds."""
    figures = Figures(runs)
    names = list(dict.fromkeys(name for line in runs[0]["lines"] for name in line["values"]))
    rows = []
    for line in runs[0]["lines"]:
        about = (line["axis"], line["wording"], line["measure"])
        rows.append((*about, *(f"{figures(*about, name):.4f}" if name in line["values"] else "" for name in names)))
    table(("axis", "wording", "measure", *names), rows)


def main() -> None:
    args = start(__doc__ or "", seeds=3, first_seed=2020, label="default", dataset="ml-100k", options="{}", show=0)
    options = json.loads(args.options)
    for seed in range(args.first_seed, args.first_seed + args.seeds) if not args.show else []:
        if pending("steering", seed, {"dataset": args.dataset, "options": options}, label=args.label):
            run(args.label, seed, args.dataset, options)
    for label in dict.fromkeys(r["label"] for r in recorded("steering")):
        runs = [r for r in recorded("steering") if r["label"] == label]
        print(f"\n{label}: {runs[0]['dataset']}, {len(runs)} seeds")
        table(("measure", "goal", "found"), goals(Figures(runs)))
        if label == args.label:
            print()
            every(runs)


if __name__ == "__main__":
    main()
