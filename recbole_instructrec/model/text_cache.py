"""Encoded texts on disk, so that a text is encoded once and never again.

One SQLite file an encoder, named after the encoder and the hash of its weights;
rows are (hash of the text, vector). SQLite's write-ahead log makes it safe for
several processes at once.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import sqlite3
from collections.abc import Callable, Sequence
from logging import getLogger
from pathlib import Path

import numpy as np

VectorFunction = Callable[[list[str]], np.ndarray]


def default_folder() -> Path:
    """``$RECBOLE_INSTRUCTREC_CACHE``, else ``~/.cache/recbole-instructrec`` (or under ``$XDG_CACHE_HOME``)."""
    own = os.environ.get("RECBOLE_INSTRUCTREC_CACHE")
    if own:
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "recbole-instructrec"


def slug(name: str) -> str:
    """A file name for an encoder."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-")[-80:]


class TextCache:
    """Vectors of texts under one encoder.

    Parameters
    ----------
    folder : Path
        Where cache files are kept; made when missing.
    encoder : str
        Name of the encoder.
    fingerprint : str
        Hash of its weights and settings: another one is another cache.

    Attributes
    ----------
    encoded : int
        Texts that were not in the cache and had to be encoded, since this object was made.
    """

    def __init__(self, folder: Path, encoder: str, fingerprint: str) -> None:
        self.file = folder / f"{slug(encoder)}-{fingerprint[:16]}.sqlite"
        self.encoded = 0

    @staticmethod
    def find(folder: Path, encoder: str) -> str | None:
        """Fingerprint of the newest cache of an encoder whose weights are not at hand."""
        pattern = re.compile(re.escape(slug(encoder)) + r"-([0-9a-f]{16})\.sqlite")
        files = [file for file in folder.glob("*.sqlite") if pattern.fullmatch(file.name)]
        return max(files, key=lambda file: file.stat().st_mtime).stem[-16:] if files else None

    def vectors(self, texts: Sequence[str], encode: VectorFunction, size: int) -> np.ndarray:
        """Vectors of texts, encoding only those that are not kept yet.

        Parameters
        ----------
        texts : sequence of str
            May repeat.
        encode : callable
            Takes a list of texts, returns ``[n, size]``.
        size : int
            Width of the vectors.

        Returns
        -------
        ndarray
            float32, ``[len(texts), size]``.
        """
        keys = [hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest() for text in texts]
        by_key = dict(zip(keys, texts, strict=True))
        try:
            known = self._read(list(by_key), size)
        except sqlite3.OperationalError as error:  # locked, read-only, disk: the file itself is sound
            getLogger().warning(f"the text cache {self.file} cannot be read now ({error}); texts are encoded again.")
            known = {}
        except sqlite3.DatabaseError as error:
            self._set_aside(error)
            known = {}
        missing = [key for key in by_key if key not in known]
        # In slices, so that work done before an interruption is kept.
        for begin in range(0, len(missing), 2048):
            part = missing[begin : begin + 2048]
            fresh = np.asarray(encode([by_key[key] for key in part]), dtype=np.float32)
            known.update(zip(part, fresh, strict=True))
            self.encoded += len(part)
            try:
                self._write(part, fresh)
            except (sqlite3.Error, OSError) as error:
                getLogger().warning(f"encoded texts are not kept in {self.file} ({error}); they will be encoded again.")
        return np.stack([known[key] for key in keys]) if keys else np.zeros((0, size), dtype=np.float32)

    def _connect(self) -> sqlite3.Connection:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self.file, timeout=60)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, vector BLOB NOT NULL) WITHOUT ROWID"
        )
        return connection

    def _read(self, keys: list[bytes], size: int) -> dict[bytes, np.ndarray]:
        if not self.file.is_file():
            return {}
        known = {}
        connection = self._connect()
        try:
            for begin in range(0, len(keys), 500):
                part = keys[begin : begin + 500]
                marks = ",".join("?" * len(part))
                for key, blob in connection.execute(f"SELECT key, vector FROM vectors WHERE key IN ({marks})", part):
                    vector = np.frombuffer(blob, dtype=np.float32)
                    if len(vector) == size:
                        known[key] = vector
        finally:
            connection.close()
        return known

    def _write(self, keys: list[bytes], vectors: np.ndarray) -> None:
        connection = self._connect()
        try:
            with connection:
                connection.executemany(
                    "INSERT OR REPLACE INTO vectors VALUES (?, ?)",
                    ((key, vector.tobytes()) for key, vector in zip(keys, vectors, strict=True)),
                )
        finally:
            connection.close()

    def _set_aside(self, error: Exception) -> None:
        """Move a damaged file away, unless another process has made a sound one in its place meanwhile."""
        try:
            self._read([b"probe"], 0)
            return
        except sqlite3.DatabaseError:
            pass
        aside = self.file.with_suffix(f".{os.getpid()}.damaged")
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(OSError):
                os.replace(f"{self.file}{suffix}", f"{aside}{suffix}")
        getLogger().warning(f"the text cache was damaged ({error}); it was moved to {aside} and is made anew.")
