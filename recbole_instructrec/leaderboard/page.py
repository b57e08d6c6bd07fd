"""The page of one table, as Markdown."""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from recbole_instructrec.leaderboard.agenda import options_of_trials
from recbole_instructrec.leaderboard.markdown import (
    markdown,
    metric_name,
    number,
    p_value,
    signed,
    with_interval,
    with_sd,
)
from recbole_instructrec.leaderboard.matching import beside_defaults
from recbole_instructrec.leaderboard.plan import FIRST, Plan
from recbole_instructrec.leaderboard.runs import commit_of, hash_of
from recbole_instructrec.leaderboard.statistics import comparable, interval_of, over_seeds
from recbole_instructrec.leaderboard.store import DONE
from recbole_instructrec.leaderboard.table import Row, Table, epoch_seconds

#: Metrics of the front page.
SHOWN = ("recall@10", FIRST, "mrr@10")

#: What the columns of a table mean.
TERMS = (
    "*History*: how many of a user's last items a model reads. *Training part*: RecBole's general models score from "
    "the interactions of the training part; at the test they do not know the validation item. They never recommend "
    "what a user has had, which sequential models may: on data without repeats that is an advantage. The lines *up to "
    "the target* are RecBole's models told the validation item as well. *Tuning*: the options of InstructRec were "
    "chosen on validation for each data set while it was developed, among the dozens of configurations that "
    "docs/experiments.md tells; other models have RecBole's defaults and the trials of their line. A **bold figure** "
    "is a win of InstructRec, the line that is tested against all others: every other model of the plan has been "
    "calculated with all its seeds, the paired 95 % interval over users lies above 0 against each, and every corrected "
    "p is below .05. *Minutes*: of training epochs; - where there are none, as what ItemKNN and EASE calculate comes "
    "before them (docs/leaderboard.md)."
)

_CITATION = """@software{recbole_instructrec_KEY,
  title   = {recbole-instructrec: InstructRec for RecBole},
  author  = {{recbole-instructrec contributors}},
  year    = {YEAR},
  version = {VERSION},
  note    = {Table TABLE, results up to DATE; SHA-256 of their ranks begins HASH}
}"""


def page(table: Table) -> str:
    """The page of one table, as Markdown."""
    plan = table.plan
    parts = [
        f"# {plan.title}",
        "Made by `instructrec leaderboard report` from `leaderboard/results/"
        f"{plan.dataset}.jsonl`; not edited by hand. Terms: [docs/leaderboard.md](../docs/leaderboard.md).",
    ]
    if plan.note:
        parts.append(plan.note)
    if not table.rows:
        return "\n\n".join([*parts, "No run has ended well yet.", *_commands(table), *_failed(table)]) + "\n"
    counts = table.rows[0].records[0]["counts"]
    parts.append(
        f"{counts['users']:,} users, {counts['items']:,} items, {counts['interactions']:,} interactions; "
        f"{counts['tests']:,} test targets. Leave-one-out in order of time, all items ranked: RecBole's protocol for "
        "sequential models."
    )
    files = {name: hash for row in table.rows for record in row.records for name, hash in record["data"].items()}
    told = ", ".join(f"`{name}` {hash}" for name, hash in files.items())
    parts.append(f"{plan.source} SHA-256 of the files begins: {told}.".strip())
    parts += ["## Calculated", _calculated(table), *table.caveat]
    left = "1 run is" if table.left == 1 else f"{table.left} runs are"
    state = f"{left} still to come." if table.left else "All runs of the plan are done."
    parts.append(
        f"Mean over seeds ± standard deviation. Every searched model gets {plan.n_trials} trials, more where a trial "
        "takes seconds, and the best on validation is shown; the last two columns say how many trials and seeds stand "
        "behind a line now. " + TERMS + " " + state
    )
    if table.outdated:
        parts.append(f"{table.outdated} stored runs of other files or of an earlier reader of requests are not shown.")
    parts += _differences(table) + _unseen(table)
    if table.oracles:
        parts += [
            "## Told about the target",
            "These rows are told an attribute of the target, or another user's request; they are comparable with no "
            "line above.",
            plain(table.oracles),
        ]
    if plan.reported:
        parts += [
            "## Reported by others",
            "As their sources give them; whether their files, targets and lists are those of this page is not known "
            "unless a note says so.",
            _reported(plan),
        ]
    parts += ["## Time", f"![accuracy against training time]({plan.name}-time.png)", _time(table)]
    parts.append(
        "Means over seeds; InstructRec's mean is until the best score of any seed of the other. Processor seconds of "
        "training (on an accelerator, seconds of the clock); other work on the machine lengthens them by up to a "
        "quarter. No figure of the last column is below one epoch, which may be more than what it took: what is "
        "counted before the first epoch (the line *neighbours alone*) can have passed the score by then. Evaluation "
        "is not in them, nor what is done before the first epoch: reading the data, encoding texts once for a data "
        "set, counting what was taken together, which is all that the lines with a - do. What that takes: "
        "`python -m benchmarks.preparation`; docs/leaderboard.md."
    )
    parts += [f"![learning curves]({plan.name}-curves.png)"]
    parts += _trials(table) + _options(table) + _commands(table) + _environment(table)
    return "\n\n".join(parts + _failed(table)) + "\n"


def _failed(table: Table) -> list[str]:
    if not table.failed:
        return []
    return ["## Failed", "\n".join(f"- {r['entry']}, seed {r['seed']}: {r['error']}" for r in table.failed)]


def minutes(row: Row) -> str:
    """Of training, as tables print them."""
    return f"{row.minutes:.1f}" if row.trains else "-"


def plain(rows: Sequence[Row], table: Table | None = None) -> str:
    """Rows with the metrics of the front page, as Markdown; of a table, what wins is bold."""
    head = ["model", "sees", "history", *map(metric_name, SHOWN), "seeds", "minutes of training"]
    lines = []
    for row in rows:
        cells = [with_sd(row.of(metric)) if table is None else table.figure(row, metric) for metric in SHOWN]
        lines.append([row.name, row.line.entry.sees, row.history, *cells, str(len(row.records)), minutes(row)])
    return markdown(head, lines)


def _calculated(table: Table) -> str:
    metrics = list(table.rows[0].records[0]["rows"][table.rows[0].row])
    head = ["model", "sees", "history", *map(metric_name, metrics), "parameters", "trials", "seeds"]
    lines = []
    for row in table.rows:
        done = (table.records.get(run.id) for run in row.line.trials)
        trials = sum(record is not None and record["status"] == DONE for record in done)
        cells = [table.figure(row, metric) for metric in metrics]
        trial_text = row.line.entry.untuned or f"{trials} of {len(row.line.trials)}"
        parameters = f"{row.records[0]['parameters']:,}"
        seeds = f"{len(row.records)} of {len(row.line.entry.seeds)}"
        lines.append([row.name, row.line.entry.sees, row.history, *cells, parameters, trial_text, seeds])
    return markdown(head, lines)


def _differences(table: Table) -> list[str]:
    lines = []
    for (name, row), against in table.differences.items():
        for other, (gap, p) in against.items():
            interval = f"{signed(gap.low)} to {signed(gap.high)}"
            lines.append([f"{name}, row `{row}`", other, signed(gap.mean), interval, p_value(p)])
    if not lines:
        return []
    return [
        f"## Differences in {metric_name(FIRST)}",
        markdown(["line", "less", "difference", "95 % interval", "p, corrected"], lines),
        "Paired by user, each user's metric averaged over the seeds; interval by bootstrap over users, p by a "
        "randomisation test (two-sided, 9,999 draws each), corrected for the number of comparisons of a line "
        "(Benjamini and Hochberg). Lines without some parts are held against the best other model alone.",
    ]


def _unseen(table: Table) -> list[str]:
    """The lines with seen items left out of every list, as far as runs have kept those ranks."""
    kept, main = [], table.own_row
    for row in table.rows:
        of_users = {metric: users for metric in SHOWN if (users := row.unseen(metric)) is not None}
        if of_users:
            kept.append((row, of_users))
    own = next((found[FIRST].mean(0) for row, found in kept if row is main), None)
    if main is None or own is None:
        return []
    shown = {row.line.entry.name for row, _ in kept}
    missing = list(dict.fromkeys(row.line.entry.name for row in table.rows if row.line.entry.name not in shown))
    kept.sort(key=lambda pair: -pair[1][FIRST].mean())
    lines = []
    for row, found in kept:
        cells = [with_sd(over_seeds(found[metric].mean(1))) for metric in SHOWN]
        paired = not row.ours and comparable(main.records, row.records)
        gap = interval_of(own, found[FIRST].mean(0)) if paired else None
        less = "" if gap is None else with_interval(gap)
        lines.append([row.name, *cells, f"{len(found[FIRST])} of {len(row.line.entry.seeds)}", less])
    head = [
        "model",
        *map(metric_name, SHOWN),
        "seeds",
        f"InstructRec's row `none` less this, {metric_name(FIRST)}, 95 %",
    ]
    return [
        "## Seen items left out",
        "The same runs with everything that a user took before the target left out of every list: not RecBole's "
        "protocol for sequential models, but what many others report."
        + (f" Not here, as not all of their runs have kept these ranks: {', '.join(missing)}." if missing else ""),
        markdown(head, lines),
    ]


def _reported(plan: Plan) -> str:
    metrics = list(dict.fromkeys(name for told in plan.reported for name in told["metrics"]))
    lines = [
        [
            told["model"],
            *(number(told["metrics"][name]) if name in told["metrics"] else "" for name in metrics),
            told["source"],
            str(told.get("note", "")),
        ]
        for told in plan.reported
    ]
    return markdown(["model", *map(metric_name, metrics), "source", "note"], lines)


def _time(table: Table) -> str:
    """Training time until each other model's best validation score, on the same machine."""
    own = next((row for row in table.rows if row.main), None)
    lines = []
    for row in table.rows:
        bests = [max(epoch["score"] for epoch in record["curve"]) for record in row.records]
        if row.trains:
            spent = [epoch_seconds(record) for record in row.records]
            until = [_seconds_until(record, best) for record, best in zip(row.records, bests, strict=True)]
            epochs, seconds = fmean(map(len, spent)), sum(map(sum, spent)) / sum(map(len, spent))
            cells = [row.name, f"{epochs:.0f}", f"{seconds:.1f}", number(fmean(bests)), f"{fmean(until):,.0f}"]
        else:
            cells = [row.name, "-", "-", number(fmean(bests)), "-"]
        lines.append([*cells, "" if own is None or row.ours else _own_seconds(own, row, max(bests))])
    head = ["model", "epochs", "s an epoch", f"best validation {metric_name(FIRST)}", "seconds until there"]
    return markdown([*head, "InstructRec's until the same score"], lines)


def _own_seconds(own: Row, other: Row, score: float) -> str:
    """Mean seconds of our seeds until another's validation score."""
    until = [_seconds_until(record, score) for record in own.records]
    reached = [seconds for seconds in until if seconds < math.inf]
    if not reached:
        return "not reached"
    notes = [f"{len(reached)} of {len(until)} seeds"] if len(reached) < len(until) else []
    if len({record["processor"] for record in [*own.records, *other.records]}) > 1:
        notes.append("another machine")
    return f"{fmean(reached):,.0f}" + (f" ({', '.join(notes)})" if notes else "")


def _seconds_until(record: Mapping[str, Any], score: float) -> float:
    """Seconds of training until a validation score; infinite where it was not reached."""
    total = 0.0
    for epoch, spent in zip(record["curve"], epoch_seconds(record), strict=True):
        total += spent
        if epoch["score"] >= score:
            return total
    return math.inf


def _trials(table: Table) -> list[str]:
    lines = []
    for line in table.lines:
        best = line.best(table.records)
        for place, (run, options) in enumerate(zip(line.trials, options_of_trials(line.entry), strict=True)):
            record = table.records.get(run.id)
            if record is None or line.entry.untuned:
                continue
            said = ", ".join(f"{name} {value}" for name, value in options.items())
            score = number(record["valid_score"]) if "valid_score" in record else "failed"
            lines.append([line.entry.name, said, score, "chosen" if place == best else ""])
    if not lines:
        return []
    return ["## Trials", markdown(["model", "options", f"validation {metric_name(FIRST)}", ""], lines)]


def _options(table: Table) -> list[str]:
    """What each line was run with beside its defaults and the protocol."""
    records = {line.entry.name: line.figures(table.records) for line in table.lines}
    own = {name: beside_defaults(found[0]) for name, found in records.items() if found}
    pairs = [{(option, str(value)) for option, value in told.items()} for told in own.values()]
    of_all = set.intersection(*pairs) if len(pairs) > 1 else set()
    lines = []
    for name, told in own.items():
        shown = [f"{option} {value}" for option, value in sorted(told.items()) if (option, str(value)) not in of_all]
        if shown:
            lines.append([name, ", ".join(shown)])
    if not lines:
        return []
    return [
        "## Options",
        "Of each line's best trial, where they are not the same for all lines, nor the model's defaults (RecBole's; of "
        "InstructRec, those of `properties/InstructRec.yaml`).",
        markdown(["model", "options"], lines),
    ]


def _commands(table: Table) -> list[str]:
    """How to make each line again."""
    run = f"instructrec leaderboard run {shlex.quote(table.plan.path)} --store=again/results"
    lines = [f"{run} --jobs=2        # the whole table"]
    lines += [f"{run} --models={shlex.quote(line.entry.name)}" for line in table.lines]
    lines.append("instructrec leaderboard verify --store=again/results --against=leaderboard/results")
    return [
        "## Commands",
        "A folder of one's own keeps new results apart: what stands among the committed ones is not run again. Where "
        "the files of the data set are not RecBole's own, `--data_path` says in which folder they are.",
        "```bash\n" + "\n".join(lines) + "\n```",
    ]


def _counted(names: Sequence[str]) -> str:
    """Each name once, with how often it occurs."""
    return ", ".join(name if n == 1 else f"{name} ({n})" for name, n in Counter(names).items())


def _environment(table: Table) -> list[str]:
    records = [record for row in table.rows for record in row.records]
    kinds: dict[tuple[str, ...], list[str]] = {}
    by_id = {record["id"]: record for record in records}  # rows share runs
    names = {record["id"]: row.line.entry.name for row in table.rows for record in row.records}
    for id, record in by_id.items():
        versions = record["versions"]
        where = record["accelerator"] or record["processor"]
        libraries = ", ".join(f"{name} {versions[name]}" for name in ("recbole", "torch", "numpy", "pandas", "scipy"))
        commit = ", then ".join(record.get("commits") or [commit_of(record)])
        key = (where, f"{record['threads']} thread", f"Python {record['python']}, {libraries}", commit)
        kinds.setdefault(key, []).append(names[id])
    lines = [[*key, _counted(of)] for key, of in sorted(kinds.items())]
    from recbole_instructrec.version import __version__

    date = max((str(record["date"]) for record in records), default="")[:10]
    digest = hash_of({id: record["ranks"] for id, record in by_id.items()})
    name = table.plan.name.replace("_", r"\_")
    told = {
        "KEY": table.plan.name,
        "VERSION": __version__,
        "TABLE": name,
        "YEAR": date[:4],
        "DATE": date,
        "HASH": digest,
    }
    citation = _CITATION
    for name, value in told.items():
        citation = citation.replace(name, value)
    return [
        "## Environment",
        markdown(["machine", "threads", "libraries", "commit", "runs"], lines),
        "## Citation",
        "```bibtex\n" + citation + "\n```",
    ]
