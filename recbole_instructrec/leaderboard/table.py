"""What the store knows of a plan: lines with figures, and how far ours stand from the others."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recbole_instructrec.leaderboard.agenda import Agenda, Line
from recbole_instructrec.leaderboard.markdown import with_sd
from recbole_instructrec.leaderboard.plan import FIRST, Entry, Plan
from recbole_instructrec.leaderboard.ranks import per_user, unpacked
from recbole_instructrec.leaderboard.runs import Run, config_of, effective, leaves_seen_out
from recbole_instructrec.leaderboard.statistics import (
    Difference,
    Summary,
    comparable,
    corrected,
    difference,
    of_users,
    ranks_unseen,
    summary,
)
from recbole_instructrec.leaderboard.store import Store, of_runs
from recbole_instructrec.report import bare

#: Rows of InstructRec that know the target.
ORACLES = ("intent", "shuffled")

_OURS = "InstructRec"
_LEVEL = 0.05


def epoch_seconds(record: Mapping[str, Any]) -> list[float]:
    """How long each epoch trained: processor seconds, which no other work lengthens; on an accelerator the clock's."""
    clock = "train_seconds" if record["accelerator"] else "train_cpu_seconds"
    return [epoch[clock] for epoch in record["curve"]]


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
    def history(self) -> str:
        """How many of a user's last items the model reads; RecBole's general models know all and do not rank them."""
        if leaves_seen_out(self.line.entry.model):
            return "all, left out"
        return str(self.records[0]["config"]["MAX_ITEM_LIST_LENGTH"])

    @property
    def minutes(self) -> float:
        """Of training, the mean over seeds."""
        return sum(sum(epoch_seconds(record)) for record in self.records) / len(self.records) / 60

    def of(self, metric: str) -> Summary:
        """A metric over seeds."""
        return summary(self.records, self.row, metric)

    def unseen(self, metric: str) -> np.ndarray:
        """A metric of every user with seen items left out, of the runs that have kept that, ``[n_seeds, n_users]``."""
        kept = [ranks for record in self.records if (ranks := ranks_unseen(record, self.row)) is not None]
        return np.stack([per_user(unpacked(ranks), metric) for ranks in kept]) if kept else np.empty((0, 0))


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

    def __init__(self, plan: Plan, agenda: RecordedAgenda, store: Store) -> None:
        self.plan, self.outdated = plan, agenda.outdated
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
        self.rows = [row for row in rows if bare(row.row) not in ORACLES]
        self.oracles = [row for row in rows if bare(row.row) in ORACLES]
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
        files: dict[str, str] = {}  # as the newest runs read them
        for record in records:
            files.update(record.get("data") or {})
        current = [r for r in records if all(files[name] == hash for name, hash in (r.get("data") or {}).items())]
        self.lines, self.outdated = [], len(records) - len(current)
        for entry in plan.entries:
            runs = [self._recorded(entry, options, current) for options in entry.trials]
            self.lines.append(Line(entry, [line[0] for line in runs], [line[1:] for line in runs]))

    def _recorded(self, entry: Entry, options: dict[str, Any], records: Sequence[Mapping[str, Any]]) -> list[Run]:
        """The runs of a trial, one a seed; those that no record is of have no id.

        A record is of a trial when its configuration has the same values, however the plan writes them and whatever
        its line was called. Options that have come or gone since count as what they were by default.
        """
        seed = entry.seeds[0]
        wanted = _plain(effective(config_of(entry.model, self.plan.dataset, options, seed, None)))
        ids = {
            record["seed"]: record["id"]  # the newest
            for record in records
            if record["model"] == entry.model
            and ("config" not in record or set(entry.rows) <= set(map(bare, record["rows"])))
            and _agree(wanted, record, options)
        }
        return [
            Run(ids.get(seed, ""), entry.name, entry.model, self.plan.dataset, options, seed, entry.rows, "", {})
            for seed in entry.seeds
        ]


def _agree(wanted: Mapping[str, Any], record: Mapping[str, Any], options: Mapping[str, Any]) -> bool:
    """Whether a record is of a configuration; of one that failed only the plan's own options are known."""
    if "config" not in record:
        return bool(record.get("options") == _plain(options))
    known = record["config"]
    return all(known[name] == value for name, value in wanted.items() if name in known)


def _plain(value: Any) -> Any:
    """As it comes back from JSON."""
    return json.loads(json.dumps(value, default=str))
