"""Versions of the weights that online tuning has made: kept whole, inspected, compared, undone."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from recbole_instructrec.checkpoint import CheckpointError, save_atomically
from recbole_instructrec.live.errors import NotFound, StoreError
from recbole_instructrec.live.store import FeedbackStore

KEPT, ROLLED_BACK = "kept", "rolled back"


class Versions:
    """Which weights are in use; version 0 is the checkpoint itself.

    Parameters
    ----------
    model : InstructRec
        Whose weights change; in evaluation mode.
    store : FeedbackStore
        Records the versions; their files lie beside it.
    parts : sequence of str
        Names of the parameters that versions may differ in.

    Notes
    -----
    A file is written whole before it is recorded, and recorded in the transaction that puts it to use, so that a
    process that is killed leaves the former version or the new one.
    """

    def __init__(self, model: Any, store: FeedbackStore, parts: Sequence[str]) -> None:
        self._model, self._store = model, store
        self._folder = _folder_of(store)
        own = dict(model.named_parameters())
        self._base = {name: own[name].detach().clone() for name in parts}
        self._checkpoint = _digest(self._base)
        self._lock = threading.Lock()
        self.loaded = 0

    def every(self) -> list[dict[str, Any]]:
        """All versions, that of the checkpoint first, with the figures the guard saw."""
        current = self._store.current
        base: dict[str, Any] = {"id": 0, "parent": None, "time": None, "status": KEPT, "about": {}}
        found = [base, *self._store.versions()]
        names = ("id", "parent", "time", "status", "about")
        return [{**{name: one[name] for name in names}, "current": one["id"] == current} for one in found]

    def sync(self) -> int:
        """Load the version in use, where another process or an undo has changed it.

        Returns
        -------
        int
            Its number.
        """
        current = self._store.current
        if current != self.loaded:
            with self._lock:
                self._load(current)
        return current

    def use(self, number: int) -> None:
        """Put a version to use.

        Raises
        ------
        NotFound, StoreError
            When there is none of that number, or it was rolled back; when its file is not what was written.
        """
        self.weights(number)  # whole, and of this checkpoint
        self._store.use(number)
        self.sync()

    def weights(self, number: int) -> dict[str, torch.Tensor]:
        """The parameters that versions differ in, of one version.

        Raises
        ------
        NotFound, StoreError
            When there is no such version; when its file is not what was written, or it grew from another checkpoint.
        """
        if not number:
            return self._base
        record = self._record(number)
        if record["about"].get("checkpoint", self._checkpoint) != self._checkpoint:
            raise StoreError(
                f"version {number} was learned on another checkpoint than this one. Use version 0 (undo) and learn "
                "again, or open the checkpoint it was learned on."
            )
        file = self._folder / record["file"]
        if not is_whole(self._store, record):
            raise StoreError(f"version {number}: {file} is missing or damaged. Use another version (undo).")
        weights: dict[str, torch.Tensor] = torch.load(file, map_location=self._model.device, weights_only=True)
        return weights

    def compare(self, one: int, other: int) -> dict[str, float]:
        """How far each part moved between two versions: length of the difference over that of the first."""
        left, right = self.weights(one), self.weights(other)
        return {name: float((right[name] - left[name]).norm() / left[name].norm().clamp(min=1e-12)) for name in left}

    def add(self, parent: int, weights: Mapping[str, torch.Tensor], about: dict[str, Any], keep: bool) -> int:
        """Record a version; one that the guard keeps is written and used from now on.

        Returns
        -------
        int
            Its number; 0 where a user it learned from was forgotten meanwhile, and nothing is left of it.
        """
        about = {**about, "checkpoint": self._checkpoint}
        if not keep:
            return self._store.add_version(parent, ROLLED_BACK, "", "", about, False)
        file = self._folder / f"{_digest(weights)[:16]}.pt"
        try:
            save_atomically({name: value.detach().cpu() for name, value in weights.items()}, file)
        except CheckpointError as error:
            raise StoreError(f"version: {error}") from error
        number = self._store.add_version(parent, KEPT, file.name, _hash(file), about, True)
        if number:
            self.sync()
        else:
            self.remove({file.name})
        return number

    def remove(self, names: set[str]) -> None:
        """Remove those of some files that no version has."""
        for name in names - {one["file"] for one in self._store.versions()}:
            if name:
                (self._folder / name).unlink(missing_ok=True)

    def files(self) -> list[Path]:
        """Files that hold versions."""
        return sorted(self._folder.glob("*")) if self._folder.is_dir() else []

    def _record(self, number: int) -> dict[str, Any]:
        if not number:
            return {"id": 0, "file": "", "hash": "", "about": {}}
        for one in self._store.versions():
            if one["id"] == number and one["status"] == KEPT:
                return one
        raise NotFound(f"version: there is no version {number} that was kept. See the list of versions.")

    def _load(self, number: int) -> None:
        weights = self.weights(number)
        put(self._model, weights)
        self.loaded = number


@torch.no_grad()
def put(model: Any, weights: Mapping[str, torch.Tensor]) -> None:
    """Copy weights, by the names of their parameters, into a model."""
    own = dict(model.named_parameters())
    for name, value in weights.items():
        own[name].copy_(value)


def _digest(weights: Mapping[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(weights[name].detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def is_whole(store: FeedbackStore, record: Mapping[str, Any]) -> bool:
    """Whether the file of a recorded version is what was written."""
    file = _folder_of(store) / record["file"]
    return file.is_file() and _hash(file) == record["hash"]


def _folder_of(store: FeedbackStore) -> Path:
    return Path(f"{store.file}.versions")


def _hash(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
