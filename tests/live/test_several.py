"""Several things said in one breath are heard as if they were said one after the other."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_instructrec.live import Recommender, Session
from recbole_instructrec.live.followups import bare_title
from recbole_instructrec.live.followups.several import first_of_several, item_within
from tests.live.support import asked_for, ids

SHOWN = [11, 12, 13, 14]
TITLES = {12: "Heat", 13: "Sense and Sensibility", 20: "Alien", 21: "Good, The", 22: "Twin", 23: "Twin"}


def titled(title: str) -> list[int]:
    return [item for item, name in TITLES.items() if bare_title(name) == title]


@pytest.mark.parametrize(
    ("text", "kind", "item", "rest"),
    [
        ("more like the second one but no romance", "more_like", 12, "but no romance"),
        ("more like the second one, but no romance", "more_like", 12, "but no romance"),
        ("More like Alien. A comedy, please", "more_like", 20, "A comedy, please"),
        ("more like Sense and Sensibility and less sad", "more_like", 13, "and less sad"),
        ("I've seen the first one, more like the third", "seen", 11, "more like the third"),
        ("I love the first one, but not the last one", "like", 11, "but not the last one"),
        ("not the first one and not the third", "dislike", 11, "and not the third"),
        ("I saw the first one and the third", "seen", 11, "and the third"),
        ("films like Alien and Heat", "more_like", 20, "and Heat"),
        ("films like Alien and Heat, but funny", "more_like", 20, "and Heat, but funny"),
        ("less like Alien and I want it funny", "less_like", 20, "and I want it funny"),
        ("再来点像第二部的，但不要爱情片", "more_like", 12, "但不要爱情片"),
        ("再来点像第二部的但不要爱情片", "more_like", 12, "但不要爱情片"),
        ("我看过第一部，不要第三部", "seen", 11, "不要第三部"),
    ],
)
def test_what_is_said_of_an_item_first(text: str, kind: str, item: int, rest: str):
    found = first_of_several(text, SHOWN, titled)
    assert found is not None and (found.first.kind, found.first.item, found.rest) == (kind, item, rest)


@pytest.mark.parametrize(
    "text",
    [
        "a comedy, but nothing scary",
        "but nothing scary, more like the second one",
        "more like a comedy, but sad",
        "films like Heat and Dust",  # no item is called so
        "films like Twin, but funny",  # two are
        "I love it when heroes win, but no war",
        "I like comedies but no romance",
        "why the second one, but funny",
        "more like the second one",
        "more like the second one,",
        "more like the second one, ...",
        "more, but funny",
        "",
        ", ",
        "but, but, but",
        "more like Heat, " + "but " * 300,
    ],
)
def test_what_does_not_begin_with_an_item_is_no_case_of_several(text: str):
    assert first_of_several(text, SHOWN, titled) is None


def test_a_place_that_is_not_there_is_found_out_before_the_rest():
    found = first_of_several("more like the 50th one, but funny", SHOWN, titled)
    assert found is not None and found.first.missing == "50th" and found.said == "more like the 50th one,"


@given(
    st.lists(
        st.sampled_from(
            ["more like", "not", "the", "second", "Heat", "and", "but", ",", ".", "再来点像", "第二部", "的", "I"]
        ),
        max_size=12,
    )
)
@settings(max_examples=200, deadline=None)
def test_parts_are_of_the_text_and_get_shorter(words: list[str]):
    text = " ".join(words)
    found = first_of_several(text, SHOWN, titled)
    if found is not None:
        assert found.said and found.rest and text.startswith(found.said) and text.endswith(found.rest)
        assert found.first.item is not None or found.first.missing


@pytest.mark.parametrize(
    ("text", "before", "item", "rest"),
    [
        ("a comedy like Alien", "a comedy", 20, ""),
        ("a thriller similar to Heat but not so violent", "a thriller", 12, "but not so violent"),
        ("a light comedy like the second one, nothing sad", "a light comedy", 12, "nothing sad"),
        ("nothing scary, but a drama like Alien", "nothing scary, but a drama", 20, ""),
        ("but a drama like Sense and Sensibility", "but a drama", 13, ""),
        ("something funny in the style of sense and sensibility", "something funny", 13, ""),
        ("a film like Heat and like Alien", "a film", 12, "and like Alien"),
    ],
)
def test_an_item_within_a_wish(text: str, before: str, item: int, rest: str):
    found = item_within(text, SHOWN, titled)
    assert found is not None and found.first.kind == "more_like"
    assert (found.before, found.first.item, found.rest) == (before, item, rest)


@pytest.mark.parametrize(
    "text",
    [
        "like Alien",  # as a whole
        "a comedy like heat",  # that is no name
        "a comedy like Zorgon",
        "a comedy like Twin",
        "I feel like Heat",
        "people who like Alien",
        "she would like Alien",
        "I don't like Alien",
        "no gore like Alien",
        "a film without monsters like Alien",
        "I'm tired of films like Alien",
        "likely Alien",
        "a comedy like the 50th one",
        "a comedy",
        "",
        "a film like Alien" + " and so on" * 60,
    ],
)
def test_what_names_no_item_within_a_wish(text: str):
    assert item_within(text, SHOWN, titled) is None


@pytest.mark.parametrize(
    ("before", "text", "attributes"),
    [
        ("", "a comedy like {}", {"Comedy": "want"}),
        ("a drama", "a comedy like {}", {"Comedy": "want"}),
        ("a drama", "but no war, like {}", {"Drama": "want", "War": "avoid"}),
        ("a drama", "also a comedy like {}, but no war", {"Drama": "want", "Comedy": "want", "War": "avoid"}),
        ("a drama", "I'm looking for something like {}", {"Drama": "want"}),
        ("", "can you recommend films similar to {}?", {}),
        ("", "a comedy from before 1990 like {}, no war", {"Comedy": "want", "War": "avoid"}),
    ],
)
def test_a_wish_that_names_an_item(dated: Recommender, before: str, text: str, attributes: dict[str, str]):
    session, again = dated.session("one"), dated.session("other")
    if before:
        session.ask(before, 5)
    title = dated.catalogue.titles[3]
    answer = session.ask(text.format(title), 5)
    assert answer.note.startswith(f"More like {title}.") and asked_for(answer) == attributes
    assert ("From 1989 or before." in answer.note) is ("1990" in text)
    for step in answer.steps:
        told = again.ask(step, 5)
    assert ids(told) == ids(answer) and asked_for(told) == attributes and told.steps == answer.steps
    answer = session.ask("but no horror", 5)
    assert asked_for(answer) == {**attributes, "Horror": "avoid"} and answer.note.startswith(f"More like {title}.")


@pytest.mark.parametrize(
    "several",
    [
        ["more like {1}", "but no war"],
        ["I've seen {0}", "more like {1}", "but nothing with war"],
        ["I love {0}", "not {1}"],
        ["not {0}", "I don't like {2}", "only comedies"],
        ["less like {0}", "more like {1}"],
        ["I've seen {0}", "and not {1}", "and I love {2}"],
        ["I've seen {0}", "something I haven't seen"],
        ["I like {0}", "why {1}"],
        ["I like {0}", "start over"],
        ["not {0}", "a drama"],
    ],
)
def test_in_one_breath_or_one_after_the_other(recommender: Recommender, several: list[str]):
    alone, together = recommender.session("one"), recommender.session("other")
    titles = [item.title for item in alone.ask("a comedy", 5)]
    together.ask("a comedy", 5)
    said = [part.format(*titles) for part in several]
    for part in said:
        expected = alone.ask(part, 5)
    breath = said[0] + "".join(f"{' ' if part.startswith('and') else ', '}{part}" for part in said[1:])
    answer = together.ask(breath, 5)
    assert ids(answer) == ids(expected) and asked_for(answer) == asked_for(expected)
    assert answer.heard == expected.heard and answer.steps == expected.steps
    stored = [
        [(event.kind, event.item) for event in recommender.store.events(user, reactions_only=True)]
        for user in ("one", "other")
    ]
    assert stored[0] == stored[1] == [(one["event"], one["item"]) for one in answer.reactions]


def test_places_are_those_of_the_list_that_is_seen(session: Session):
    first = session.ask("a comedy", 5).items
    answer = session.ask("I've seen the first one, the second and number 4, but not the last one", 5)
    told = [("seen", 0), ("seen", 1), ("seen", 3), ("dislike", 4)]
    assert answer.reactions == [{"item": first[at].id, "title": first[at].title, "event": kind} for kind, at in told]
    assert answer.note == " ".join(
        [*(f"You know {first[at].title}." for at in (0, 1, 3)), f"Without {first[4].title}."]
    )
    session.ask("undo", 5)
    kinds = [event.kind for event in session._recommender.store.events(reactions_only=True)]
    assert kinds == ["seen"] * 3 + ["dislike", "undo"]


def test_more_like_two_items_and_what_else_is_wanted(session: Session, recommender: Recommender):
    one, two = (recommender.catalogue.titles[recommender.catalogue.index[name]] for name in ("i3", "i8"))
    answer = session.ask(f"films like {one} and {two}, a comedy", 5)
    assert answer.note == f"More like {one}. More like {two}." and asked_for(answer) == {"Comedy": "want"}
    assert not {"i3", "i8"} & set(ids(answer))
    again = recommender.session("u1")
    for step in answer.steps:
        told = again.ask(step, 5)
    assert ids(told) == ids(answer) and told.steps == answer.steps
    answer = session.ask("but no war", 5)
    assert asked_for(answer) == {"Comedy": "want", "War": "avoid"} and answer.note.startswith(f"More like {one}.")


def test_a_request_goes_on_from_items_alone(session: Session, recommender: Recommender):
    title = recommender.catalogue.titles[3]
    session.ask(f"films like {title}", 5)
    answer = session.ask("but no war", 5)
    assert answer.note == f"More like {title}." and asked_for(answer) == {"War": "avoid"}
    assert session.ask("a war film", 5).note == "", "a request of its own"


def test_a_place_that_is_missing_stops_there(session: Session):
    before = session.ask("a comedy", 3)
    answer = session.ask("not the fifth one, a drama", 3)
    assert answer.note.startswith("“not the fifth one,”: the list ends at number 3")
    assert ids(answer) == ids(before) and answer.reactions == []


def test_years_among_several(dated: Recommender):
    session = dated.session("u1")
    first = session.ask("a comedy", 5).items[0]
    answer = session.ask("I love the first one but from before 1980", 5)
    assert answer.note.startswith(f"You like {first.title}. From 1979 or before.")
    assert asked_for(answer) == {"Comedy": "want"}
    title = dated.catalogue.titles[3]
    answer = session.ask(f"more like {title} since 1975, no war", 5)
    assert answer.note == f"More like {title}. From 1975 or after." and asked_for(answer)["War"] == "avoid"
    again = dated.session("u1")
    for step in answer.steps:
        told = again.ask(step, 5)
    assert ids(told) == ids(answer) and told.note == answer.note
