"""LEADERBOARD.md and the pages of the tables, made from the store alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recbole_instructrec.leaderboard.agenda import Agenda, Line, options_of_trials
from recbole_instructrec.leaderboard.markdown import FIRST, markdown, metric_name, number, p_value, signed, with_sd
from recbole_instructrec.leaderboard.overview import own_row, write_overviews
from recbole_instructrec.leaderboard.plan import Plan
from recbole_instructrec.leaderboard.runs import Run
from recbole_instructrec.leaderboard.statistics import (
    Difference,
    Summary,
    comparable,
    corrected,
    difference,
    of_users,
    summary,
)
from recbole_instructrec.leaderboard.store import Store, of_runs

#: Metrics of the front page.
SHOWN = ("recall@10", FIRST, "mrr@10")

#: What the rows of InstructRec that are comparable with other models are told, and those that know the target.
ORACLES = ("intent", "shuffled")

_OURS = "InstructRec"
_LEVEL = 0.05
_CITATION = """@software{recbole_instructrec,
  title   = {recbole-instructrec: InstructRec for RecBole},
  author  = {{recbole-instructrec contributors}},
  version = {VERSION},
  note    = {Table TABLE, commit COMMIT}
}"""


@dataclass
class Row:
    """A line of a table with one evaluation row.

    Attributes
    ----------
    line : Line
        Of the plan.
    row : str
        Evaluation row.
    records : list of mapping
        Runs behind the figures, one a seed.
    """

    line: Line
    row: str
    records: list[Mapping[str, Any]]

    @property
    def name(self) -> str:
        """In the table."""
        entry = self.line.entry
        return f"**{entry.name}**, row `{self.row}`" if entry.model == _OURS else entry.name

    @property
    def ours(self) -> bool:
        """Whether this is InstructRec."""
        return self.line.entry.model == _OURS

    @property
    def minutes(self) -> float:
        """Of training, the mean over seeds."""
        return sum(record["train_seconds"] for record in self.records) / len(self.records) / 60

    def of(self, metric: str) -> Summary:
        """A metric over seeds."""
        return summary(self.records, self.row, metric)


class Table:
    """Everything that is known of a plan.

    Parameters
    ----------
    plan : Plan
        The plan.
    agenda : Agenda
        Its runs.
    store : Store
        Results.
    """

    def __init__(self, plan: Plan, agenda: Agenda, store: Store) -> None:
        self.plan = plan
        self.records = of_runs(store.read(plan.dataset)[0], agenda.ids())
        self.lines = agenda.lines
        self.left, self.failed = agenda.left(self.records), agenda.failed(self.records)
        rows = [
            Row(line, row, records)
            for line in agenda.lines
            if (records := line.figures(self.records))
            for row in records[0]["rows"]
        ]
        rows.sort(key=lambda row: -row.of(FIRST).mean)
        self.rows = [row for row in rows if row.row.split("+")[0] not in ORACLES]
        self.oracles = [row for row in rows if row.row.split("+")[0] in ORACLES]
        self.differences = self._differences()

    @property
    def baselines(self) -> list[Row]:
        """Rows of other models."""
        return [row for row in self.rows if not row.ours]

    @property
    def best_reported(self) -> Mapping[str, Any] | None:
        """What others report of the best model, None where nobody reports NDCG@10."""
        told = [told for told in self.plan.reported if FIRST in told["metrics"]]
        return max(told, key=lambda told: told["metrics"][FIRST], default=None)

    def _differences(self) -> dict[tuple[str, str], dict[str, tuple[Difference, float]]]:
        """Of every row of ours against every other model: the difference and its corrected p."""
        found = {}
        for own in (row for row in self.rows if row.ours):
            users = of_users(own.records, own.row, FIRST)
            against = [row for row in self.baselines if comparable(own.records, row.records)]
            gaps = [difference(users, of_users(row.records, row.row, FIRST)) for row in against]
            p = corrected([gap.p for gap in gaps])
            found[own.line.entry.name, own.row] = {
                row.line.entry.name: pair for row, pair in zip(against, zip(gaps, p, strict=True), strict=True)
            }
        return found

    def wins(self, own: Row) -> bool:
        """Whether one row of ours is better than every other model that was calculated, each interval above 0."""
        against = self.differences.get((own.line.entry.name, own.row), {})
        return (
            bool(against)
            and len(against) == len(self.baselines)
            and all(gap.low > 0 and p < _LEVEL for gap, p in against.values())
        )

    def figure(self, row: Row, metric: str) -> str:
        """A metric of a row; the first one of a row that wins is bold."""
        text = with_sd(row.of(metric))
        return f"**{text}**" if metric == FIRST and row.ours and self.wins(row) else text


def write(plans: Sequence[Path], store: Store, output: Path) -> list[Path]:
    """Write ``LEADERBOARD.md``, for each plan ``leaderboard/<plan>.md`` and its pictures, and the READMEs' overview.

    Parameters
    ----------
    plans : sequence of path
        Plans in the order of the page.
    store : Store
        Results.
    output : path
        Folder of ``LEADERBOARD.md``.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    PlanError
        For a plan that cannot be run.
    """
    tables = [Table(plan, RecordedAgenda(plan, store), store) for plan in map(Plan.read, plans)]
    folder = output / "leaderboard"
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for table in tables:
        file = folder / f"{table.plan.name}.md"
        file.write_text(page(table), encoding="utf-8")
        files.append(file)
        if table.rows:
            from recbole_instructrec.leaderboard.pictures import draw

            files += draw(table, folder)
    shown = [table for table in tables if own_row(table) is not None]
    if shown:
        from recbole_instructrec.leaderboard.pictures import draw_overview

        files.append(draw_overview(shown, folder / "overview.png"))
    front = output / "LEADERBOARD.md"
    front.write_text(front_page(tables), encoding="utf-8")
    return [front, *files, *write_overviews(tables, output)]


class RecordedAgenda(Agenda):
    """The agenda of a plan as the store knows it: for a report no data set has to be at hand.

    Parameters
    ----------
    plan : Plan
        The plan.
    store : Store
        Results.
    """

    def __init__(self, plan: Plan, store: Store) -> None:
        self.plan = plan
        records = store.read(plan.dataset)[0]
        of = {(r["entry"], json.dumps(r["options"], sort_keys=True), r["seed"]): r for r in records}
        self.lines = []
        for entry in plan.entries:
            runs = [
                [_recorded(of, plan, entry.name, entry.model, options, seed, entry.rows) for seed in entry.seeds]
                for options in entry.trials
            ]
            self.lines.append(Line(entry, [line[0] for line in runs], [line[1:] for line in runs]))


def _recorded(of: Mapping[Any, Any], plan: Plan, name: str, model: str, options: Any, seed: int, rows: Any) -> Any:
    record = of.get((name, json.dumps(options, sort_keys=True), seed))
    return Run(record["id"] if record else "", name, model, plan.dataset, options, seed, rows, "", {})


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
        return "\n\n".join([*parts, "No run has ended yet.", *_commands(table)]) + "\n"
    counts = table.rows[0].records[0]["counts"]
    parts.append(
        f"{counts['users']:,} users, {counts['items']:,} items, {counts['interactions']:,} interactions; "
        f"{counts['tests']:,} test targets. Leave-one-out in order of time, full ranking, seen items not masked: "
        "RecBole's protocol for sequential models."
    )
    parts += ["## Calculated", _calculated(table)]
    state = f"{table.left} runs are still to come." if table.left else "All runs of the plan are done."
    parts.append(
        f"Mean over seeds ± standard deviation. Every searched model gets {plan.n_trials} trials, chosen on "
        "validation; the last two columns say how many trials and seeds stand behind a line now. " + state
    )
    parts += _differences(table)
    if table.oracles:
        parts += [
            "## Told about the target",
            "These rows are told an attribute of the target, or another user's request; they are comparable with no "
            "line above.",
            _plain(table.oracles),
        ]
    if plan.reported:
        parts += ["## Reported by others", _reported(plan)]
    parts += ["## Time", f"![accuracy against training time]({plan.name}-time.png)", _time(table)]
    parts += [f"![learning curves]({plan.name}-curves.png)"]
    parts += _trials(table) + _commands(table) + _environment(table)
    if table.failed:
        parts += ["## Failed", *[f"- {r['entry']}, seed {r['seed']}: {r['error']}" for r in table.failed]]
    return "\n\n".join(parts) + "\n"


def front_page(tables: Sequence[Table]) -> str:
    """LEADERBOARD.md."""
    parts = [
        "# Leaderboard",
        "Sequential recommenders under RecBole's own protocol: leave-one-out in order of time, full ranking, seen "
        "items not masked. Made by `instructrec leaderboard report`, not edited by hand; how figures come about and "
        "how to add a line: [docs/leaderboard.md](docs/leaderboard.md). A win, **bold**, is one where the paired 95 % "
        "interval over users excludes 0 against every calculated model.",
    ]
    for table in tables:
        parts.append(f"## [{table.plan.title}](leaderboard/{table.plan.name}.md)")
        if not table.rows:
            parts.append("No run has ended yet.")
            continue
        parts.append(_plain(table.rows, table))
        best = table.best_reported
        if best is not None:
            parts.append(
                f"Best reported by others: {best['model']}, "
                + ", ".join(f"{metric_name(name)} {number(value)}" for name, value in best["metrics"].items())
                + f" ({best['source']})."
            )
        parts.append(f"![accuracy against training time](leaderboard/{table.plan.name}-time.png)")
    return "\n\n".join(parts) + "\n"


def _plain(rows: Sequence[Row], table: Table | None = None) -> str:
    head = ["model", "sees", *map(metric_name, SHOWN), "seeds", "minutes of training"]
    lines = []
    for row in rows:
        cells = [with_sd(row.of(metric)) if table is None else table.figure(row, metric) for metric in SHOWN]
        lines.append([row.name, row.line.entry.sees, *cells, str(len(row.records)), f"{row.minutes:.1f}"])
    return markdown(head, lines)


def _calculated(table: Table) -> str:
    metrics = list(table.rows[0].records[0]["rows"][table.rows[0].row])
    head = ["model", "sees", *map(metric_name, metrics), "parameters", "trials", "seeds"]
    lines = []
    for row in table.rows:
        trials = sum(run.id in table.records for run in row.line.trials)
        cells = [table.figure(row, metric) for metric in metrics]
        trial_text = row.line.entry.untuned or f"{trials} of {len(row.line.trials)}"
        parameters = f"{row.records[0]['parameters']:,}"
        seeds = f"{len(row.records)} of {len(row.line.entry.seeds)}"
        lines.append([row.name, row.line.entry.sees, *cells, parameters, trial_text, seeds])
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
        "(Benjamini and Hochberg).",
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
    own = next((row for row in table.rows if row.ours), None)
    lines = []
    for row in table.rows:
        record = row.records[0]
        best = max(epoch["score"] for epoch in record["curve"])
        theirs = _seconds_until(record, best)
        cells = [row.name, f"{len(record['curve'])}", f"{record['train_seconds'] / max(1, record['epochs']):.1f}"]
        cells += [number(best), f"{theirs:,.0f}"]
        if own is not None and not row.ours:
            mine = _seconds_until(own.records[0], best)
            same = own.records[0]["processor"] == record["processor"]
            cells.append("not reached" if mine is None else f"{mine:,.0f}" + ("" if same else " (another machine)"))
        else:
            cells.append("")
        lines.append(cells)
    head = ["model", "epochs", "s an epoch", f"best validation {metric_name(FIRST)}", "processor seconds until there"]
    return markdown([*head, f"{_OURS}'s until the same score"], lines)


def _seconds_until(record: Mapping[str, Any], score: float) -> float | None:
    """Processor seconds of training until a validation score."""
    total = 0.0
    for epoch in record["curve"]:
        total += epoch["train_cpu_seconds"]
        if epoch["score"] >= score:
            return total
    return None


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


def _commands(table: Table) -> list[str]:
    """How to make each line again."""
    plan = f"leaderboard/plans/{table.plan.name}.yaml"
    lines = [f"instructrec leaderboard run {plan} --jobs=2        # the whole table"]
    lines += [f'instructrec leaderboard run {plan} --models="{line.entry.name}"' for line in table.lines]
    return ["## Commands", "```bash\n" + "\n".join(lines) + "\n```"]


def _environment(table: Table) -> list[str]:
    records = [record for row in table.rows for record in row.records]
    kinds: dict[tuple[str, ...], int] = {}
    for record in {record["id"]: record for record in records}.values():
        versions = record["versions"]
        where = record["accelerator"] or record["processor"]
        libraries = ", ".join(f"{name} {versions[name]}" for name in ("recbole", "torch", "numpy", "pandas", "scipy"))
        commit = f"{record['commit']}{' and changes' if record['dirty'] else ''}"
        key = (where, f"{record['threads']} thread", f"Python {record['python']}, {libraries}", commit)
        kinds[key] = kinds.get(key, 0) + 1
    lines = [[*key, str(n)] for key, n in sorted(kinds.items())]
    commits = sorted({str(record["commit"]) for record in records})
    from recbole_instructrec.version import __version__

    citation = _CITATION.replace("VERSION", __version__).replace("TABLE", table.plan.name)
    return [
        "## Environment",
        markdown(["machine", "threads", "libraries", "commit", "runs"], lines),
        "## Citation",
        "```bibtex\n" + citation.replace("COMMIT", ", ".join(commits)) + "\n```",
    ]
