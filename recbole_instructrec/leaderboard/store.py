"""Results of runs: one JSON line each, appended, never changed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

DONE, FAILED = "done", "failed"

#: What a line must have, and of which kind; more of a run that has ended well.
_NEEDED: dict[str, type | tuple[type, ...]] = {
    "id": str, "entry": str, "model": str, "dataset": str, "seed": int, "status": str,
}  # fmt: skip
_NEEDED_DONE: dict[str, type | tuple[type, ...]] = {
    "options": dict, "config": dict, "config_hash": str, "data": dict, "valid": dict, "valid_score": (int, float),
    "rows": dict, "ranks": dict, "asked": str, "counts": dict, "curve": list, "epochs": int, "parameters": int,
    "seconds": (int, float), "versions": dict, "processor": str, "accelerator": (str, type(None)), "threads": int,
    "python": str, "commit": (str, type(None)), "dirty": (bool, type(None)), "date": str,
}  # fmt: skip
_NEEDED_FAILED: dict[str, type | tuple[type, ...]] = {"options": dict, "data": dict, "rows": list, "error": str}


#: What parts of a run that has ended well must hold.
_COUNTS = {"users", "items", "interactions", "tests"}
_OF_EPOCH = {"score", "train_seconds", "train_cpu_seconds"}
_VERSIONS = {"recbole", "torch", "numpy", "pandas", "scipy"}


class Taken(Exception):
    """Another process is at the run."""


@contextmanager
def claimed(file: Path) -> Iterator[None]:
    """Hold a lock file that nobody else holds; :class:`Taken` where somebody does."""
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise Taken from None
    try:
        yield
    finally:
        lock.release()


class StoreError(ValueError):
    """Results cannot be written; the message says why and what to do."""


class Damaged(NamedTuple):
    """A line that cannot be read.

    Attributes
    ----------
    file : Path
        File.
    line : int
        Number, from 1.
    why : str
        What is wrong.
    """

    file: Path
    line: int
    why: str

    def __str__(self) -> str:
        return f"{self.file}, line {self.line} is damaged ({self.why})"


class Store:
    """Results in ``<folder>/<data set>.jsonl``.

    Lines are appended under a lock, so that any number of processes may write; a line that is damaged stays where it
    is, is reported with its number and counts for nothing.

    Parameters
    ----------
    folder : path
        Is made when something is written.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)

    def file(self, dataset: str) -> Path:
        """Of a data set."""
        return self.folder / f"{dataset}.jsonl"

    def append(self, record: Mapping[str, Any]) -> None:
        """Add a line.

        Parameters
        ----------
        record : mapping
            Plain values, with the keys of a run.

        Raises
        ------
        StoreError
            When it cannot be written; nothing that stood there is harmed.
        """
        file = self.file(record["dataset"])
        line = json.dumps(record, allow_nan=False).encode() + b"\n"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            # Unbuffered: what a full disk took of a line is cut off, and nothing is left to be written later.
            with FileLock(f"{file}.lock"), open(file, "ab+", buffering=0) as stream:
                begin = stream.seek(0, os.SEEK_END)
                if begin:
                    stream.seek(begin - 1)
                    if stream.read(1) != b"\n":  # a writer was killed in the middle of its line
                        line = b"\n" + line
                try:
                    rest = memoryview(line)
                    while rest:
                        rest = rest[stream.write(rest) :]
                    os.fsync(stream.fileno())
                except OSError:
                    os.ftruncate(stream.fileno(), begin)
                    raise
        except OSError as error:
            raise StoreError(
                f"the result could not be written to {file} ({error}). Free some space or give another folder with "
                "--store; what was written before is unharmed, and only this run must be run again."
            ) from error

    def read(self, dataset: str) -> tuple[list[dict[str, Any]], list[Damaged]]:
        """All lines of a data set.

        Parameters
        ----------
        dataset : str
            Name.

        Returns
        -------
        tuple
            Records in the order they were written, the newest of each run only; and damaged lines.
        """
        found: dict[str, dict[str, Any]] = {}
        damaged = []
        for record in self._lines(dataset):
            if isinstance(record, Damaged):
                damaged.append(record)
                continue
            earlier = found.pop(record["id"], None)
            # A run that failed once and then ended well has ended well.
            found[record["id"]] = earlier if earlier and earlier["status"] == DONE != record["status"] else record
        return list(found.values()), damaged

    def contradictions(self, dataset: str) -> list[str]:
        """Ids of runs that have ended well more than once, with different ranks."""
        ranks: dict[str, list[Any]] = {}
        for record in self._lines(dataset):
            if not isinstance(record, Damaged) and record["status"] == DONE:
                ranks.setdefault(record["id"], []).append(record["ranks"])
        return [id for id, found in ranks.items() if any(one != found[0] for one in found)]

    def _lines(self, dataset: str) -> Iterator[dict[str, Any] | Damaged]:
        file = self.file(dataset)
        content = file.read_bytes() if file.is_file() else b""
        for number, line in enumerate(content.split(b"\n"), 1):
            if not line.strip():
                continue
            try:
                yield _checked(json.loads(line))
            except (ValueError, RecursionError) as error:
                yield Damaged(file, number, str(error))

    @contextmanager
    def claim(self, id: str) -> Iterator[None]:
        """Keep a run for this process, so that no other one that writes to this store begins it.

        Parameters
        ----------
        id : str
            Of the run.

        Raises
        ------
        Taken
            When another process has it.
        """
        with claimed(self.folder / "claims" / id):
            yield

    def datasets(self) -> list[str]:
        """Data sets with results."""
        return sorted(file.stem for file in self.folder.glob("*.jsonl"))


def _checked(record: Any) -> dict[str, Any]:
    """A line with everything that is read from it.

    Raises
    ------
    ValueError
        Saying what is missing or of another kind.
    """
    if not isinstance(record, dict):
        raise ValueError("no JSON object")
    needed = {**_NEEDED, **{DONE: _NEEDED_DONE, FAILED: _NEEDED_FAILED}.get(str(record.get("status")), {})}
    missing = [key for key in needed if key not in record]
    if missing:
        raise ValueError(f"{', '.join(missing)} missing")
    odd = [key for key, kind in needed.items() if not isinstance(record[key], kind)]
    if odd:
        raise ValueError(f"{', '.join(odd)} of another kind than it should be")
    if record["status"] not in (DONE, FAILED):
        raise ValueError(f"status {record['status']!r} is neither {DONE} nor {FAILED}")
    if record["status"] == DONE:
        _check_figures(record)
    return record


def _check_figures(record: Mapping[str, Any]) -> None:
    """Refuse a run that has ended well, but without figures that are read from it."""
    if not record["rows"] or not all(map(_has_figures, [record["valid"], *record["rows"].values()])):
        raise ValueError("rows without figures")
    if len({frozenset(metrics) for metrics in record["rows"].values()}) > 1:
        raise ValueError("rows with different metrics")
    curve = record["curve"]
    if not curve or not all(isinstance(epoch, dict) and _has_figures(epoch) for epoch in curve):
        raise ValueError("curve without figures")
    parts = [("counts", record["counts"], _COUNTS), ("versions", record["versions"], _VERSIONS)]
    parts += [("curve", epoch, _OF_EPOCH) for epoch in curve]
    for name, part, needed in parts:
        if needed - part.keys():
            raise ValueError(f"{name} without {', '.join(sorted(needed - part.keys()))}")


def _has_figures(metrics: Any) -> bool:
    return isinstance(metrics, dict) and bool(metrics) and all(type(v) in (int, float) for v in metrics.values())


def of_runs(records: Iterable[Mapping[str, Any]], ids: Iterable[str]) -> dict[str, Mapping[str, Any]]:
    """Records by the id of their run, of some runs."""
    wanted = set(ids)
    return {record["id"]: record for record in records if record["id"] in wanted}
