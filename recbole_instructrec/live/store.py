"""The feedback store: events that are never lost once acknowledged, in SQLite's write-ahead log."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from recbole_instructrec.live.errors import NotFound, StoreError
from recbole_instructrec.live.events import ASK, Event

#: Written into the file, so that a file of something else, or of a version to come, is recognised.
APPLICATION, FORMAT = 0x49524543, 1  # "IREC"

_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    time REAL NOT NULL,
    user TEXT NOT NULL,
    session TEXT NOT NULL,
    kind TEXT NOT NULL,
    item TEXT,
    value REAL,
    instruction TEXT NOT NULL,
    shown TEXT NOT NULL,
    version INTEGER NOT NULL
);
CREATE INDEX events_of_user ON events (user, id);
CREATE TABLE forgotten (mark TEXT PRIMARY KEY, times INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE versions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    parent INTEGER NOT NULL,
    time REAL NOT NULL,
    status TEXT NOT NULL,
    file TEXT NOT NULL,
    hash TEXT NOT NULL,
    about TEXT NOT NULL
);
"""

# Seconds to wait for another process.
_PATIENCE = 30.0

_COLUMNS = "id, time, user, session, kind, item, value, instruction, shown, version"


class FeedbackStore:
    """Append-only events, and which version of the model is in use; for several threads and processes.

    Parameters
    ----------
    file : path
        The SQLite file; made where it is not there, with its folder.
    belongs_to : str
        Fingerprint of the catalogue that events speak of; a store of another one is refused.

    Raises
    ------
    StoreError
        When the file is no feedback store, of another version or catalogue, or cannot be opened.
    """

    def __init__(self, file: str | os.PathLike[str], belongs_to: str = "") -> None:
        self.file = Path(file)
        self._lock = threading.RLock()
        with self._errors():
            self.file.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                self.file, timeout=_PATIENCE, isolation_level=None, check_same_thread=False
            )
        try:
            with self._errors():
                self._open(belongs_to)
        except BaseException:
            self._connection.close()
            raise

    def _open(self, belongs_to: str) -> None:
        run = self._connection.execute
        # In this order: who makes the tables writes the two numbers in the same transaction.
        empty = not run("SELECT count(*) FROM sqlite_master").fetchone()[0]
        application, version = (run(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
        if not empty and application != APPLICATION:
            raise StoreError(f"{self.file} is a database of something else. Give another file for the feedback.")
        if not empty and version != FORMAT:
            raise StoreError(
                f"{self.file} is a feedback store of format {version}; this version of recbole-instructrec reads "
                f"format {FORMAT}. Use the version that wrote it, or give another file. It was not changed."
            )
        self._write_ahead()
        run("PRAGMA synchronous=FULL")  # an acknowledged event survives a power cut, too
        run("PRAGMA secure_delete=ON")  # what is forgotten is overwritten
        with self._writing():
            if not run("SELECT count(*) FROM sqlite_master").fetchone()[0]:  # nobody was faster
                for statement in filter(str.strip, _TABLES.split(";")):
                    run(statement)
                run(f"PRAGMA application_id={APPLICATION}")
                run(f"PRAGMA user_version={FORMAT}")
                self._set("catalogue", belongs_to)
                self._set("key", secrets.token_hex(16))
                self._set("current", "0")
        self._key = bytes.fromhex(self._get("key"))
        if belongs_to and self._get("catalogue") not in ("", belongs_to):
            raise StoreError(
                f"{self.file} holds feedback on another catalogue than that of the checkpoint. Give another file, or "
                "the checkpoint it belongs to."
            )

    def _write_ahead(self) -> None:
        """Switch to the write-ahead log; SQLite does not wait where several processes make the store at once."""
        until = time.monotonic() + _PATIENCE
        while True:
            try:
                self._connection.execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > until:
                    raise
                time.sleep(0.01)

    # --- events ------------------------------------------------------------------------------

    def append(self, events: Sequence[Event]) -> list[int]:
        """Store events, all or none; they are on disk when this returns.

        Parameters
        ----------
        events : sequence of Event
            Those with time 0 happen now.

        Returns
        -------
        list of int
            Their numbers; 0 for what somebody had said before being forgotten, which is not stored.

        Raises
        ------
        StoreError
            When they cannot be written, as on a full disk; none of them is in the store then.
        """
        now, numbers = time.time(), []
        with self._lock, self._errors(), self._writing():
            for event in events:
                if event.forgotten is not None and event.forgotten != self.times_forgotten(event.user):
                    numbers.append(0)
                    continue
                cursor = self._connection.execute(
                    "INSERT INTO events (time, user, session, kind, item, value, instruction, shown, version) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        event.time or now,
                        event.user,
                        event.session,
                        event.kind,
                        event.item,
                        event.value,
                        event.instruction,
                        json.dumps(event.shown, ensure_ascii=False),
                        event.version,
                    ),
                )
                numbers.append(int(cursor.lastrowid or 0))
        return numbers

    def events(self, user: str | None = None, after: int = 0, reactions_only: bool = False) -> list[Event]:
        """Events in their order.

        Parameters
        ----------
        user : str, optional
            Of this user alone.
        after : int
            With numbers above this.
        reactions_only : bool
            Without those of kind ``ask``.
        """
        query, values = f"SELECT {_COLUMNS} FROM events WHERE id > ?", list[Any]([after])
        if user is not None:
            query, values = query + " AND user = ?", [*values, user]
        if reactions_only:
            query, values = query + " AND kind <> ?", [*values, ASK]
        with self._lock, self._errors():
            rows = self._connection.execute(query + " ORDER BY id", values).fetchall()
        return [_event(row) for row in rows]

    def count(self) -> int:
        """Number of events."""
        with self._lock, self._errors():
            return int(self._connection.execute("SELECT count(*) FROM events").fetchone()[0])

    # --- users -------------------------------------------------------------------------------

    def forget(self, user: str) -> tuple[list[Event], list[dict[str, Any]]]:
        """Erase all events of a user, and the record of versions that learned from them, all in one transaction.

        What is erased is overwritten, also in pages and log that SQLite no longer uses. Of the versions in use the
        nearest ancestor that is left takes over.

        Parameters
        ----------
        user : str
            Whom.

        Returns
        -------
        tuple
            The events and the records that were erased; the files of the latter are the caller's to remove.
        """
        with self._lock, self._errors():
            with self._writing():
                own = self.events(user)
                numbers = {event.id for event in own}
                versions = {one["id"]: one for one in self.versions()}
                dropped: dict[int, dict[str, Any]] = {}
                for number, one in versions.items():  # in their order: versions build on each other
                    if numbers & set(one["about"].get("events", ())) or one["parent"] in dropped:
                        dropped[number] = one
                in_use = self.current
                while in_use in dropped:
                    in_use = dropped[in_use]["parent"]
                self._set("current", str(in_use))
                run = self._connection.execute
                for number in dropped:
                    run("DELETE FROM versions WHERE id = ?", (number,))
                run("DELETE FROM events WHERE user = ?", (user,))
                run(
                    "INSERT INTO forgotten VALUES (?, 1) ON CONFLICT (mark) DO UPDATE SET times = times + 1",
                    (self.mark(user),),
                )
            if own or dropped:
                self._connection.execute("VACUUM")
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return own, list(dropped.values())

    def has_forgotten(self, users: Iterable[str]) -> set[str]:
        """Those of some users who have been forgotten."""
        with self._lock, self._errors():
            marks = {row[0] for row in self._connection.execute("SELECT mark FROM forgotten")}
        return {user for user in users if self.mark(user) in marks} if marks else set()

    def times_forgotten(self, user: str) -> int:
        """How often a user has been forgotten, by any process; what was read before the last time is not to be used."""
        with self._lock, self._errors():
            row = self._connection.execute("SELECT times FROM forgotten WHERE mark = ?", (self.mark(user),)).fetchone()
        return int(row[0]) if row else 0

    def mark(self, user: str) -> str:
        """What is kept of a forgotten user's name: a hash under a random key that tells nobody who that is."""
        return hmac.new(self._key, user.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()

    # --- versions ----------------------------------------------------------------------------

    def versions(self) -> list[dict[str, Any]]:
        """All versions of the model but the checkpoint itself, in their order."""
        with self._lock, self._errors():
            rows = self._connection.execute(
                "SELECT id, parent, time, status, file, hash, about FROM versions ORDER BY id"
            ).fetchall()
        names = ("id", "parent", "time", "status", "file", "hash", "about")
        found = [dict(zip(names, row, strict=True)) for row in rows]
        return [{**one, "about": json.loads(one["about"])} for one in found]

    def add_version(
        self, parent: int, status: str, file: str, digest: str, about: dict[str, Any], activate: bool
    ) -> int:
        """Record a version whose file is written already, and put it to use in the same breath.

        Parameters
        ----------
        parent : int
            The version it was made from.
        status : {"kept", "rolled back"}
            What the guard said.
        file, digest : str
            Name of the file, and its hash; empty where there is none.
        about : dict
            Figures and settings.
        activate : bool
            Whether it is in use from now on.

        Returns
        -------
        int
            Its number; 0 where its parent or some of the events it learned from (``about["events"]``) are there no
            more, because a user was forgotten meanwhile: nothing is recorded then.
        """
        events = about.get("events", [])
        with self._lock, self._errors(), self._writing():
            run = self._connection.execute
            left = run("SELECT count(*) FROM events WHERE id IN (SELECT value FROM json_each(?))", [json.dumps(events)])
            if left.fetchone()[0] < len(events):
                return 0
            if parent and not run("SELECT count(*) FROM versions WHERE id = ?", [parent]).fetchone()[0]:
                return 0
            number = self._connection.execute(
                "INSERT INTO versions (parent, time, status, file, hash, about) VALUES (?, ?, ?, ?, ?, ?)",
                (parent, time.time(), status, file, digest, json.dumps(about)),
            ).lastrowid
            if activate:
                self._set("current", str(number))
        return int(number or 0)

    @property
    def current(self) -> int:
        """Number of the version in use, 0 for the checkpoint itself."""
        return int(self._get("current"))

    def use(self, number: int) -> None:
        """Put a version to use, in every process that serves this store.

        Raises
        ------
        NotFound
            When it is not recorded, or not any more.
        """
        with self._lock, self._errors(), self._writing():
            query = "SELECT 1 FROM versions WHERE id = ? AND file <> ''"
            if number and self._connection.execute(query, (number,)).fetchone() is None:
                raise NotFound(f"version: there is no version {number} that was kept. See the list of versions.")
            self._set("current", str(number))

    # --- the file ----------------------------------------------------------------------------

    def close(self) -> None:
        """Close the file; everything is on disk already."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def held(self, what: str) -> Iterator[bool]:
        """Something that one process at a time does: yields whether it is this one."""
        import fcntl

        lock = self.file.with_name(f"{self.file.name}.{what}.lock")
        with open(lock, "w") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            try:
                yield True
            finally:
                fcntl.flock(stream, fcntl.LOCK_UN)

    def _get(self, key: str) -> str:
        with self._lock, self._errors():
            return str(self._connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()[0])

    def _set(self, key: str, value: str) -> None:
        self._connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """One transaction: all of it or nothing."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """SQLite's errors in words that say what to do."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise StoreError(f"the feedback store {self.file}: {_advice(error)}") from error
        except OSError as error:
            raise StoreError(
                f"the feedback store {self.file} cannot be opened ({error}). Give another file."
            ) from error


def _advice(error: sqlite3.DatabaseError) -> str:
    text = str(error)
    known: dict[str, str] = {
        "full": "the disk is full. Free some space; what was acknowledged is there, the last event is not.",
        "locked": "another process holds it for longer than 30 seconds. Try again.",
        "not a database": "this is no SQLite file. Give another file for the feedback. It was not changed.",
        "malformed": "the file is damaged. Restore a copy, or give another file.",
        "unable to open": "it cannot be opened or made. Give a file in a folder that can be written.",
        "readonly": "it cannot be written. Give a file in a folder that can be written.",
    }
    return next((advice for words, advice in known.items() if words in text), f"{text}.")


def _event(row: tuple[Any, ...]) -> Event:
    number, when, user, session, kind, item, value, instruction, shown, version = row
    event = Event(user, session, kind, item, value, instruction, tuple(json.loads(shown)), version)
    return replace(event, time=when, id=number)
