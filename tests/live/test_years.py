"""Years in requests: which bounds are heard, in English and Chinese, and what they do to a conversation."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_instructrec.live import Answer, Recommender, Session
from recbole_instructrec.live.followups.years import FIRST, LAST, years_in
from tests.live.support import asked_for, ids


@pytest.mark.parametrize(
    ("text", "first", "last", "rest"),
    [
        ("before 1970", FIRST, 1969, ""),
        ("a comedy from before 1970", FIRST, 1969, "a comedy"),
        ("I want a comedy older than 1960!", FIRST, 1959, "I want a comedy!"),
        ("pre-1970 westerns", FIRST, 1969, "westerns"),
        ("a comedy, 1980 or earlier, please", FIRST, 1980, "a comedy, please"),
        ("nothing newer than 1980", FIRST, 1980, ""),
        ("thrillers after 1990", 1991, LAST, "thrillers"),
        ("thrillers after the 1970s", 1980, LAST, "thrillers"),
        ("thrillers since the 70s", 1970, LAST, "thrillers"),
        ("comedies from the eighties or later", 1980, LAST, "comedies"),
        ("a western from 1980 onwards", 1980, LAST, "a western"),
        ("but nothing before 1990", 1990, LAST, ""),
        ("not before 1990", 1990, LAST, ""),
        ("nothing scary, from before 1990", FIRST, 1989, "nothing scary"),
        ("between 1980 and 1985", 1980, 1985, ""),
        ("a drama 1980-1985", 1980, 1985, "a drama"),
        ("from the 50s to the 60s, funny", 1950, 1969, "funny"),
        ("after 1990 and before 2000", 1991, 1999, ""),
        ("films from 1994", 1994, 1994, ""),
        ("comedies released in 1994 and not scary", 1994, 1994, "comedies and not scary"),
        ("more like the second one from before 1980", FIRST, 1979, "more like the second one"),
        ("1970年以前的喜剧", FIRST, 1969, "喜剧"),
        ("比1980年更早的电影", FIRST, 1979, ""),
        ("1994年的喜剧", 1994, 1994, "喜剧"),
        ("九十年代以后的喜剧", 1990, LAST, "喜剧"),
        ("20世纪80年代以后的片子", 1980, LAST, ""),
        ("1980到1990年之间的爱情片", 1980, 1990, "爱情片"),
        ("但不要1980年以前的", 1980, LAST, ""),
        ("喜剧，1994年上映的", 1994, 1994, "喜剧"),
    ],
)
def test_bounds_are_heard_and_cut_out(text: str, first: int, last: int, rest: str):
    found = years_in(text)
    assert found is not None and (found.first, found.last, found.rest) == (first, last, rest)


@pytest.mark.parametrize(
    ("text", "goes_on"),
    [
        ("before 1980", True),
        ("but before 1980, please", True),
        ("only films before 1980", True),
        ("films before 1980", False),
        ("a comedy from before 1980", False),
        ("1980年以前的", True),
        ("但是1980年以前的", True),
        ("1980年以前的电影", False),
    ],
)
def test_bounds_alone_are_said_of_the_request_before(text: str, goes_on: bool):
    found = years_in(text)
    assert found is not None and found.goes_on is goes_on


@pytest.mark.parametrize(
    "text",
    [
        "a thriller from the 90s",  # a decade is an attribute, for the reader
        "80年代的喜剧",
        "no horror from before 1980",  # some horror is avoided, all else may be of any year
        "not from 1994",
        "不要1994年的",
        "a film set before 1950",  # the story, not the film
        "a film about life before 1950",
        "关于1945年以后的电影",
        "2001: a space odyssey",
        "something like 1984",
        "Blade Runner 2049",
        "the top 2000 films",
        "since the 20s",  # of which century?
        "anything after 1990 and before 1980",
        "a comedy for after dinner",
        "before 15",
        "before 31970",
        "",
        "x" * 100_000 + " before 1980",
    ],
)
def test_what_is_no_bound_or_not_clear_is_left_to_the_reader(text: str):
    assert years_in(text) is None


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                *[
                    "before",
                    "after",
                    "from",
                    "to",
                    "between",
                    "and",
                    "the",
                    "not",
                    "a",
                    ",",
                    ".",
                    "1980",
                    "90s",
                    "80年代",
                    "以前",
                    "的",
                    "不要",
                ]
            ]
        )
    )
)
def test_whatever_is_said_bounds_are_years_in_order(words: list[str]):
    found = years_in(" ".join(words))
    assert found is None or (FIRST <= found.first <= found.last <= LAST and len(found.rest) <= len(" ".join(words)))


def test_long_texts_are_looked_through_in_no_time():
    begin = time.process_time()
    for text in (
        "from " * 100,
        "1980 " * 100,
        " " * 500 + "x",
        "的" * 500,
        "from 1980 to " * 38,
        "before " * 70 + "1980",
    ):
        years_in(text)
    assert time.process_time() - begin < 0.5


@pytest.fixture
def dated(recommender: Recommender) -> Recommender:
    """Items of the years 1971 to 1995, the last one of none."""
    recommender.catalogue.years = np.arange(1970, 1996)
    recommender.catalogue.years[[0, 25]] = 0
    return recommender


def of(recommender: Recommender, answer: Answer) -> set[int]:
    return {int(recommender.catalogue.years[recommender.catalogue.index[item.id]]) for item in answer}


def test_a_list_keeps_within_the_years_that_are_asked_for(dated: Recommender):
    session = dated.session("a newcomer")
    answer = session.ask("a comedy from before 1980", 25)
    assert of(dated, answer) == set(range(1971, 1980)) and answer.note.startswith("From 1979 or before.")
    assert answer.heard == "a comedy" and asked_for(answer) == {"Comedy": "want"}
    assert of(dated, session.ask("between 1985 and 1988", 25)) == set(range(1985, 1989)), "the last word counts"
    answer = session.ask("but no horror", 4)
    assert answer.note == "From 1985 to 1988." and asked_for(answer) == {"Comedy": "want", "Horror": "avoid"}
    free = session.ask("any year", 25, hide_seen=False)
    assert free.note.startswith("Of any year.") and 1994 in of(dated, free)
    assert of(dated, session.ask("films from 1974", 25)) == {1974}
    assert session.heard == "", "films are all there is"
    answer = session.ask("but only comedies", 25)
    assert of(dated, answer) == {1974} and asked_for(answer) == {"Comedy": "want"}, (
        "it goes on, though nothing was heard"
    )
    assert 1994 in of(dated, session.ask("a comedy", 25, hide_seen=False)), "a new request"
    answer = session.ask("1980年以前的", 25)
    assert answer.note.startswith("1979年及以前的。") and max(of(dated, answer)) == 1979 and answer.heard == "a comedy"


def test_where_no_years_are_known_the_words_are_read(session: Session):
    answer = session.ask("a comedy from before 1980", 5)
    assert answer.heard == "a comedy from before 1980" and answer.note == ""


def test_years_are_among_the_steps_and_bound_the_next_page(dated: Recommender):
    session = dated.session("a newcomer")
    for text in ("a drama since 1975", "before 1990", "but no war"):
        answer = session.ask(text, 4)
    assert answer.steps == ["a drama since 1975", "before 1990", "but no war"]
    again = dated.session("another newcomer")
    for step in answer.steps:
        told = again.ask(step, 4)
    assert ids(told) == ids(answer) and told.note == answer.note
    page = session.ask("more", 4)
    assert not set(ids(page)) & set(ids(answer)) and max(of(dated, page)) < 1990


def test_bounds_that_no_item_is_within_leave_an_empty_list_and_say_so(dated: Recommender):
    answer = dated.session("a newcomer").ask("a comedy from 1950", 5)
    assert ids(answer) == [] and answer.note == "From 1950. Items that fit the rules and are not left out: 0."
