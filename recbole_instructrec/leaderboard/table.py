"""What the store knows of a plan: lines with figures, and how far ours stand from the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recbole_instructrec.leaderboard.agenda import Agenda, Line
from recbole_instructrec.leaderboard.markdown import with_sd
from recbole_instructrec.leaderboard.matching import recorded
from recbole_instructrec.leaderboard.plan import FIRST, Entry, Plan
from recbole_instructrec.leaderboard.ranks import per_user, unpacked
from recbole_instructrec.leaderboard.runs import Run, leaves_seen_out, model_class
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
from recbole_instructrec.leaderboard.store import DONE, of_runs
from recbole_instructrec.report import bare

#: Rows of InstructRec that know the target.
ORACLES = ("intent", "shuffled")

#: RecBole's name of the model that this project is about, and of the line of a plan that stands for it.
OURS = "InstructRec"

_LEVEL = 0.05


def epoch_seconds(record: Mapping[str, Any]) -> list[float]:
    """How long each epoch trained: processor seconds, less lengthened by other work; on an accelerator the clock's."""
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
        return f"**{entry.name}**, row `{self.row}`" if entry.model == OURS else entry.name

    @property
    def ours(self) -> bool:
        """Whether this is InstructRec."""
        return self.line.entry.model == OURS

    @property
    def main(self) -> bool:
        """Whether this is of the line that stands for InstructRec, and of none without some of its parts."""
        return self.line.entry.name == OURS

    @property
    def history(self) -> str:
        """How many of a user's last items the model reads; RecBole's general models know those of the training part."""
        if leaves_seen_out(self.line.entry.model):
            return "training part"
        if getattr(model_class(self.line.entry.model), "knows_whole_history", False):
            return "all"
        return str(self.records[0]["config"]["MAX_ITEM_LIST_LENGTH"])

    @property
    def trains(self) -> bool:
        """Whether anything is learned, and not counted alone: RecBole gives models that only count one parameter."""
        record = self.records[0]
        return bool(record["parameters"] > 1 and record["config"].get("network_weight") != 0)

    @property
    def minutes(self) -> float:
        """Of training, the mean over seeds; 0 where nothing is trained."""
        if not self.trains:
            return 0.0
        return sum(sum(epoch_seconds(record)) for record in self.records) / len(self.records) / 60

    def of(self, metric: str) -> Summary:
        """A metric over seeds."""
        return summary(self.records, self.row, metric)

    def unseen(self, metric: str) -> np.ndarray | None:
        """A metric of every user with seen items left out, ``[n_seeds, n_users]``; None where a run has not kept it."""
        kept = [ranks_unseen(record, self.row) for record in self.records]
        ranks = [one for one in kept if one is not None]
        return np.stack([per_user(unpacked(one), metric) for one in ranks]) if len(ranks) == len(kept) else None


class Table:
    """Everything that is known of a plan.

    Parameters
    ----------
    plan : Plan
        The plan.
    agenda : Agenda
        Its runs.
    records : sequence of mapping
        Results of the data set.
    """

    def __init__(self, plan: Plan, agenda: RecordedAgenda, records: Sequence[Mapping[str, Any]]) -> None:
        self.plan, self.outdated = plan, agenda.outdated
        self.records = of_runs(records, agenda.ids())
        self.lines = agenda.lines
        self.left, self.failed = agenda.left(self.records), agenda.failed(self.records)
        rows = [
            Row(line, row, found)
            for line in agenda.lines
            if (found := line.figures(self.records))
            for row in found[0]["rows"]
            if bare(row) in line.entry.rows  # runs of another plan may have had more
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
    def own_row(self) -> Row | None:
        """InstructRec's row that is told nothing about what is wanted; None while it has no figure."""
        return next((row for row in self.rows if row.main and bare(row.row) == "none"), None)

    @property
    def best_reported(self) -> Mapping[str, Any] | None:
        """What others report of the best model, None where nobody reports NDCG@10."""
        told = [told for told in self.plan.reported if FIRST in told["metrics"]]
        return max(told, key=lambda told: told["metrics"][FIRST], default=None)

    @property
    def others(self) -> tuple[int, int]:
        """Lines of other models that have figures of all their seeds, and how many lines the plan has."""
        named = [(entry, done) for entry, done in self._seeds_done if entry.model != OURS]
        return sum(done == len(entry.seeds) for entry, done in named), len(named)

    @property
    def unfinished(self) -> list[str]:
        """Names of lines that seeds are missing of, and how many are there."""
        return [
            f"{entry.name} ({done} of {len(entry.seeds)} seeds)" if done else entry.name
            for entry, done in self._seeds_done
            if done < len(entry.seeds)
        ]

    @property
    def _seeds_done(self) -> list[tuple[Entry, int]]:
        """Every line with the number of its seeds that there are figures of."""
        return [(line.entry, len(line.figures(self.records))) for line in self.lines]

    def _differences(self) -> dict[tuple[str, str], dict[str, tuple[Difference, float]]]:
        """Of every row of the line that stands for InstructRec against every other model, of its lines without some
        parts against the best: the difference and its corrected p."""
        found = {}
        for own in sorted((row for row in self.rows if row.ours), key=lambda row: not row.main):
            users = of_users(own.records, own.row, FIRST)
            others = self.baselines if own.main else self.baselines[:1]
            against = [row for row in others if comparable(own.records, row.records)]
            gaps = [difference(users, of_users(row.records, row.row, FIRST)) for row in against]
            p = corrected([gap.p for gap in gaps])
            found[own.line.entry.name, own.row] = {
                row.line.entry.name: pair for row, pair in zip(against, zip(gaps, p, strict=True), strict=True)
            }
        return found

    def wins(self, own: Row) -> bool:
        """Whether InstructRec's row is better than every other model of the plan: all seeds done, intervals above 0."""
        if not own.main:
            return False
        against = self.differences.get((own.line.entry.name, own.row), {})
        done, planned = self.others
        return (
            bool(against)
            and len(against) == len(self.baselines)
            and done == planned
            and all(gap.low > 0 and p < _LEVEL for gap, p in against.values())
        )

    def figure(self, row: Row, metric: str) -> str:
        """A metric of a row; the first one of a row that wins is bold, and marked where there is a caveat."""
        text = with_sd(row.of(metric))
        if metric != FIRST or not self.wins(row):
            return text
        return f"**{text}**" + (" †" if self.plan.caveat else "")

    @property
    def caveat(self) -> list[str]:
        """What the mark beside a bold figure stands for, as a paragraph; none where no figure has it."""
        marked = self.plan.caveat and any(map(self.wins, self.rows))
        return [f"† {self.plan.caveat}"] if marked else []


class RecordedAgenda(Agenda):
    """The agenda of a plan as the results tell it: for a report no data set has to be at hand.

    Parameters
    ----------
    plan : Plan
        The plan.
    records : sequence of mapping
        Results of the data set.
    """

    def __init__(self, plan: Plan, records: Sequence[Mapping[str, Any]]) -> None:
        self.plan = plan
        files: dict[str, str] = {}  # as the newest runs read them
        for record in records:
            if record["status"] == DONE:  # one that failed may have failed for its files
                files.update(_of_all_lines(record))
        current = [r for r in records if all(files.get(name, hash) == hash for name, hash in _of_all_lines(r).items())]
        self.lines, self.outdated = [], len(records) - len(current)
        for entry in plan.entries:
            runs = []
            for options in entry.trials:
                ids = recorded(entry, plan.dataset, options, current)
                runs.append([_known_as(ids.get(seed, ""), plan, entry, options, seed) for seed in entry.seeds])
            self.lines.append(Line(entry, [line[0] for line in runs], [line[1:] for line in runs]))


def _known_as(id: str, plan: Plan, entry: Entry, options: dict[str, Any], seed: int) -> Run:
    """A run by the id of its result; one that there is no result of has none."""
    return Run(id, entry.name, entry.model, plan.dataset, options, seed, entry.rows, "", {})


def _of_all_lines(record: Mapping[str, Any]) -> dict[str, str]:
    """Hashes of the files that the runs of all lines read alike: the data set, and readers of requests."""
    told = record.get("data") or {}
    return {name: hash for name, hash in told.items() if name.startswith((f"{record['dataset']}.", "reader "))}
