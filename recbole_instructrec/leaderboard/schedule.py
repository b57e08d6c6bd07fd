"""Runs a plan: starts what can be started, shows how far it is, stops when it is told to."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from recbole_instructrec.leaderboard.agenda import Agenda
from recbole_instructrec.leaderboard.execute import Conditions, Paused, clear, execute, progress
from recbole_instructrec.leaderboard.runs import Run, name_of, work_folder
from recbole_instructrec.leaderboard.store import DONE, Store, StoreError, Taken, of_runs
from recbole_instructrec.leaderboard.worker import ENDED, FAILED_RUN, NOT_STORED, PAUSED, TAKEN

_LOOK_EVERY, _SHOW_EVERY = 0.5, 30.0


class Started(Protocol):
    """A run under way."""

    def ended(self) -> bool:
        """Whether it has ended."""
        ...

    def stop(self) -> None:
        """End it now; what it has trained so far is kept."""
        ...

    def outcome(self) -> str:
        """``stored``, ``not stored`` (could not be written), ``paused``, ``taken`` (by another process) or ``lost``."""
        ...


class Executor(Protocol):
    """Where runs are executed."""

    def start(self, run: Run) -> Started:
        """Begin a run."""
        ...


class LocalExecutor:
    """A process for each run.

    Parameters
    ----------
    store : Store
        Where processes store their results.
    conditions : Conditions
        Of all runs.
    """

    def __init__(self, store: Store, conditions: Conditions) -> None:
        self._store, self._conditions = store, conditions

    def start(self, run: Run) -> _Process:
        """Begin a run in a process of its own; what it prints goes to ``log.txt`` in the run's folder."""
        folder = work_folder(self._conditions.work, run)
        folder.mkdir(parents=True, exist_ok=True)
        told = {"run": run.plain(), "conditions": self._conditions.plain(), "store": str(self._store.folder)}
        with open(folder / "log.txt", "ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "recbole_instructrec.leaderboard.worker"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # its log tells why it ended before it read
            process.stdin.write(json.dumps(told).encode())
            process.stdin.close()
        return _Process(process)


@dataclass
class _Process:
    process: subprocess.Popen[bytes]

    def ended(self) -> bool:
        return self.process.poll() is not None

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()

    def outcome(self) -> str:
        outcomes = {
            ENDED: "stored", FAILED_RUN: "stored", PAUSED: "paused", TAKEN: "taken", NOT_STORED: "not stored"
        }  # fmt: skip
        return outcomes.get(self.process.returncode, "lost")


class RayExecutor:
    """The same runs on a Ray cluster, RecBole's own engine; a Ray on this machine when there is none.

    Workers need the folders of data and of work under the same paths.

    Parameters
    ----------
    store : Store
        Where results are stored, by this process.
    conditions : Conditions
        Of all runs.
    """

    def __init__(self, store: Store, conditions: Conditions) -> None:
        try:
            import ray
        except ImportError:
            raise ValueError("--executor=ray needs Ray: pip install 'ray<=2.6.3', or use --executor=local.") from None
        if not ray.is_initialized():
            ray.init(log_to_driver=False, include_dashboard=False, ignore_reinit_error=True)
        self._ray, self._store, self._conditions = ray, store, conditions
        gpus = 0 if conditions.device == "cpu" else 1
        most = {kind: max((node["Resources"].get(kind, 0) for node in ray.nodes() if node["Alive"]), default=0)
                for kind in ("CPU", "GPU")}  # fmt: skip
        if most["CPU"] < conditions.threads or most["GPU"] < gpus:
            raise ValueError(
                f"a run needs {conditions.threads} CPUs (--threads) and {gpus} GPUs (--device); no machine of the Ray "
                f"cluster has more than {most['CPU']:.0f} and {most['GPU']:.0f}: nothing would ever begin."
            )
        self._execute = ray.remote(num_cpus=conditions.threads, num_gpus=gpus, max_retries=0)(_execute_in_ray)

    def start(self, run: Run) -> _Task:
        """Begin a run."""
        claim = ExitStack()
        try:
            claim.enter_context(self._store.claim(run.id))
        except Taken:
            return _Task(self._ray, self._store, self._conditions, run, claim, None, "taken")
        reference = self._execute.remote(run.plain(), self._conditions.plain())
        return _Task(self._ray, self._store, self._conditions, run, claim, reference)


def _execute_in_ray(run: dict[str, Any], conditions: dict[str, Any]) -> dict[str, Any] | str:
    """The record, or why there is none."""
    try:
        return execute(Run.of(run), Conditions.of(conditions))
    except Paused:
        return "paused"
    except Taken:
        return "taken"


@dataclass
class _Task:
    ray: Any
    store: Store
    conditions: Conditions
    run: Run
    claim: ExitStack
    reference: Any
    result: str | None = None

    def ended(self) -> bool:
        if self.result is None and self.ray.wait([self.reference], timeout=0)[0]:
            self.result = self._end()
            self.claim.close()
        return self.result is not None

    def _end(self) -> str:
        try:
            record = self.ray.get(self.reference)
            if isinstance(record, str):
                return record
            self.store.append(record)
        except self.ray.exceptions.RayError as error:
            print(f"Ray: {str(error).strip().splitlines()[-1]}", file=sys.stderr, flush=True)
            return "lost"
        except StoreError as error:
            print(error, file=sys.stderr)
            return "not stored"
        if record["status"] == DONE:
            clear(self.run, self.conditions)
        return "stored"

    def stop(self) -> None:
        if self.reference is not None:
            self.ray.cancel(self.reference, force=True)
        self.claim.close()

    def outcome(self) -> str:
        return self.result or "lost"


class Scheduler:
    """Runs the agenda of a plan to its end, or until time is up.

    Parameters
    ----------
    agenda : Agenda
        What.
    store : Store
        Where results stand.
    executor : Executor
        Where runs are executed.
    conditions : Conditions
        Their folder of work, and until when.
    jobs : int
        Runs at a time.
    """

    def __init__(self, agenda: Agenda, store: Store, executor: Executor, conditions: Conditions, jobs: int) -> None:
        self.agenda, self.store, self.executor = agenda, store, executor
        self.conditions, self.jobs = conditions, jobs
        self._under_way: dict[str, tuple[Run, Started, float]] = {}
        self._left_out: set[str] = set()
        self._shown = 0.0
        self._known: dict[str, Mapping[str, Any]] = {}
        self._known_at: tuple[int, int] | None = None

    def run(self, retry_failed: bool = False) -> int:
        """Work until nothing is left.

        Parameters
        ----------
        retry_failed : bool
            Whether runs that failed are tried again.

        Returns
        -------
        int
            0 when the plan is done, 1 when runs have failed, 2 when runs are left, 130 after Ctrl-C.
        """
        again = set()
        if retry_failed:
            again = {record["id"] for record in self.agenda.failed(self._records())}
        try:
            while True:
                self._collect(again)
                records = {id: record for id, record in self._records().items() if id not in again}
                self._fill(records)
                self._show(records)
                if not self._under_way:
                    break
                time.sleep(_LOOK_EVERY)
        except BaseException as error:
            for _, started, _ in self._under_way.values():
                started.stop()
            if not isinstance(error, KeyboardInterrupt):
                raise
            print("\nStopped. What has been trained is kept; the same command goes on with it.", flush=True)
            return 130
        records = self._records()
        self._show(records, now=True)
        failed = self.agenda.failed(records)
        for record in failed:
            print(f"failed: {name_of(record)}: {record['error']} ({'; '.join(record.get('where', []))})")
        if failed:
            print("What failed is not tried again by itself; --retry-failed does.")
        left = self.agenda.left(records)
        if left:
            print(f"{left} runs are left; the same command goes on with them.")
        return 2 if left else 1 if failed else 0

    def _records(self) -> dict[str, Mapping[str, Any]]:
        """Records of the plan's runs; the file is read again only when somebody has written to it."""
        file = self.store.file(self.agenda.plan.dataset)
        now = (file.stat().st_size, file.stat().st_mtime_ns) if file.is_file() else None
        if now != self._known_at:
            self._known = of_runs(self.store.read(self.agenda.plan.dataset)[0], self.agenda.ids())
            self._known_at = now
        return self._known

    def _collect(self, again: set[str]) -> None:
        for id, (run, started, begun) in list(self._under_way.items()):
            if not started.ended():
                continue
            del self._under_way[id]
            again.discard(id)
            outcome, seconds = started.outcome(), time.time() - begun
            if outcome == "stored":
                record = self._records()[id]
                if record["status"] == DONE:
                    score = f"valid {record['valid_score']:.4f}, {record['epochs']} epochs"
                    print(f"done    {name_of(record)}: {score}, {clock(seconds)}", flush=True)
                else:
                    print(f"failed  {name_of(record)}: {record['error']}", flush=True)
                continue
            self._left_out.add(id)
            said = {
                "paused": "paused ", "taken": "left to another process ", "not stored": "done, but not stored "
            }.get(outcome, "lost   ")  # fmt: skip
            log = work_folder(self.conditions.work, run) / "log.txt"
            more = {
                "lost": f"; the end of {log} may say why" if log.is_file() else "",
                "not stored": f"; the end of {log} says why; the same command stores it without training again",
            }.get(outcome, "")
            print(f"{said} {name_of(run.plain())} after {clock(seconds)}{more}", flush=True)

    def _fill(self, records: Mapping[str, Mapping[str, Any]]) -> None:
        if time.time() > self.conditions.until:
            return
        for run in self.agenda.to_do(records):
            if len(self._under_way) >= self.jobs:
                return
            if run.id not in self._under_way and run.id not in self._left_out:
                self._under_way[run.id] = (run, self.executor.start(run), time.time())
                print(f"begun   {name_of(run.plain())}", flush=True)

    def _progress(self, run: Run) -> dict[str, Any] | None:
        return progress(work_folder(self.conditions.work, run))

    def _show(self, records: Mapping[str, Mapping[str, Any]], now: bool = False) -> None:
        if not now and time.time() - self._shown < _SHOW_EVERY:
            return
        self._shown = time.time()
        done, left = sum(record["status"] == DONE for record in records.values()), self.agenda.left(records)
        seconds = self.agenda.seconds_left(records, self.jobs, self._progress) if left else 0.0
        print(f"-- {done} done, {left} left, about {'?' if seconds is None else clock(seconds)} to go", flush=True)
        for run, _, begun in self._under_way.values():
            text = f"   {name_of(run.plain())}: {clock(time.time() - begun)}"
            told = self._progress(run)
            if told and told["curve"]:
                best = max(epoch["score"] for epoch in told["curve"])
                text += f", epoch {len(told['curve'])} of at most {told['of']}, best valid {best:.4f}"
            print(text, flush=True)


def clock(seconds: float) -> str:
    """A duration in words."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def folder_of_work(store: Store) -> Path:
    """Default folder of runs under way: beside the results."""
    return store.folder.parent / "work"
