"""Who asks: known and new users, several conversations and processes, a full disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from recbole_instructrec.live import LiveError, Recommender, Session, StoreError
from tests.live.support import ids


def test_somebody_new_is_answered_and_becomes_somebody(recommender: Recommender):
    session = recommender.session("a newcomer")
    first = session.ask("a comedy", 5)
    assert len(first) == 5 and all(item.reasons.history == [] for item in first)
    session.feedback(first.items[0].id, "like")
    again = recommender.session("a newcomer").ask("a comedy", 5)
    assert [one["id"] for one in session.history()] == [first.items[0].id]
    assert any(item.reasons.history for item in again) and ids(again) != ids(first)


def test_who_gives_no_name_is_somebody_new_each_time(recommender: Recommender):
    one, other = recommender.session(), recommender.session()
    assert one.user != other.user and one.user.startswith("guest-") and one.name != other.name
    one.feedback("i1", "like")
    assert other.history() == [] and len(one.history()) == 1


@pytest.mark.parametrize("name", ["", " ", 5, 1.5, True, b"u1", ["u1"], "a\nb", "x" * 201, "\ud800"])
def test_what_is_no_name_is_refused(recommender: Recommender, name: Any):
    with pytest.raises(LiveError, match=r"^user: "):
        recommender.session(name)
    with pytest.raises(LiveError, match=r"^session: "):
        recommender.session("u1", name)
    with pytest.raises(LiveError, match=r"^session: "):
        recommender.session(None, name)


def test_two_conversations_of_one_user_share_feedback_and_nothing_else(recommender: Recommender):
    one, other = recommender.session("u5"), recommender.session("u5")
    one.ask("a comedy", 5)
    other.ask("a drama", 5)
    assert other.ask("but no war", 5).heard == "a drama, but no war"
    assert one.ask("more", 5).heard == "a comedy"
    liked = one.shown[0]
    one.feedback(recommender.catalogue.tokens[liked], "like")
    assert other.history(1)[0]["id"] == recommender.catalogue.tokens[liked]


def test_processes_on_one_store_share_feedback(recommender: Recommender, loaded: tuple):
    _, model, dataset, _ = loaded
    elsewhere = Recommender(model, dataset, recommender.store.file)
    here, there = recommender.session("u5"), elsewhere.session("u5")
    there.ask("", 5)
    item = here.ask("", 5).items[0].id
    here.feedback(item, "like")
    assert there.history(1)[0]["id"] == item
    assert ids(there.ask("", 5)) == ids(here.ask("", 5))


def test_a_scale_of_ratings_of_ones_own(loaded: tuple, tmp_path: Path):
    _, model, dataset, _ = loaded
    session = Recommender(model, dataset, tmp_path / "f.sqlite", rating_scale=(0, 100)).session("u5")
    session.feedback("i1", "rating", 80)
    with pytest.raises(LiveError, match="from 0 to 100"):
        session.feedback("i1", "rating", 101)
    with pytest.raises(LiveError, match="rating_scale: the lowest rating comes first"):
        Recommender(model, dataset, tmp_path / "g.sqlite", rating_scale=(5, 1))


def test_a_request_is_kept_with_what_was_shown(recommender: Recommender, session: Session):
    answer = session.ask("  a\tcomedy ", 3)
    kept = recommender.store.events()[0]
    assert (kept.user, kept.session, kept.kind, kept.instruction) == ("u1", session.name, "ask", "a comedy")
    assert kept.shown == tuple(ids(answer)) and kept.id == answer.event and kept.version == answer.version == 0


def test_a_full_disk_refuses_requests_and_feedback_and_loses_nothing(recommender: Recommender, session: Session):
    first = session.ask("a comedy", 3)
    connection = recommender.store._connection
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(StoreError, match="disk is full"):
        for _ in range(200):
            session.feedback(first.items[0].id, "like")
    acknowledged = recommender.store.count()
    with pytest.raises(StoreError, match="disk is full"):
        for _ in range(200):
            session.ask("more", 3)
    connection.execute("PRAGMA max_page_count=100000")
    assert recommender.store.count() >= acknowledged
    assert len(session.ask("a comedy", 3)) == 3
