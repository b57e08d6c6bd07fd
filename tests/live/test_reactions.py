"""Reactions: what they change at once, and which are refused."""

from __future__ import annotations

import math
from typing import Any

import pytest

from recbole_instructrec.live import LiveError, NotFound, Recommender, Session
from tests.live.support import ATTRIBUTES, check_list, history, ids, ranking, rows


@pytest.mark.parametrize("kind", ["click", "like", "seen"])
def test_what_is_taken_joins_the_sequence_and_counts_from_the_next_list_on(recommender: Recommender, kind: str):
    session = recommender.session("u5")
    before = history(recommender, "u5")
    first = session.ask("", 25, hide_seen=False)
    number = session.feedback(first.items[2].id, kind)
    assert recommender.store.events()[-1].id == number
    after = [*before, recommender.catalogue.index[first.items[2].id]]
    assert history(recommender, "u5") == after
    scores = recommender.model.full_sort_predict(rows(recommender, [after]))[0]
    check_list(session.ask("", 25, hide_seen=False), ranking(recommender, scores))
    assert session.history(1)[0]["id"] == first.items[2].id


def test_each_reaction_counts_once_however_often_is_asked(recommender: Recommender):
    session, before = recommender.session("u5"), history(recommender, "u5")
    for item in ("i3", "i4", "i3"):
        session.feedback(item, "like")
        session.ask("", 3)
    index = recommender.catalogue.index
    assert history(recommender, "u5") == [*before, index["i3"], index["i4"], index["i3"]]


def test_what_is_disliked_leaves_the_list_for_good_until_it_is_liked(recommender: Recommender):
    session = recommender.session("u5")
    first = session.ask("a comedy", 25, hide_seen=False)
    gone, taken = first.items[0].id, session.history(100)
    session.feedback(gone, "dislike")
    assert session.history(100) == taken
    for one in (session, recommender.session("u5")):
        assert gone not in ids(one.ask("a comedy", 25, hide_seen=False))
    assert gone in ids(recommender.session("u6").ask("a comedy", 25, hide_seen=False)), "another user"
    session.feedback(gone, "like")
    assert gone in ids(session.ask("a comedy", 25, hide_seen=False))


def test_what_is_skipped_leaves_this_conversation(recommender: Recommender):
    session = recommender.session("u5")
    gone = session.ask("", 5, hide_seen=False).items[0].id
    session.feedback(gone, "skip")
    assert gone not in ids(session.ask("", 25, hide_seen=False))
    assert gone in ids(recommender.session("u5").ask("", 25, hide_seen=False))


@pytest.mark.parametrize(("rating", "there"), [(5, True), (3, True), (2, False), (1.0, False)])
def test_a_rating_joins_the_sequence_but_a_bad_one_leaves_the_list(
    recommender: Recommender, rating: float, there: bool
):
    session = recommender.session("u5")
    item = session.ask("", 25, hide_seen=True).items[0].id
    session.feedback(item, "rating", rating)
    assert (session.history(1)[0]["id"] == item) is there
    assert recommender.store.events()[-1].value == rating
    assert (item in ids(session.ask("", 25, hide_seen=False))) is there


def test_a_rating_needs_no_other_word(session: Session, recommender: Recommender):
    session.feedback("i3", rating=4)
    assert [(event.kind, event.value) for event in recommender.store.events()] == [("rating", 4.0)]


def test_a_click_then_a_rating_is_taken_once(recommender: Recommender):
    session = recommender.session("u5")
    before = history(recommender, "u5")
    other = next(token for token in ATTRIBUTES if recommender.catalogue.index[token] != before[-1])
    for kind, rating in (("click", None), ("rating", 4), ("like", None)):
        session.feedback(other, kind, rating)
    assert history(recommender, "u5") == [*before, recommender.catalogue.index[other]]


@pytest.mark.parametrize("kind", ["click", "like", "dislike", "seen", "skip", "rating"])
def test_a_reaction_that_is_taken_back_has_never_been(recommender: Recommender, kind: str):
    session = recommender.session("u5")
    before, state = session.ask("a comedy", 25, hide_seen=False), recommender.users.state("u5")
    expected = (list(state.items), list(state.disliked), state.last_time)
    session.feedback(before.items[1].id, kind, 1 if kind == "rating" else None)
    session.ask(None, 25)  # what is known of the user was looked at in between
    session.feedback(before.items[1].id, "undo")
    state = recommender.users.state("u5")
    assert (state.items, state.disliked, state.last_time) == expected
    assert ids(session.ask(None, 25, hide_seen=False)) == ids(before)
    assert [event.kind for event in recommender.store.events(reactions_only=True)] == [kind, "undo"], (
        "it is only added to"
    )
    session.feedback(before.items[1].id, "undo")  # once more, as after a lost answer: it changes nothing
    state = recommender.users.state("u5")
    assert (state.items, state.disliked, state.last_time) == expected


def test_all_reactions_to_an_item_are_taken_back_and_no_other(recommender: Recommender):
    session, other = recommender.session("u5"), recommender.session("u6")
    index = recommender.catalogue.index
    before = history(recommender, "u5")
    assert before[-1] not in (index["i3"], index["i9"])
    for one, item, kind in [
        (session, "i3", "dislike"), (other, "i3", "like"), (session, "i3", "like"), (session, "i9", "like"),
    ]:  # fmt: skip
        one.feedback(item, kind)
    assert history(recommender, "u5") == [*before, index["i3"], index["i9"]]
    recommender.session("u5").feedback("i3", "undo")  # whichever conversation they were of
    assert history(recommender, "u5") == [*before, index["i9"]] and recommender.users.state("u5").disliked == []
    assert history(recommender, "u6")[-1] == index["i3"]
    session.feedback("i3", "seen")
    assert history(recommender, "u5") == [*before, index["i9"], index["i3"]]


def test_undo_takes_back_what_was_said_of_the_item_that_was_reacted_to_last(recommender: Recommender):
    session, before = recommender.session("u5"), history(recommender, "u5")
    with pytest.raises(LiveError, match="no reaction to take back in this conversation"):
        session.undo()
    recommender.session("u5").feedback("i2", "dislike")
    first = session.ask("a comedy", 5)
    session.feedback(first.items[1].id, "like")
    third = first.items[2]
    session.ask("I hate the third one" if session.ask(None, 5).items[2].id == third.id else "why the first one", 5)
    told = session.ask("undo that", 5)
    assert told.note.startswith("Taken back: what you said of Film number") and told.heard == "a comedy"
    while "Taken back" in told.note:
        told = session.ask("undo", 5)
    assert told.note == "There is no reaction to take back in this conversation."
    assert history(recommender, "u5") == before and len(recommender.users.state("u5").disliked) == 1
    session.feedback("i3", "like")
    assert session.ask("撤回", 5).note == "已撤回你对《Film number 3》的反应。"


def test_a_word_on_a_place_that_is_not_there_is_said_of_no_other_item(session: Session, recommender: Recommender):
    session.ask("a comedy", 3)
    session.feedback("i3", "like")
    for text in ("I don't like the 9th one", "I've seen number 7", "not the fifth one"):
        assert "the list ends at number 3" in session.ask(text, 3).note
    assert [event.kind for event in recommender.store.events(reactions_only=True)] == ["like"]


def test_what_another_conversation_takes_back_comes_again(recommender: Recommender):
    session = recommender.session("u5")
    gone = session.ask("", 25, hide_seen=False).items[0].id
    for kind in ("skip", "dislike"):
        session.feedback(gone, kind)
    assert gone not in ids(session.ask(None, 25, hide_seen=False))
    recommender.session("u5").feedback(gone, "undo")
    assert gone in ids(session.ask(None, 25, hide_seen=False))


def test_what_is_stored_while_a_state_is_made_anew_counts_once(recommender: Recommender, monkeypatch):
    session, before = recommender.session("u5"), history(recommender, "u5")
    session.feedback("i3", "like")
    session.feedback("i3", "undo")
    read, late = recommender.store.events, []

    def slow(*arguments: Any, **options: Any) -> Any:
        found = read(*arguments, **options)
        if not late:
            late.append(recommender.store.append([session.reaction("i9", "like")]))
        return found

    made = session.reaction("i9", "like")
    monkeypatch.setattr(recommender.store, "events", slow)
    monkeypatch.setattr(session, "reaction", lambda *_: made)
    recommender.users.state("u5")
    monkeypatch.undo()
    assert history(recommender, "u5") == [*before, recommender.catalogue.index["i9"]]


def test_what_another_process_takes_back_is_back_here_too(recommender: Recommender, loaded: tuple):
    here = recommender.session("u5")
    there = Recommender(loaded[1], loaded[2], recommender.store.file).session("u5")
    before = here.history(100)
    here.feedback("i3", "like")
    assert len(here.history(100)) == len(there.history(100)) == len(before) + 1
    there.feedback("i3", "undo")
    assert here.history(100) == there.history(100) == before


def test_reactions_that_stand_are_told_the_latest_item_first(recommender: Recommender):
    one, other = recommender.session("u1"), recommender.session("u1")
    for item, event, rating in (
        ("i3", "seen", None),
        ("i4", "rating", 2),
        ("i5", "dislike", None),
        ("i3", "like", None),
    ):
        one.feedback(item, event, rating)
    one.feedback("i5", "undo")
    told = other.reactions()
    assert [(item["id"], [(r["event"], r["rating"]) for r in item["reactions"]]) for item in told] == [
        ("i3", [("seen", None), ("like", None)]),
        ("i4", [("rating", 2.0)]),
    ]
    assert told[0]["title"] == recommender.catalogue.titles[recommender.catalogue.index["i3"]]
    assert other.reactions(1) == told[:1] and recommender.session("u2").reactions() == []


def test_this_one_is_what_was_spoken_of_last(session: Session, recommender: Recommender):
    titles = [item.title for item in session.ask("a comedy", 5)]
    told = session.ask("more like this", 5)
    assert told.note.startswith("“more like this”: say which one") and [item.title for item in told] == titles
    session.feedback(told.items[2].id, "like")
    assert f"More like {titles[2]}." in session.ask("more like this one", 5).note
    session.ask("why the second one", 5)
    second = recommender.catalogue.titles[session.shown[1]]
    assert second in session.ask("I love it", 5).note
    assert recommender.store.events(reactions_only=True)[-1].kind == "like"
    session.ask("a drama", 5)
    assert "say which one" in session.ask("not this", 5).note, "another list: nothing of it was spoken of"


@pytest.mark.parametrize(
    ("item", "kind", "rating", "error", "words"),
    [
        ("i99", "like", None, NotFound, r"no item 'i99'; did you mean i9\?"),
        ("", "like", None, NotFound, r"no item ''"),
        ("[PAD]", "like", None, NotFound, r"no item '\[PAD\]'"),
        ("x" * 1_000_000, "like", None, NotFound, r"no item"),
        (None, "like", None, NotFound, r"no item None"),
        (True, "like", None, NotFound, r"no item True"),
        (math.nan, "like", None, NotFound, r"no item nan"),
        (["i1"], "like", None, NotFound, r"no item"),
        ("i1", "love", None, LiveError, r"event: one of click, like"),
        ("i1", "ask", None, LiveError, r"event: one of click, like"),
        ("i1", None, None, LiveError, r"event: one of click, like"),
        ("i1", "rating", None, LiveError, r"rating: a number from 1 to 5"),
        ("i1", "rating", 6, LiveError, r"rating: a number from 1 to 5"),
        ("i1", "rating", math.nan, LiveError, r"rating: a number from 1 to 5"),
        ("i1", "rating", True, LiveError, r"rating: a number from 1 to 5"),
        ("i1", "click", 4, LiveError, r"rating: a click has none"),
        ("i1", "undo", 4, LiveError, r"rating: a undo has none"),
        ("i1", "undo", None, LiveError, r"undo: u1 has not reacted to Film number 1 \(item i1\)\."),
    ],
)
def test_feedback_that_cannot_be_is_refused_and_changes_nothing(
    recommender: Recommender, session: Session, item: Any, kind: Any, rating: Any, error: type, words: str
):
    first = ids(session.ask("a comedy", 5))
    with pytest.raises(error, match=words) as caught:
        session.feedback(item, kind, rating)
    assert len(str(caught.value)) < 300
    assert recommender.store.count() == 1 and ids(session.ask("a comedy", 5)) == first
