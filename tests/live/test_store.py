"""The feedback store: what is acknowledged stays, what is forgotten is gone, what is no store is left alone."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_instructrec.live import NotFound, StoreError
from recbole_instructrec.live.events import ASK, CLICK, LIKE, Event
from recbole_instructrec.live.store import FORMAT, FeedbackStore

# A copy of this process: what it would import anew takes longer than all tests of this file.
fork = multiprocessing.get_context("fork")

HOSTILE = [
    "'; DROP TABLE events; --",
    "a\"b'c`d\\e",
    "<script>alert(1)</script><!-- &amp; -->",
    "👩‍🚒 片子 שלום \u0301 \u202e",
    "NULL",
    "%s {0} ${x} \\N",
    " spaces at the ends ",
    "line\nand\ttab",
]


def event(number: int = 0, user: str = "u", **others: Any) -> Event:
    return Event(user, "s", CLICK, f"i{number}", **others)


@pytest.fixture
def store(tmp_path: Path):
    made = FeedbackStore(tmp_path / "feedback.sqlite", "films")
    yield made
    made.close()


def bytes_beside(file: Path) -> bytes:
    """All that lies in the folder of a store."""
    return b"".join(other.read_bytes() for other in sorted(file.parent.rglob("*")) if other.is_file())


# --- events ---------------------------------------------------------------------------------------


def test_events_come_back_in_their_order_with_numbers_and_times(store: FeedbackStore):
    before = time.time()
    said = Event("u1", "s1", ASK, None, None, "a comedy", ("i3", "i1"), 2)
    rated = Event("u2", "s2", "rating", "i3", 4.5, "a comedy", ("i3", "i1"), 2, 880_000_000.5)
    first, second = store.append([said, rated])
    assert second > first > 0
    found = store.events()
    assert [(one.id, one.user, one.kind, one.item, one.value) for one in found] == [
        (first, "u1", ASK, None, None),
        (second, "u2", "rating", "i3", 4.5),
    ]
    assert found[0].shown == ("i3", "i1") and found[0].version == 2 and found[0].instruction == "a comedy"
    assert before <= found[0].time <= time.time() and found[1].time == 880_000_000.5
    assert store.count() == 2


def test_events_of_a_user_after_a_number_and_reactions_alone(store: FeedbackStore):
    numbers = store.append([event(1), Event("u", "s", ASK), event(2), event(3, user="v")])
    assert [one.item for one in store.events("u", reactions_only=True)] == ["i1", "i2"]
    assert [one.id for one in store.events("u", after=numbers[0])] == numbers[1:3]
    assert [one.item for one in store.events(after=numbers[2])] == ["i3"]
    assert store.events("nobody") == []


@pytest.mark.parametrize("text", HOSTILE)
def test_any_text_comes_back_as_it_was(store: FeedbackStore, text: str):
    kept = Event(text, text, text, text, None, text, (text, "i1"))
    store.append([kept, event()])
    found = store.events(text)
    assert len(found) == 1 and store.count() == 2
    one = found[0]
    assert (one.user, one.session, one.kind, one.item, one.instruction, one.shown) == (*[text] * 5, (text, "i1"))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(*[st.text(st.characters(exclude_categories=["Cs"]), min_size=1)] * 2), max_size=4))
def test_texts_of_any_characters_come_back(tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]]):
    store = FeedbackStore(tmp_path_factory.mktemp("any") / "f.sqlite")
    store.append([Event(user, "s", LIKE, "i", None, said) for user, said in pairs])
    assert [(one.user, one.instruction) for one in store.events()] == pairs
    store.close()


@pytest.mark.parametrize("bad", [Event("u", "s", LIKE, "i", None, "\ud800"), Event("u", "s", LIKE, object())])  # type: ignore[arg-type]
def test_a_batch_is_stored_as_a_whole_or_not_at_all(store: FeedbackStore, bad: Event):
    store.append([event(1)])
    with pytest.raises((StoreError, UnicodeEncodeError)):
        store.append([event(2), event(3), bad, event(4)])
    assert [one.item for one in store.events()] == ["i1"]
    store.append([event(5)])
    assert [one.item for one in store.events()] == ["i1", "i5"]


def test_nothing_to_store_is_no_event(store: FeedbackStore):
    assert store.append([]) == [] and store.count() == 0


def test_threads_share_one_store(store: FeedbackStore):
    def write(name: str) -> None:
        for number in range(30):
            store.append([event(number, user=name)])

    threads = [threading.Thread(target=write, args=(f"u{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for n in range(4):
        assert [one.item for one in store.events(f"u{n}")] == [f"i{number}" for number in range(30)]


# --- several processes, and processes that are killed ------------------------------------------------


def started(work: Callable[..., None], *arguments: Any) -> Any:
    process = fork.Process(target=work, args=arguments, daemon=True)
    process.start()
    return process


def write_until_killed(file: Path, acknowledged: int, batch: int) -> None:
    store, number = FeedbackStore(file), 0
    while True:
        store.append([event(number + place) for place in range(batch)])
        number += batch
        os.write(acknowledged, f"{number}\n".encode())


@pytest.mark.parametrize("batch", [1, 20])
def test_what_was_acknowledged_before_a_kill_is_there_and_a_batch_is_whole(tmp_path: Path, batch: int):
    acknowledged_in_all = 0
    for attempt, seconds in enumerate([0.05, 0.08, 0.13]):
        file = tmp_path / f"{attempt}.sqlite"
        reader, writer = os.pipe()
        process = started(write_until_killed, file, writer, batch)
        os.close(writer)
        with os.fdopen(reader) as stream:
            acknowledged = int(stream.readline())  # it is in the middle of its work
            time.sleep(seconds)
            os.kill(process.pid, signal.SIGKILL)
            acknowledged = max([acknowledged, *map(int, stream)])
        process.join()
        assert process.exitcode == -signal.SIGKILL
        store = FeedbackStore(file)
        found = [one.item for one in store.events()]
        assert found == [f"i{number}" for number in range(len(found))]
        assert acknowledged <= len(found) <= acknowledged + batch and len(found) % batch == 0
        store.append([event(-1)])
        assert store.count() == len(found) + 1
        store.close()
        acknowledged_in_all += acknowledged
    assert acknowledged_in_all > 6 * batch  # it was a stream


def write_some(file: Path, name: str, start: Any) -> None:
    start.wait()
    store = FeedbackStore(file, "films")
    for number in range(60):
        store.append([event(number, user=name), Event(name, "s", ASK)])
    store.close()


def test_processes_that_make_a_store_and_write_at_once_lose_nothing(tmp_path: Path):
    file, start = tmp_path / "feedback.sqlite", fork.Event()
    processes = [started(write_some, file, f"u{n}", start) for n in range(3)]
    start.set()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    store = FeedbackStore(file, "films")
    assert store.count() == 360
    for n in range(3):
        found = store.events(f"u{n}", reactions_only=True)
        assert [one.item for one in found] == [f"i{number}" for number in range(60)]
        assert sorted(one.id for one in found) == [one.id for one in found]
    store.close()


def open_once(file: Path, start: Any) -> None:
    start.wait()
    FeedbackStore(file, "films").close()


def test_a_store_is_made_once_however_many_open_it_first(tmp_path: Path):
    for attempt in range(5):
        start = fork.Event()
        processes = [started(open_once, tmp_path / f"{attempt}.sqlite", start) for _ in range(4)]
        start.set()
        for process in processes:
            process.join()
        assert [process.exitcode for process in processes] == [0] * 4


def test_the_numbers_of_a_store_are_read_after_its_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Another process makes the store between any two steps of opening it."""
    real, steps = sqlite3.connect, 0

    class Slow(sqlite3.Connection):
        def execute(self, *arguments: Any) -> Any:
            nonlocal steps
            steps += 1
            if steps == made_before:
                other = real(file, timeout=30.0, isolation_level=None)
                monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: other)
                FeedbackStore(file, "films")
                monkeypatch.setattr(sqlite3, "connect", slow)
            return super().execute(*arguments)

    def slow(*arguments: Any, **options: Any) -> Any:
        return real(*arguments, **options, factory=Slow)

    for made_before in range(1, 7):  # once the transaction has begun, others wait
        file, steps = tmp_path / f"{made_before}.sqlite", 0
        monkeypatch.setattr(sqlite3, "connect", slow)
        store = FeedbackStore(file, "films")
        assert steps > 8 and store.append([event()]) == [1]
        store.close()
        monkeypatch.setattr(sqlite3, "connect", real)


def test_reading_goes_on_while_another_writes(store: FeedbackStore):
    store.append([event(1)])
    other = sqlite3.connect(store.file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    other.execute("DELETE FROM events")
    begin = time.perf_counter()
    assert [one.item for one in store.events()] == ["i1"]
    assert time.perf_counter() - begin < 1.0
    other.execute("ROLLBACK")
    other.close()


def test_waiting_for_another_process_ends_in_words(store: FeedbackStore):
    store._connection.execute("PRAGMA busy_timeout=20")
    other = sqlite3.connect(store.file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match=r"another process holds it .* Try again"):
        store.append([event(1)])
    other.execute("ROLLBACK")
    assert store.append([event(1)]) == [1]
    other.close()


def hold(file: Path, held: Any, done: Any) -> None:
    with FeedbackStore(file).held("learning") as ours:
        held.put(ours)
        done.wait()


def test_one_process_and_one_thread_at_a_time(store: FeedbackStore):
    held, done = fork.Queue(), fork.Event()
    process = started(hold, store.file, held, done)
    assert held.get(timeout=30) is True
    with store.held("learning") as ours:
        assert ours is False
    with store.held("something else") as ours:
        assert ours is True
    done.set()
    process.join()
    with store.held("learning") as ours, store.held("learning") as again:
        assert (ours, again) == (True, False)


def test_what_is_held_is_free_after_an_error_and_after_a_kill(store: FeedbackStore):
    with pytest.raises(ZeroDivisionError), store.held("learning"):
        raise ZeroDivisionError
    held, done = fork.Queue(), fork.Event()
    process = started(hold, store.file, held, done)
    assert held.get(timeout=30) is True
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    with store.held("learning") as ours:
        assert ours is True


# --- files that are no store -------------------------------------------------------------------------


def sqlite_file(file: Path, statements: str) -> None:
    connection = sqlite3.connect(file)
    connection.executescript(statements)
    connection.close()


def of_something_else(file: Path) -> None:
    sqlite_file(file, "CREATE TABLE mails (text TEXT); INSERT INTO mails VALUES ('dear all');")


def of_something_else_with_our_tables(file: Path) -> None:
    sqlite_file(file, "CREATE TABLE events (id INTEGER); PRAGMA user_version=1;")


def of_another_format(file: Path) -> None:
    FeedbackStore(file, "films").close()
    sqlite_file(file, f"PRAGMA user_version={FORMAT + 1};")


def of_another_catalogue(file: Path) -> None:
    store = FeedbackStore(file, "books")
    store.append([event()])
    store.close()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda file: file.write_text("user,item\n" * 500), r"no SQLite file\. Give another file .* not changed"),
        (lambda file: file.write_bytes(b"\x00\x00"), r"no SQLite file"),
        (lambda file: file.write_bytes(b"SQLite format 3\x00" + b"\x00" * 50), r"no SQLite file"),
        (of_something_else, r"database of something else\. Give another file"),
        (of_something_else_with_our_tables, r"database of something else"),
        (of_another_format, r"format 2; this version of recbole-instructrec reads format 1\..*not changed"),
        (of_another_catalogue, r"another catalogue than that of the checkpoint"),
    ],
)
def test_what_is_no_store_of_ours_is_refused_and_left_as_it_is(tmp_path: Path, make: Callable, words: str):
    file = tmp_path / "given.sqlite"
    make(file)
    content = file.read_bytes()
    with pytest.raises(StoreError, match=words) as caught:
        FeedbackStore(file, "films")
    assert "given.sqlite" in str(caught.value)
    assert file.read_bytes() == content
    assert [other.name for other in tmp_path.iterdir()] == ["given.sqlite"]


def test_an_empty_file_becomes_a_store_and_folders_are_made(tmp_path: Path):
    (tmp_path / "empty").touch()
    assert FeedbackStore(tmp_path / "empty").count() == 0
    assert FeedbackStore(tmp_path / "a" / "b" / "new.sqlite").count() == 0


def test_a_place_that_cannot_be_a_file_is_refused_in_words(tmp_path: Path):
    with pytest.raises(StoreError, match=r"cannot be opened .* Give a file in a folder that can be written"):
        FeedbackStore(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match=r"cannot be opened .*Give another file"):
        FeedbackStore(tmp_path / "file" / "below.sqlite")


def test_a_store_without_a_catalogue_fits_any_and_one_that_has_it_is_opened_again(tmp_path: Path):
    FeedbackStore(tmp_path / "any").close()
    FeedbackStore(tmp_path / "any", "films").close()
    FeedbackStore(tmp_path / "films", "films").close()
    FeedbackStore(tmp_path / "films").close()
    FeedbackStore(tmp_path / "films", "films").close()


def test_a_damaged_store_says_so(tmp_path: Path):
    file = tmp_path / "f.sqlite"
    store = FeedbackStore(file)
    store.append([event(number, instruction="x" * 500) for number in range(100)])
    store.close()
    content = bytearray(file.read_bytes())
    content[4096:] = os.urandom(len(content) - 4096)
    file.write_bytes(content)
    with pytest.raises(StoreError, match=r"damaged\. Restore a copy, or give another file"):
        FeedbackStore(file).events()


def test_a_closed_store_is_no_crash(store: FeedbackStore):
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.append([event()])


# --- a full disk -----------------------------------------------------------------------------------


def test_a_full_disk_loses_nothing_and_is_said_in_words(store: FeedbackStore):
    store.append([event(1)])
    pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(StoreError, match=r"disk is full\. Free some space; what was acknowledged is there") as caught:
        store.append([event(2), event(3, instruction="x" * 100_000)])
    assert caught.value.status == 507
    assert [one.item for one in store.events()] == ["i1"]
    store._connection.execute("PRAGMA max_page_count=100000")
    store.append([event(4)])
    store.close()
    again = FeedbackStore(store.file, "films")
    assert [one.item for one in again.events()] == ["i1", "i4"]
    again.close()


def test_a_version_on_a_full_disk_is_not_recorded_and_not_in_use(store: FeedbackStore):
    pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(StoreError, match="disk is full"):
        store.add_version(0, "kept", "a.pt", "hash", {"note": "x" * 100_000}, True)
    assert store.versions() == [] and store.current == 0


# --- forgetting ------------------------------------------------------------------------------------


def test_forgetting_leaves_no_trace_and_other_users_stay(store: FeedbackStore):
    gone = [
        Event("Somebody-Secret", "Session-Secret", LIKE, f"i{n}", None, f"Instruction-Secret {n} " + "x" * 5000)
        for n in range(40)
    ]
    kept = [event(n, user="Another-User", instruction=f"Another-Instruction {n} " + "y" * 300) for n in range(40)]
    store.append([one for pair in zip(gone, kept, strict=True) for one in pair])
    other = FeedbackStore(store.file, "films")  # as another process that serves it
    assert other.count() == 80
    assert bytes_beside(store.file).count(b"Instruction-Secret") >= 40, "the scan finds what is there"
    assert len(store.forget("Somebody-Secret")[0]) == 40
    content = bytes_beside(store.file)
    for word in (b"Somebody-Secret", b"Session-Secret", b"Instruction-Secret", b"xxxxxxxx"):
        assert word not in content, word
    assert content.count(b"Another-Instruction") >= 40
    for one in (store, other):
        assert one.events("Somebody-Secret") == [] and [e.item for e in one.events()] == [e.item for e in kept]
    other.close()


def test_forgetting_counts_and_is_known_to_every_process(store: FeedbackStore):
    other = FeedbackStore(store.file, "films")
    store.append([event(1), event(2, user="v")])
    assert store.times_forgotten("u") == other.times_forgotten("u") == 0
    assert len(store.forget("u")[0]) == 1 and store.forget("u") == ([], [])
    assert store.times_forgotten("u") == other.times_forgotten("u") == 2
    assert store.times_forgotten("v") == 0
    assert other.append([event(3)])[0] == 3, "numbers are not used again"
    other.close()


def test_the_mark_of_who_was_forgotten_tells_nobody_who_that_was(store: FeedbackStore, tmp_path: Path):
    store.forget("Somebody-Secret")
    assert b"Somebody-Secret" not in bytes_beside(store.file)
    elsewhere = FeedbackStore(tmp_path / "other" / "f.sqlite")
    assert store.mark("a") == store.mark("a") != store.mark("b")
    assert store.mark("a") != elsewhere.mark("a"), "the key is each store's own"
    elsewhere.close()


# --- versions --------------------------------------------------------------------------------------


def test_versions_are_recorded_used_and_dropped(store: FeedbackStore):
    assert store.current == 0 and store.versions() == []
    assert [store.add_version(n, "kept", f"{n}.pt", "h", {"n": n}, True) for n in range(3)] == [1, 2, 3]
    store.add_version(3, "rolled back", "", "", {}, False)
    assert store.current == 3
    other = FeedbackStore(store.file, "films")
    other.use(2)
    assert store.current == 2
    for number in (4, 9):
        with pytest.raises(NotFound, match=f"no version {number} that was kept"):
            store.use(number)
    assert other.current == 2
    other.close()


def test_versions_of_who_is_forgotten_go_with_what_was_built_on_them(store: FeedbackStore):
    of_u, of_v, of_w = store.append([event(1), event(2, user="v"), event(3, user="w")])
    first = store.add_version(0, "kept", "1.pt", "h", {"events": [of_w]}, True)
    second = store.add_version(first, "kept", "2.pt", "h", {"events": [of_u]}, True)
    undone = store.add_version(0, "kept", "3.pt", "h", {"events": [of_v]}, True)
    third = store.add_version(second, "kept", "4.pt", "h", {"events": [of_v]}, True)
    _, dropped = store.forget("u")
    assert [one["id"] for one in dropped] == [second, third]
    assert store.current == first, "the nearest ancestor that is left, not one that was undone"
    assert [one["id"] for one in store.versions()] == [first, undone]


def test_what_was_said_before_being_forgotten_is_not_stored_after(store: FeedbackStore):
    late = event(1, forgotten=store.times_forgotten("u"))
    store.forget("u")
    assert store.append([late, event(2, user="v")])[0] == 0 and [one.user for one in store.events()] == ["v"]
    assert store.append([event(3, forgotten=store.times_forgotten("u"))])[0] > 0


def test_a_version_that_learned_from_who_was_forgotten_meanwhile_is_not_recorded(store: FeedbackStore):
    numbers = store.append([event(1), event(2, user="v")])
    parent = store.add_version(0, "kept", "1.pt", "h", {"events": numbers}, True)
    store.forget("u")
    assert store.add_version(parent, "kept", "2.pt", "h", {"events": numbers}, True) == 0
    assert store.current == 0 and store.versions() == []
    assert store.add_version(0, "kept", "2.pt", "h", {"events": numbers[1:]}, True) == 2
    store.forget("v")
    assert store.add_version(2, "kept", "3.pt", "h", {"events": []}, True) == 0, "its parent was dropped"
    assert store.current == 0
