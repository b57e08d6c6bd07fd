"""Years in requests: which bounds are heard, in English and Chinese, and what they do to a conversation."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_instructrec.live import Recommender, Session
from recbole_instructrec.live.followups.years import FIRST, LAST, years_in
from tests.live.support import asked_for, ids, years

BOUNDS = {
    (FIRST, 1979): [
        ("before 1980", ""),
        ("before 1980, please", ""),
        ("a comedy from before 1980", "a comedy"),
        ("a comedy (before 1980)", "a comedy"),
        ("I want a comedy older than 1980!", "I want a comedy!"),
        ("pre-1980 westerns", "westerns"),
        ("a comedy but from before 1980", "a comedy"),
        ("films like Fargo, but before 1980", "films like Fargo"),
        ("but before 1980, funny", "but funny"),
        ("more like the second one but from before the year 1980", "more like the second one"),
        ("before 1980. And funny.", "And funny."),
        ("nothing scary, from before 1980", "nothing scary"),
        ("what about before 1980?", ""),
        ("a comedy, 1979 or earlier, please", "a comedy, please"),
        ("nothing newer than 1979", ""),
        ("no films from after 1979", ""),
        ("nothing from 1980 on", ""),
        ("1980年以前的喜剧", "喜剧"),
        ("在1980年之前上映的喜剧", "喜剧"),
        ("比1980年更早的电影", ""),
        ("1980年以前的，谢谢", ""),
        ("不要1980年以后的", ""),
        ("但要80年代以前的", ""),
    ],
    (1980, LAST): [
        ("since 1980", ""),
        ("after the 1970s", ""),
        ("something funny and after 1979", "something funny"),
        ("from the '80s on", ""),
        ("thrillers since the 80s", "thrillers"),
        ("starting from 1980", ""),
        ("comedies from the eighties or later", "comedies"),
        ("a western from 1980 onwards", "a western"),
        ("but nothing before 1980", ""),
        ("not before 1980", ""),
        ("nothing made before 1980", ""),
        ("from 1980 to today", ""),
        ("how about films after 1979?", ""),
        ("at least from 1980", ""),
        ("1980年以后的喜剧", "喜剧"),
        ("八十年代以来的", ""),
        ("20世纪80年代以后的片子", ""),
        ("但不要1980年以前的", ""),
        ("自1980年至今的", ""),
    ],
    (1980, 1985): [
        ("between 1980 and 1985", ""),
        ("a drama 1980-1985", "a drama"),
        ("from 1980 till 1985", ""),
        ("from 1980 up to 1985, funny", "funny"),
        ("after 1979 and before 1986", ""),
        ("after 1979 but before 1986", ""),
        ("1980到1985年之间的爱情片", "爱情片"),
        ("1980~1985年的", ""),
        ("从1980年到1985年的", ""),
    ],
    (1994, 1994): [
        ("films from 1994", ""),
        ("the ones from 1994", ""),
        ("comedies released in 1994", "comedies"),
        ("1994年的喜剧", "喜剧"),
        ("喜剧，1994年上映的", "喜剧"),
        ("1994年的", ""),
    ],
    (1950, 1969): [("from the 50s to the 60s, funny", "funny"), ("between the fifties and the sixties", "")],
    (1985, LAST): [("an 80s comedy since 1985", "an 80s comedy")],
}


@pytest.mark.parametrize(
    ("text", "first", "last", "rest"),
    [(text, *bounds, rest) for bounds, said in BOUNDS.items() for text, rest in said],
)
def test_bounds_are_heard_and_cut_out(text: str, first: int, last: int, rest: str):
    found = years_in(text)
    assert found is not None and (found.first, found.last, found.rest) == (first, last, rest)
    again = years_in(found.said)
    assert again is not None and (again.first, again.last) == (first, last), "its words say the same"


@pytest.mark.parametrize(
    ("text", "goes_on"),
    [
        ("before 1980", True),
        ("but before 1980, please", True),
        ("before 1980 please", True),
        ("only films before 1980", True),
        ("show me the ones before 1980", True),
        ("something before 1980", True),
        ("films before 1980", False),
        ("a comedy from before 1980", False),
        ("1980年以前的", True),
        ("1980年以前的，谢谢", True),
        ("但是1980年以前的", True),
        ("1980年以前的电影", False),
    ],
)
def test_bounds_alone_are_said_of_the_request_before(text: str, goes_on: bool):
    found = years_in(text)
    assert found is not None and found.goes_on is goes_on


UNCLEAR = {
    "a decade is an attribute, for the reader": ["a thriller from the 90s", "80年代的喜剧", "since the 20s"],
    "what is avoided": [
        "no horror from before 1980",
        "not from 1994",
        "not 1980-1985",
        "nothing from 1980-1985",
        "except 1980-1990",
        "no films before 1980 with songs",
        "I hate films before 1980",
        "i dont want films before 1980",
        "I can’t stand films after 2000",
        "avoid anything before 1990",
        "I dislike movies after 2000",
        "anything but films before 1980",
        "anything apart from 1994",
        "other than films before 1980",
        "I've seen all films before 1980",
        "not scary and after 1990",
        "不要1994年的",
        "不喜欢1980年以前的电影",
        "不是1994年的",
        "1980年以前的不要",
        "不要1980年以前的恐怖片",
        "不要晚于1990年的恐怖片",
    ],
    "the story": [
        "a film set before 1950",
        "a film set 1950-1960",
        "a film about life before 1950",
        "a war film about 1914-1918",
        "the war from 1939 to 1945",
        "a story that takes place before 1950",
        "关于1945年以后的电影",
        "发生在1945年的故事",
        "1994年的故事",
    ],
    "something else": [
        "2001: a space odyssey",
        "something like 1984",
        "Blade Runner 2049",
        "the top 2000 films",
        "像1942的电影",
        "比2001更老的",
        "a remake of a film from 1960",
        "adapted from 1984",
        "actors born after 1970",
        "1990年以前出生的导演",
        "I was born before 1980, a comedy please",
        "somebody in their 40s to 50s",
        "a woman in her 30s or older",
        "up to 2000 pages",
        "between 1900 and 2000 dollars",
        "clips up to 30s long",
        "before 15",
        "before 31970",
        "a comedy for after dinner",
        "1990年前后的喜剧",
    ],
    "several": [
        "from 1994 or 1995",
        "from 1994, 1995 or 1996",
        "before 1980 or 1970",
        "1994年或1995年的",
        "1994、1995年的",
        "anything after 1990 and before 1980",
        "before 1980, like 2001",
    ],
    "nothing": ["", "x" * 100_000 + " before 1980"],
}


@pytest.mark.parametrize("text", [text for texts in UNCLEAR.values() for text in texts])
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


def test_a_list_keeps_within_the_years_that_are_asked_for(dated: Recommender):
    session = dated.session("a newcomer")
    answer = session.ask("a comedy from before 1980", 25)
    assert set(years(dated, answer)) == set(range(1971, 1980)) and answer.note.startswith("From 1979 or before.")
    assert answer.heard == "a comedy" and asked_for(answer) == {"Comedy": "want"}
    assert set(years(dated, session.ask("between 1985 and 1988", 25))) == set(range(1985, 1989)), "the last word counts"
    answer = session.ask("but no horror", 4)
    assert answer.note == "From 1985 to 1988." and asked_for(answer) == {"Comedy": "want", "Horror": "avoid"}
    free = session.ask("any year", 25, hide_seen=False)
    assert free.note.startswith("Of any year.") and 1994 in years(dated, free)
    assert set(years(dated, session.ask("films from 1974", 25))) == {1974}
    assert session.heard == "", "films are all there is"
    answer = session.ask("but only comedies", 25)
    assert set(years(dated, answer)) == {1974} and asked_for(answer) == {"Comedy": "want"}, (
        "it goes on, though nothing was heard"
    )
    assert 1994 in years(dated, session.ask("a comedy", 25, hide_seen=False)), "a new request"
    answer = session.ask("1980年以前的", 25)
    assert (
        answer.note.startswith("1979年及以前的。") and max(years(dated, answer)) == 1979 and answer.heard == "a comedy"
    )


def test_older_and_newer_stay_within_years_that_were_said(dated: Recommender):
    session, again = dated.session("u1"), dated.session("u1")
    shown = years(dated, session.ask("films before 1985", 5))
    answer = session.ask("something newer", 5)
    assert all(sorted(shown)[2] < year <= 1984 for year in years(dated, answer)) and len(answer)
    for step in answer.steps:
        told = again.ask(step, 5)
    assert ids(told) == ids(answer) and told.note.split(".")[0] == answer.note.split(".")[0]
    shown = years(dated, answer)
    answer = session.ask("only older ones", 5)
    assert all(year < sorted(shown)[len(shown) // 2] for year in years(dated, answer)) and len(answer)
    session = dated.session("a newcomer")
    session.ask("films from 1980", 5)
    answer = session.ask("something newer", 5)
    assert "There is nothing further within the years that you asked for." in answer.note
    assert set(years(dated, answer)) == {1980}
    assert "There is nothing further" not in session.ask("any year", 5).note


def test_where_no_years_are_known_the_words_are_read(session: Session):
    answer = session.ask("a comedy from before 1980", 5)
    assert answer.heard == "a comedy from before 1980" and answer.note == ""


def test_years_are_among_the_steps_and_bound_the_next_page(dated: Recommender):
    session = dated.session("a newcomer")
    for text in ("a drama since 1975", "before 1990", "but no war"):
        answer = session.ask(text, 4)
    assert answer.steps == ["a drama since 1975", "until 1989", "but no war"]
    again = dated.session("another newcomer")
    for step in answer.steps:
        told = again.ask(step, 4)
    assert ids(told) == ids(answer) and told.note == answer.note
    page = session.ask("more", 4)
    assert not set(ids(page)) & set(ids(answer)) and max(years(dated, page)) < 1990


@pytest.mark.parametrize(
    "said",
    [
        ["a comedy", "more like the second one from before 1990"],
        ["a comedy", "more from before 1990"],
        ["a comedy from before 1980", "older", "any year", "newer", "before 1990"],
        ["a comedy", "older", "but no horror"],
        ["a comedy from before 1980", "any year"],
        ["a drama", "start over, from 1974"],
        ["films from 1974", "but only comedies"],
        ["a comedy", "less like the first one, from before 1990", "before 1985"],
    ],
)
def test_steps_ask_for_the_same_years_in_a_new_conversation(dated: Recommender, said: list[str]):
    session, again = dated.session("a newcomer"), dated.session("another newcomer")
    for text in said:
        answer = session.ask(text, 3)
    for step in answer.steps:
        told = again.ask(step, 25)
    first = session.prepare(None, 3).want.allowed
    second = again.prepare(None, 3).want.allowed
    assert (first is None) == (second is None) and (first is None or bool((first == second).all()))
    assert told.heard == answer.heard and len(answer.steps) <= 3


@pytest.mark.parametrize(
    "text", ["why the first one from 1994", "I've seen the second one from 1974", "more like the 50th from before 1980"]
)
def test_years_of_one_item_do_not_bound_the_list(dated: Recommender, text: str):
    session = dated.session("a newcomer")
    session.ask("a comedy", 3)
    answer = session.ask(text, 25, hide_seen=False)
    assert "From 19" not in answer.note and 1994 in years(dated, answer)


def test_bounds_that_no_item_is_within_leave_an_empty_list_and_say_so(dated: Recommender):
    answer = dated.session("a newcomer").ask("a comedy from 1950", 5)
    there_are = "There is nothing of these years: items are from 1971 to 1994."
    assert ids(answer) == [] and answer.note == f"From 1950. {there_are}"
    answer = dated.session("a newcomer").ask("a comedy from 1971", 5)
    assert ids(answer) and there_are not in answer.note
