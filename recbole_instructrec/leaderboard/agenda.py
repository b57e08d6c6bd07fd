"""What of a plan has been done, and what comes next."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from recbole_instructrec.leaderboard.matching import recorded
from recbole_instructrec.leaderboard.plan import Entry, Plan, PlanError
from recbole_instructrec.leaderboard.runs import Run, config_of, data_files, run_of
from recbole_instructrec.leaderboard.store import DONE, FAILED

Records = Mapping[str, Mapping[str, Any]]


@dataclass
class Line:
    """Runs of one line of a table.

    Attributes
    ----------
    entry : Entry
        The line.
    trials : list of Run
        One an option set, all with the first seed.
    others : list of list of Run
        For each trial the runs with the other seeds.
    """

    entry: Entry
    trials: list[Run]
    others: list[list[Run]]

    def best(self, records: Records) -> int | None:
        """Number of the trial with the best validation score; None while trials are missing or when all failed."""
        ended = [records.get(run.id) for run in self.trials]
        if any(record is None for record in ended):
            return None
        scores = [r["valid_score"] if r and r["status"] == DONE else float("-inf") for r in ended]
        best = max(range(len(scores)), key=scores.__getitem__)
        return None if scores[best] == float("-inf") else best

    def figures(self, records: Records) -> list[Mapping[str, Any]]:
        """Records of the best trial, in the order of the seeds, as far as they are there."""
        best = self.best(records)
        if best is None:
            return []
        found = (records.get(run.id) for run in [self.trials[best], *self.others[best]])
        return [record for record in found if record and record["status"] == DONE]

    def to_do(self, records: Records) -> list[Run]:
        """Runs that can be started now."""
        missing = [run for run in self.trials if run.id not in records]
        best = self.best(records)
        if not missing and best is not None:
            missing = [run for run in self.others[best] if run.id not in records]
        return missing

    def left(self, records: Records) -> int:
        """Runs that are still to come, those included that have to wait for a choice."""
        missing = sum(run.id not in records for run in self.trials)
        best = self.best(records)
        if missing:
            return missing + len(self.entry.seeds) - 1
        return 0 if best is None else sum(run.id not in records for run in self.others[best])


class Agenda:
    """All runs of a plan.

    Parameters
    ----------
    plan : Plan
        The plan.
    data_path : str or None
        Folder of data sets.
    only : sequence of str, optional
        Names of the lines that are wanted; all by default.
    records : sequence of mapping, optional
        Results of the data set. A run that there is a result of goes by that one's id, also where options have come
        since (:mod:`~recbole_instructrec.leaderboard.matching`).

    Raises
    ------
    PlanError
        Naming every line whose options or data set cannot be.
    """

    def __init__(
        self,
        plan: Plan,
        data_path: str | None,
        only: Sequence[str] = (),
        records: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        self.plan = plan
        unknown = set(only) - {entry.name for entry in plan.entries}
        if unknown:
            raise PlanError(f"--models: the plan {plan.name} has no line {', '.join(sorted(unknown))}.")
        self.lines, wrong = [], []
        missing = missing_data(plan.dataset, data_path)
        if missing:
            wrong.append(missing)
        for entry in plan.entries:
            if only and entry.name not in only:
                continue
            try:
                runs = [
                    [run_of(plan, entry, options, seed, data_path) for seed in entry.seeds] for options in entry.trials
                ]
                if len({trial[0].id for trial in runs}) < len(runs):
                    raise PlanError("two of its trials are the same run, as their options mean the same.")
                runs = [_as_recorded(plan, entry, trial, records) for trial in runs]
            except (PlanError, ValueError, KeyError, TypeError, AttributeError) as error:  # what Config says of options
                if str(error) != missing:
                    wrong.append(f"{entry.name}: {error}")
                continue
            self.lines.append(Line(entry, [trial[0] for trial in runs], [trial[1:] for trial in runs]))
        if wrong:
            raise PlanError(f"the plan {plan.name} cannot be run:\n" + "\n".join(f"  - {one}" for one in wrong))

    def ids(self) -> list[str]:
        """Of all runs that the plan can lead to."""
        return [run.id for line in self.lines for run in [*line.trials, *(run for runs in line.others for run in runs)]]

    def to_do(self, records: Records) -> list[Run]:
        """Runs that can be started now, in the order of the plan."""
        return [run for line in self.lines for run in line.to_do(records)]

    def left(self, records: Records) -> int:
        """Runs that are still to come."""
        return sum(line.left(records) for line in self.lines)

    def failed(self, records: Records) -> list[Mapping[str, Any]]:
        """Runs that could not be done."""
        known = set(self.ids())
        return [record for record in records.values() if record["id"] in known and record["status"] == FAILED]

    def seconds_left(
        self, records: Records, jobs: int, progress: Callable[[Run], Mapping[str, Any] | None] = lambda run: None
    ) -> float | None:
        """Estimate from the runs of the same models that are done, and from how far those are that have been begun.

        Parameters
        ----------
        records : mapping of str to mapping
            Results by the ids of their runs.
        jobs : int
            Runs at a time.
        progress : callable
            What is known of a run that has been begun (:func:`~recbole_instructrec.leaderboard.execute.progress`).

        Returns
        -------
        float or None
            Seconds; None while there is a model without any run that is done.
        """
        done = [record for record in records.values() if record["status"] == DONE]
        rest: list[float] = []
        for line in self.lines:
            left = line.left(records)
            if not left:
                continue
            own = [record for record in done if record["model"] == line.entry.model]
            if not own:
                return None
            seconds, epochs = (statistics.median(record[what] for record in own) for what in ("seconds", "epochs"))
            begun = [told for run in line.to_do(records) if (told := progress(run)) and told["curve"]]
            rest += [_seconds_to_end(told, epochs) for told in begun] + [seconds] * (left - len(begun))
        return max(sum(rest) / jobs, *rest, 0.0)  # one run cannot be shared


def _seconds_to_end(told: Mapping[str, Any], epochs: float) -> float:
    """Of a run under way at its own pace, when it ends after so many epochs, or after its next where it is beyond."""
    trained = len(told["curve"])
    seconds: float = told["seconds"] / trained * max(epochs - trained, 1)
    return seconds


def missing_data(dataset: str, data_path: str | None) -> str:
    """What is to be said where a data set is not there; nothing where it is."""
    try:
        data_files(config_of("Pop", dataset, {}, 0, data_path))
    except PlanError as error:
        return str(error)
    return ""


def _as_recorded(plan: Plan, entry: Entry, trial: list[Run], records: Sequence[Mapping[str, Any]]) -> list[Run]:
    """Runs of a trial by the ids of their results, as far as there are any that have ended well."""
    known = {record["id"] for record in records}
    if all(run.id in known for run in trial):
        return trial
    alike = [record for record in records if record["status"] == DONE and record["data"] == trial[0].data]
    ids = recorded(entry, plan.dataset, trial[0].options, alike) if alike else {}
    return [run if run.id in known else replace(run, id=ids.get(run.seed, run.id)) for run in trial]


def options_of_trials(entry: Entry) -> list[dict[str, Any]]:
    """What tells the trials of a line apart: the options that differ among them."""
    names = {name for trial in entry.trials for name in trial}
    differ = [name for name in names if len({str(trial.get(name)) for trial in entry.trials}) > 1]
    return [{name: trial[name] for name in trial if name in differ} for trial in entry.trials]
