"""Results of runs: one JSON line each, appended, never changed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

#: What a line of a run that has ended must have.
_NEEDED = ("id", "entry", "model", "dataset", "seed", "status")

DONE, FAILED = "done", "failed"


class Taken(Exception):
    """Another process is at the run."""


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
            with FileLock(f"{file}.lock"), open(file, "ab+") as stream:
                begin = stream.seek(0, os.SEEK_END)
                if begin:
                    stream.seek(begin - 1)
                    if stream.read(1) != b"\n":  # a writer was killed in the middle of its line
                        line = b"\n" + line
                try:
                    stream.write(line)
                    stream.flush()
                    os.fsync(stream.fileno())
                except OSError:
                    stream.truncate(begin)
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
        file = self.file(dataset)
        found: dict[str, dict[str, Any]] = {}
        damaged = []
        if file.is_file():
            for number, line in enumerate(file.read_bytes().split(b"\n"), 1):
                if not line.strip():
                    continue
                try:
                    record = json.loads(line)
                    missing = [key for key in _NEEDED if key not in record]
                    if missing:
                        raise ValueError(f"{', '.join(missing)} missing")
                except (ValueError, TypeError) as error:
                    damaged.append(Damaged(file, number, str(error)))
                    continue
                earlier = found.pop(record["id"], None)
                # A run that failed once and then ended well has ended well.
                found[record["id"]] = earlier if earlier and earlier["status"] == DONE != record["status"] else record
        return list(found.values()), damaged

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
        folder = self.folder / "claims"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(folder / id, timeout=0):
                yield
        except Timeout:
            raise Taken from None

    def datasets(self) -> list[str]:
        """Data sets with results."""
        return sorted(file.stem for file in self.folder.glob("*.jsonl"))


def of_runs(records: Iterable[Mapping[str, Any]], ids: Iterable[str]) -> dict[str, Mapping[str, Any]]:
    """Records by the id of their run, of some runs."""
    wanted = set(ids)
    return {record["id"]: record for record in records if record["id"] in wanted}
