"""A user who is forgotten leaves no trace."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from recbole_instructrec.live import LiveError, Recommender
from recbole_instructrec.live.traces import traces_in
from tests.live.support import ids


def test_a_user_who_is_forgotten_is_somebody_new_everywhere(recommender: Recommender, loaded: tuple, tmp_path: Path):
    _, model, dataset, _ = loaded
    elsewhere = Recommender(model, dataset, recommender.store.file)
    new = ids(recommender.session("a newcomer").ask("", 25, hide_seen=False))
    sessions = [recommender.session("u5"), elsewhere.session("u5")]
    for session in sessions:
        session.ask("somebody who wants Secret-Words", 5)
        session.feedback("i3", "dislike")
        session.feedback("i4", "like")
        session.ask("more", 5)
        assert ids(session.ask("", 25, hide_seen=False)) != new
        session.ask("more of the Secret-Words", 5)
    third = recommender.session("u5")
    third.ask("more of the Secret-Words", 5)
    other = recommender.session("u6")
    other.feedback("i1", "like")
    in_dataset = recommender.users.in_dataset("u5")
    found = recommender.forget("u5")
    assert "u5" not in recommender.users._states, "nor in memory"
    assert found.events == 13 and found.traces == [] and found.versions == [] and found.in_dataset == in_dataset > 3
    for session in sessions:
        assert session.history() == [] and session.heard != ""
        session.feedback("i7", "skip")
        assert session.heard == "" and session.shown == []
    assert third.ask("more", 5).heard == ""
    for session in sessions:
        assert set(ids(session.ask("", 25, hide_seen=False))) == set(new) - {"i7"}
    for one in (recommender, elsewhere):
        assert ids(one.session("u5").ask("", 25, hide_seen=False)) == new
    assert b"Secret-Words" not in b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert other.history(1)[0]["id"] == "i1"


def test_a_user_can_come_back_and_be_forgotten_again(recommender: Recommender, loaded: tuple):
    _, model, dataset, _ = loaded
    elsewhere = Recommender(model, dataset, recommender.store.file)
    for _ in range(2):
        recommender.session("u5").feedback("i3", "like")
        assert elsewhere.session("u5").history(1)[0]["id"] == "i3"
        recommender.forget("u5")
        assert elsewhere.session("u5").history() == recommender.session("u5").history() == []


def test_traces_are_of_the_user_alone(recommender: Recommender):
    for name in ("customer1", "customer12"):
        session = recommender.session(name, f"session of {name}")
        session.ask("what we both said", 3)
        session.ask(f"what only {name} said", 3)
    found = recommender.forget("customer1")
    assert found.events == 2 and found.traces == []
    assert len(recommender.store.events("customer12")) == 2


def test_what_others_said_in_part_is_no_trace(recommender: Recommender):
    """Long texts are looked for piece by piece, and a piece may be what somebody else said."""
    long = "a film for a very quiet evening with some friends, and nothing scary please"
    for name, text in (("one", long), ("two", long[48:]), ("three", long[:48]), ("four", f"{long[20:70]} at all")):
        recommender.session(f"customer {name}").ask(text, 3)
    assert recommender.forget("customer one").traces == []
    assert traces_in([recommender.store.file], [long], long[48:]), "the rest of it tells"
    assert not traces_in([recommender.store.file], [long[:30] + "!" + long[31:]], "")


def test_a_trace_that_is_left_is_told(recommender: Recommender, monkeypatch: pytest.MonkeyPatch):
    """The proof can fail: here what SQLite leaves behind is not overwritten."""
    session = recommender.session("somebody special")
    session.ask("what only one of us said", 3)
    real = recommender.store._connection

    class Lazy:
        in_transaction = property(lambda self: real.in_transaction)

        def execute(self, statement: str, *values: Any) -> Any:
            return real.execute("SELECT 1" if statement.startswith(("VACUUM", "PRAGMA")) else statement, *values)

    real.execute("PRAGMA secure_delete=OFF")
    monkeypatch.setattr(recommender.store, "_connection", Lazy())
    found = recommender.forget("somebody special")
    assert found.events == 1 and any(str(recommender.store.file) in trace for trace in found.traces)


@pytest.mark.parametrize("name", ["", None, 5, "a\nb"])
def test_whom_to_forget_must_be_named(recommender: Recommender, name: Any):
    with pytest.raises(LiveError, match=r"^user: "):
        recommender.forget(name)


def test_what_is_said_while_being_forgotten_is_answered_and_not_kept(recommender: Recommender):
    session = recommender.session("u1")
    asked, made = session.prepare("a very secret wish for a comedy", 3), session.reaction("i1", "like")
    assert recommender.forget("u1").traces == []
    (answer,), numbers = recommender.answer([(session, asked)]), recommender.store.append([made])
    assert len(answer) == 3 and answer.event == 0 and numbers == [0] and recommender.store.count() == 0
    with pytest.raises(LiveError, match="forgotten meanwhile"):
        session.reacted(made, 0)
    assert session.feedback("i1", "like") > 0 and recommender.store.count() == 1, "whoever comes back is welcome"


def test_long_texts_are_found_by_the_scan(recommender: Recommender, tmp_path: Path):
    recommender.session("u1").ask("a comedy " * 700)
    (said,) = {event.instruction for event in recommender.store.events()}
    files = (recommender.store.file, Path(f"{recommender.store.file}-wal"))
    assert len(said) > 4096 and traces_in(files, [said]) and not traces_in(files, ["something that nobody has said"])
    assert recommender.forget("u1").traces == []


def test_what_is_acknowledged_after_somebody_was_forgotten_survives_other_processes(recommender: Recommender):
    session = recommender.session("u1")
    session.feedback("i1", "like")
    recommender.forget("nobody we know")
    # Whichever process takes itself for the last one removes the write-ahead log when it ends.
    other = """if True:
        import sqlite3, sys
        store = sqlite3.connect(sys.argv[1])
        print(*store.execute("SELECT count(*) FROM events").fetchone())
        store.close()
    """
    command = [sys.executable, "-c", other, str(recommender.store.file)]
    for n_events in range(1, 4):
        found = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        assert int(found) == recommender.store.count() == n_events
        session.feedback(f"i{n_events + 1}", "like")


def test_a_file_that_cannot_be_searched_is_told(tmp_path: Path):
    (tmp_path / "folder").mkdir()
    (found,) = traces_in([tmp_path / "missing", tmp_path / "folder"], ["a secret wish"])
    assert found.startswith(f"{tmp_path / 'folder'}: could not be read")


def test_forgotten_users_are_not_replayed(recommender: Recommender):
    from recbole_instructrec.live.learning import Learner

    code = recommender.users.codes["u1"]
    field = recommender.dataset.uid_field

    def replayed() -> set[int]:
        batches = Learner(recommender, batch_size=1)._replayed()
        return {int(user) for _ in range(300) for user in next(batches)[field]}

    assert code in replayed() and "u1" in recommender.users
    recommender.forget("u1")
    assert code not in replayed() and len(replayed()) > 10 and "u1" not in recommender.users
