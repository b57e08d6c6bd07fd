"""Executes one run: train, evaluate every row, gather the ranks."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from recbole_instructrec.environment import environment
from recbole_instructrec.leaderboard.allocator import keep_freed_memory
from recbole_instructrec.leaderboard.layers import use_fast_layers
from recbole_instructrec.leaderboard.ranks import asked, packed, ranks_of
from recbole_instructrec.leaderboard.resuming import Resumable, forget
from recbole_instructrec.leaderboard.runs import (
    Run,
    commit_of,
    config_of,
    effective,
    leaves_seen_out,
    model_class,
    work_folder,
)
from recbole_instructrec.leaderboard.sequences import leave_out_padding
from recbole_instructrec.leaderboard.store import DONE, FAILED, claimed

#: What is known of a run while it is under way: a file of this name in its folder.
PROGRESS = "progress.json"


class Paused(Exception):
    """A run stopped because its time was up; it goes on with the epoch that follows."""


class Conditions:
    """Where and for how long a run is executed.

    Parameters
    ----------
    work : path
        Folder in which each run keeps what it needs to go on.
    data_path : str or None
        Folder of data sets.
    device : str
        ``cpu`` or ``cuda``.
    threads : int
        Of torch.
    until : float
        Time (seconds since the epoch) after which no epoch is begun; infinite for none.
    """

    def __init__(
        self, work: Path, data_path: str | None = None, device: str = "cpu", threads: int = 1, until: float = np.inf
    ) -> None:
        self.work, self.data_path, self.device, self.threads, self.until = work, data_path, device, threads, until

    def plain(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {**vars(self), "work": str(self.work), "until": None if self.until == np.inf else self.until}

    @staticmethod
    def of(told: dict[str, Any]) -> Conditions:
        """Counterpart of :meth:`plain`."""
        until = np.inf if told["until"] is None else told["until"]
        return Conditions(**{**told, "work": Path(told["work"]), "until": until})


def execute(run: Run, conditions: Conditions) -> dict[str, Any]:
    """Train and measure, or go on with what was begun.

    Parameters
    ----------
    run : Run
        What.
    conditions : Conditions
        Where.

    Returns
    -------
    dict
        A line for the store; one with the status ``failed`` and the error for a run that cannot be done. When it is
        stored, :func:`clear` removes what was kept to go on.

    Raises
    ------
    Paused
        When time was up; what has been trained is kept.
    Taken
        When another process uses the run's folder.
    """
    with claimed(work_folder(conditions.work, run) / "lock"):
        return _execute(run, conditions)


def progress(folder: Path) -> dict[str, Any] | None:
    """What is known of a run under way.

    Parameters
    ----------
    folder : path
        Of the run.

    Returns
    -------
    dict or None
        ``of`` (epochs at most), ``seconds``, ``commits`` (of its code so far) and ``curve`` (an entry an epoch); None
        where there is no such file, or none that can be read.
    """
    try:
        told = json.loads((folder / PROGRESS).read_text(encoding="utf-8"))
        if [epoch["epoch"] for epoch in told["curve"]] != list(range(len(told["curve"]))):
            return None
        commits = [str(commit) for commit in told.get("commits", [])]  # not kept by what began before 2026-12-01
        return {"of": int(told["of"]), "seconds": float(told["seconds"]), "commits": commits, "curve": told["curve"]}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def clear(run: Run, conditions: Conditions) -> None:
    """Remove what was kept to go on with a run: its result is stored."""
    folder = work_folder(conditions.work, run)
    forget(folder)
    (folder / PROGRESS).unlink(missing_ok=True)


def _execute(run: Run, conditions: Conditions) -> dict[str, Any]:
    logging.disable(logging.WARNING)
    warnings.filterwarnings("ignore")
    torch.set_num_threads(conditions.threads)
    keep_freed_memory()
    record: dict[str, Any] = {**run.plain(), **environment()}
    if conditions.device == "cpu":
        record["accelerator"] = None  # there may be one that is not used
    execution = _Execution(run, conditions, record)
    try:
        record |= {"status": DONE, **execution.result()}
    except (Paused, KeyboardInterrupt):
        raise
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)[-4:]
        where = [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]
        record |= {"status": FAILED, "error": f"{type(error).__name__}: {error}", "where": where}
    record["seconds"] = round(execution.seconds, 1)
    return record


class _Measured(NamedTuple):
    """One evaluation row: RecBole's metrics, ranks, and ranks with all that was seen left out, ``[n]`` each."""

    metrics: dict[str, float]
    rank: np.ndarray
    unseen: np.ndarray | None


class _Execution:
    """State of one execution."""

    def __init__(self, run: Run, conditions: Conditions, record: Mapping[str, Any]) -> None:
        self.run, self.conditions = run, conditions
        self.folder = work_folder(conditions.work, run)
        self.curve: list[dict[str, Any]] = []
        self.commits = [commit_of(record)]
        self._begun, self._earlier = time.perf_counter(), 0.0

    @property
    def seconds(self) -> float:
        """Spent so far, in earlier executions too."""
        return self._earlier + time.perf_counter() - self._begun

    def result(self) -> dict[str, Any]:
        from recbole.data import create_dataset, data_preparation
        from recbole.data.dataset import Dataset
        from recbole.utils import get_trainer, init_seed

        run = self.run
        options = {**run.options, "checkpoint_dir": str(self.folder), "use_gpu": self.conditions.device != "cpu"}
        config = config_of(run.model, run.dataset, options, run.seed, self.conditions.data_path)
        init_seed(run.seed, config["reproducibility"])
        dataset = create_dataset(config)
        counts = {
            "users": dataset.user_num - 1, "items": dataset.item_num - 1, "interactions": dataset.inter_num,
        }  # fmt: skip
        # RecBole leaves seen items out of the lists of its general models itself; given splits tell no whole history.
        whole = not leaves_seen_out(run.model) and not config["benchmark_filename"]
        # (Of sequential data sets inter_matrix counts training rows, which are not there yet.)
        taken = Dataset.inter_matrix(dataset, "csr").astype(np.int16) if whole else None
        train, valid, test = data_preparation(config, dataset)
        init_seed(run.seed, config["reproducibility"])
        if ":" in run.model:
            config.model_class = None  # checkpoints hold settings, and no classes but RecBole's are loaded from them
        model = model_class(run.model)(config, train._dataset).to(config["device"])
        if type(model).__module__.startswith("recbole."):  # ours are fast, and of others nothing is known
            use_fast_layers(model)
            leave_out_padding(model)
        trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
        state = Resumable(trainer, train, self.folder)
        self._begin(state)
        self._watch(trainer, state)
        if state.ended:
            trainer.eval_collector.data_collect(train)  # as fit begins
        else:
            trainer.fit(train, valid, verbose=False, show_progress=False)
            state.keep_end(len(self.curve) - 1)
        best = {name: float(value) for name, value in trainer.best_valid_result.items()}
        measured, targets, seconds = self._measure(trainer, test, taken)
        found = {
            "config": effective(config),
            "valid": best,
            "valid_score": float(trainer.best_valid_score),
            "rows": {row: one.metrics for row, one in measured.items()},
            "ranks": {row: packed(one.rank) for row, one in measured.items()},
            "unseen": {row: packed(one.unseen) for row, one in measured.items() if one.unseen is not None},
            "asked": targets,
            "epochs": len(self.curve),
            "curve": self.curve,
            **({"commits": self.commits} if len(self.commits) > 1 else {}),
            "train_seconds": round(sum(epoch["train_seconds"] for epoch in self.curve), 2),
            "evaluation_seconds": round(seconds, 2),
            "memory_mib": _peak_memory(),
            "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
            "counts": {**counts, "tests": len(next(iter(measured.values())).rank)},
        }
        numbers = [*best.values(), *(value for metrics in found["rows"].values() for value in metrics.values())]
        if not np.isfinite(numbers).all():
            forget(self.folder)
            raise ValueError("a metric is not a finite number: the training has diverged")
        return found

    def _begin(self, state: Resumable) -> None:
        """Go on after the epochs of an earlier execution."""
        told = progress(self.folder) or {"curve": [], "seconds": 0.0}
        done = state.go_on(len(told["curve"]))
        if done:
            self.curve, self._earlier = told["curve"][:done], told["seconds"]
            self.commits = list(dict.fromkeys([*told["commits"], *self.commits]))

    def _watch(self, trainer: Any, state: Resumable) -> None:
        """Time every epoch, and keep what is needed to go on after it."""
        train_epoch, valid_epoch, fit = trainer._train_epoch, trainer._valid_epoch, trainer.fit
        spent: dict[str, Any] = {}

        def timed(work: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[Any, float, float]:
            wall, cpu = time.perf_counter(), time.process_time()
            result = work(*args, **kwargs)
            return result, time.perf_counter() - wall, time.process_time() - cpu

        def train(data: Any, epoch: int, *args: Any, **kwargs: Any) -> Any:
            if time.time() > self.conditions.until:
                raise Paused
            loss, wall, cpu = timed(train_epoch, data, epoch, *args, **kwargs)
            spent.update(epoch=epoch, train_seconds=round(wall, 3), train_cpu_seconds=round(cpu, 3))
            return loss

        def validate(*args: Any, **kwargs: Any) -> Any:
            found, wall, _ = timed(valid_epoch, *args, **kwargs)
            spent.update(valid_seconds=round(wall, 3), score=round(float(found[0]), 6))
            return found

        def after(epoch: int, score: float) -> None:
            self.curve.append(dict(spent))
            self._write_progress(trainer.epochs)
            state.keep(epoch)

        def fitted(*args: Any, **kwargs: Any) -> Any:
            return fit(*args, callback_fn=after, **kwargs)

        trainer._train_epoch, trainer._valid_epoch, trainer.fit = train, validate, fitted

    def _write_progress(self, epochs: int) -> None:
        file = self.folder / PROGRESS
        temporary = file.with_suffix(".new")
        told = {"of": epochs, "seconds": round(self.seconds, 1), "commits": self.commits, "curve": self.curve}
        with open(temporary, "w", encoding="utf-8") as stream:
            json.dump(told, stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, file)

    def _measure(self, trainer: Any, test: Any, taken: Any) -> tuple[dict[str, _Measured], str, float]:
        """Metrics and ranks of every row, who was asked for what, and the seconds of the first row."""
        dataset, targets, seconds = test._dataset, "", 0.0
        measured: dict[str, _Measured] = {}
        suffix = "+context" if getattr(getattr(dataset, "context", None), "fields", None) else ""
        for row in self.run.rows:
            if hasattr(dataset, "use_instructions"):
                dataset.use_instructions(row)
            begin = time.perf_counter()
            with ranks_of(trainer, taken) as gathered:
                metrics = trainer.evaluate(test, load_best_model=not measured, show_progress=False)
            seconds = seconds or time.perf_counter() - begin
            rank, user, target = gathered.ranks.sorted()
            targets = asked(
                dataset.id2token(dataset.uid_field, user).tolist(), dataset.id2token(dataset.iid_field, target).tolist()
            )
            unseen = gathered.unseen.sorted()[0] if taken is not None else None
            measured[row + suffix] = _Measured({name: float(value) for name, value in metrics.items()}, rank, unseen)
        return measured, targets, seconds


def _peak_memory() -> float | None:
    """MiB: of the accelerator where there is one, else of this process; None where the system does not tell."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return round(torch.cuda.max_memory_allocated() / 2**20, 1)
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)
