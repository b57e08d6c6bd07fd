"""Several things said in one breath are heard as if they were said one after the other."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_instructrec.live import Recommender, Session
from recbole_instructrec.live.followups.several import Finder
from recbole_instructrec.live.listening import Heard, Listener, Talk
from recbole_instructrec.live.request import Request
from tests.live.support import asked_for, by_title, ids

SHOWN = [11, 12, 13, 14]
TITLES = {
    12: "Heat",
    13: "Sense and Sensibility",
    20: "Alien",
    22: "Twin",
    23: "Twin",
    24: "Ghost Dog and the Cats",
    25: "Ghost Dog",
    26: "20,000 Leagues",
    27: "Escape from L.A.",
}


titled = by_title(TITLES)


LISTENER = Listener(
    SimpleNamespace(  # type: ignore[arg-type]
        dated=True, titled=titled, titles=[TITLES.get(item, f"Item {item}") for item in range(30)], years=np.zeros(30)
    ),
    lambda text: True,
    ["en", "zh"],
)


def hear(text: str, before: str = "a drama", latest: int | None = None, shown: list[int] = SHOWN) -> Heard:
    request = Request([before], steps=[("", before)]) if before else Request()
    return LISTENER.hear(text, Talk(request, shown, latest, {}, "en"), lambda: None)


@pytest.mark.parametrize(
    ("text", "reactions", "toward", "heard"),
    [
        # an item, and then something else
        ("more like the second one but no romance", "", [12], "a drama, but no romance"),
        ("more like the second one, but no romance", "", [12], "a drama, but no romance"),
        ("more like the second one - but no romance", "", [12], "a drama, but no romance"),
        ("more like the second one with no romance", "", [12], "a drama, with no romance"),
        ("More like Alien. A comedy, please", "", [20], "a drama, also A comedy, please"),
        ("more like Sense and Sensibility and less sad", "", [13], "a drama, and less sad"),
        ("more like the second one and Italian", "", [12], "a drama, and Italian"),
        ("more like the second one, kids", "", [12], "a drama, also kids"),
        ("I've seen the first one, more like the third", "seen 11", [13], "a drama"),
        ("seen the first one, more like the second", "seen 11", [12], "a drama"),
        ("I love the first one, but not the last one", "like 11 dislike 14", [], "a drama"),
        ("I loved the first one and hated the second", "like 11 dislike 12", [], "a drama"),
        ("I saw the first one and loved it", "seen 11 like 11", [], "a drama"),
        ("not the first one and not the third", "dislike 11 dislike 13", [], "a drama"),
        ("I saw the first one and the third", "seen 11 seen 13", [], "a drama"),
        ("I've seen the first one, the second one and number 4", "seen 11 seen 12 seen 14", [], "a drama"),
        ("films like Alien and Heat", "", [20, 12], "a drama"),
        ("films like Alien, Heat and Sense and Sensibility", "", [20, 12, 13], "a drama"),
        ("films like Alien or Heat, but funny", "", [20, 12], "a drama, but funny"),
        ("films like Heat and like Alien", "", [12, 20], "a drama"),
        ("films like Ghost Dog and the Cats, but funny", "", [24], "a drama, but funny"),
        ("films like 20,000 Leagues, but funny", "", [26], "a drama, but funny"),
        ("films like Escape from L.A., but funny", "", [27], "a drama, but funny"),
        ("less like Alien and I want it funny", "", [], "a drama, and I want it funny"),
        ("I've seen the first one. A comedy, please", "seen 11", [], "A comedy, please"),
        ("再来点像第二部的，但不要爱情片", "", [12], "a drama，但不要爱情片"),
        ("再来点像第二部的但不要爱情片", "", [12], "a drama，但不要爱情片"),
        ("来点像第二部的喜剧", "", [12], "喜剧"),
        ("像Alien的喜剧，但别那么黑暗", "", [20], "喜剧，但别那么黑暗"),
        ("我看过第一部，不要第三部", "seen 11 dislike 13", [], "a drama"),
        ("我看过第一部和第三部", "seen 11 seen 13", [], "a drama"),
        ("不要第一部，要第二部", "dislike 11", [12], "a drama"),
        # what is said of the same item goes on
        ("I don't like the first one, too violent", "dislike 11", [], "a drama, also too violent"),
        ("不喜欢第一部，太暴力", "dislike 11", [], "a drama，还要太暴力"),
        # one instead of the other; what is only denied
        ("not the first but the second", "dislike 11", [12], "a drama"),
        ("not the first one, the second one", "dislike 11", [12], "a drama"),
        ("I've seen the first one but not the second", "seen 11", [], "a drama"),
        ("more like the second one, not the first", "", [12], "a drama"),
        # a wish, and then an item
        ("a comedy like Alien", "", [20], "a comedy"),
        ("a thriller similar to Heat but not so violent", "", [12], "a thriller, but not so violent"),
        ("a light comedy like the second one, nothing sad", "", [12], "a light comedy, nothing sad"),
        ("nothing scary, but a drama like Alien", "", [20], "a drama, nothing scary, but a drama"),
        ("something funny in the style of sense and sensibility", "", [13], "something funny"),
        ("a crime film like Heat and Alien", "", [12, 20], "a crime film"),
        ("a comedy, but not the first one", "dislike 11", [], "a comedy"),
        ("a comedy, more like the second one", "", [12], "a comedy"),
        ("but nothing scary, more like the second one", "", [12], "a drama, but nothing scary"),
        ("I haven't seen the first one, but more like the second", "", [12], "a drama"),
        ("I'm looking for something like Alien", "", [20], "a drama"),
        ("show me more films like the second one", "", [12], "a drama"),
        ("something more like the second one", "", [12], "a drama"),
        ("can you recommend films similar to Alien?", "", [20], "a drama"),
        ("a comedy (like Alien)", "", [20], "a comedy"),
        ("more like the first one (but funnier)", "", [11], "a drama, but funnier"),
        (
            "a comedy for this one friend of mine, something like Alien",
            "",
            [20],
            "a comedy for this one friend of mine",
        ),
        ("a comedy about apartment number 9, similar to Alien", "", [20], "a comedy about apartment number 9"),
        ("dramas but nothing like the last one", "", [], "dramas"),
        ("i like films like Alien and Heat", "", [20, 12], "a drama"),
        ("movies like sense and sensibility from the 90s", "", [13], "a drama, also from the 90s"),
        # words that say nothing
        ("yes, more like the first one", "", [11], "a drama"),
        ("no, more like the first one", "", [11], "a drama"),
        ("maybe more like the second one", "", [12], "a drama"),
        ("sorry, i've seen the first one", "seen 11", [], "a drama"),
        ("i love the third one, lol", "like 13", [], "a drama"),
        ("more like the second one on your list", "", [12], "a drama"),
        # as people type
        ("ive seen number 3", "seen 13", [], "a drama"),
        ("i dont like the first one", "dislike 11", [], "a drama"),
        ("films like 'Alien'", "", [20], "a drama"),
        ("a comedy like ‘Alien’", "", [20], "a comedy"),
        ("i've seen the first one already", "seen 11", [], "a drama"),
        ("I liked the first one so much! more like it please", "like 11", [11], "a drama"),
        ("please don't show me the first one again", "dislike 11", [], "a drama"),
        ("I haven't seen the first one", "", [], "a drama"),
        ("seen 1, 2, 4", "seen 11 seen 12 seen 14", [], "a drama"),
        ("跟第二部差不多，但是更好笑", "", [12], "a drama，但是更好笑"),
        ("第一部我看过，要第三部那样的", "seen 11", [13], "a drama"),
        ("I've seen the first two", "seen 11 seen 12", [], "a drama"),
        ("I've seen all of these", "seen 11 seen 12 seen 13 seen 14", [], "a drama"),
        ("I liked the first three, more like the last one", "like 11 like 12 like 13", [14], "a drama"),
        ("我看过前两部", "seen 11 seen 12", [], "a drama"),
        # a title that is written as one
        ("I've seen Alien", "seen 20", [], "a drama"),
        ("I've seen Alien, Escape from L.A. and Heat", "seen 20 seen 27 seen 12", [], "a drama"),
        ("I loved Ghost Dog, something like it but funnier", "like 25", [25], "a drama, but funnier"),
        ("I've seen all of these films already", "seen 11 seen 12 seen 13 seen 14", [], "a drama"),
        ("I've seen all of these, but not the second", "seen 11 seen 13 seen 14", [], "a drama"),
        ("I like the first three, but not the second", "like 11 like 13 dislike 12", [], "a drama"),
        ("I've seen the first two. A comedy", "seen 11 seen 12", [], "A comedy"),
        ("I've seen Alien (1979)", "seen 20", [], "a drama"),
        ("i've seen ghost dog and the cats", "seen 24", [], "a drama"),
        ("I don't like “Alien”", "dislike 20", [], "a drama"),
        ("来点像第二部的电影", "", [12], "a drama"),
        # the list, and then something else
        ("start over. A comedy like Alien", "", [20], "A comedy"),
        ("undo, more like the second one", "", [12], "a drama"),
        ("I love the first one, undo", "", [], "a drama"),
    ],
)
def test_several_things_are_heard_one_after_the_other(text: str, reactions: str, toward: list[int], heard: str):
    found = hear(text)
    assert " ".join(f"{kind} {item}" for kind, item in found.reactions) == reactions
    assert found.request.toward == toward and found.request.heard == heard


@pytest.mark.parametrize(
    "text",
    [
        "a comedy, but nothing scary",
        "more like a comedy, but sad",
        "films like Heat and Dust",  # no item is called so
        "films like Heat and the Dust",
        "films like Twin, but funny",  # two are
        "I love it when heroes win, but no war",
        "I like comedies but no romance",
        "not one more war film, but a comedy",
        "not one, but two heroes",
        "not two more",
        "but not two",
        "I know two more",
        "not one a bit scary",
        "I like it a bit darker",
        "a movie under 2 hours, not 3",
        "for my kids who are 4 and 2, like 3",
        "I saw one similar to Alien",
        "i liked one like Alien",
        "I watched Casablanca last night, something like it",
        "i like it when the villain wins, something like that",
        "if it is good, more like it",
        "not 0",
        "i love alien",
        "I like ghost dog",
        "I've seen all of it before",
        "all of these are sad, something funny",
        "the first two hours matter",
        "I love both comedy and drama",
        "I liked all those old westerns",
        "I've seen the first two seasons of Seinfeld",
        "I've seen both Alien and Twin",
        "not all of these",
        "not both of them",
        "I like all of these except the second one",
        "我喜欢都市爱情片",
        "看过都柏林人",
        "Alien is good",
        "I LOVE ALIEN",
        "I love Alien and robots",
        "I don't like Alien, slow films please",
        "don't show me Alien",
        "I like it less violent",
        "more, but funny",
        "but, but, but",
        "more like Heat, " + "but " * 300,
        "a comedy like heat",  # that is no name
        "a man strong like the heat",
        "a comedy like Zorgon",
        "a comedy like Twin",
        "I feel like Heat",
        "people who like Alien",
        "films my kids like. Alien",
        "critics like Alien",
        "she would like Alien",
        "I quite like Alien",
        "is the second one like Alien?",
        "I don’t want films like Alien",
        "i dont like alien",
        "not Alien",
        "no gore like Alien",
        "a film without monsters like Alien",
        "I'm tired of films like Alien",
        "i cant stand films like Alien",
        "anything but films like Alien",
        "stop showing me films like Alien",
        "too many films like Alien",
        "nothing too scary, like Alien",
        "no horror films, like Alien",
        "I don't want horror, like Alien",
        "I have seen enough films like Alien",
        "likely Alien",
        "a film like Alien" + " and so on" * 60,
    ],
)
def test_what_speaks_of_no_item_is_read_as_it_is(text: str):
    found = hear(text)
    assert found.reactions == [] and found.request.toward == found.request.away == [] and found.note == ""
    assert text in found.request.heard
    spoken_of = hear(text, latest=13)
    assert spoken_of.reactions == [] and spoken_of.request.toward == spoken_of.request.away == []
    alone = hear(text, "", shown=[])
    assert alone.reactions == [] and alone.request.toward == alone.request.away == [] and alone.request.heard == text


@pytest.mark.parametrize(
    ("text", "heard"),
    [
        ("I'm looking for a little romance", "I'm looking for a little romance"),
        ("do you have more action", "do you have more action"),
        ("what about a comedy", "what about a comedy"),
        ("I've seen the first one, a comedy please", "I've seen the first one, a comedy please"),
    ],
)
def test_a_request_of_its_own_stays_one(text: str, heard: str):
    assert hear(text, shown=[]).request.heard == heard


def test_a_place_that_is_not_there_is_told_with_its_own_words():
    found = hear("more like the 50th one, but funny")
    assert found.note.startswith("“more like the 50th one”: the list ends at number 4") and found.new == ""


def test_what_is_said_twice_of_one_item_counts_once():
    assert hear("I've seen that and that", latest=13).reactions == [("seen", 13)]


@given(
    st.lists(
        st.sampled_from(
            [
                "more like",
                "like",
                "not",
                "the",
                "second",
                "Heat",
                "and",
                "but",
                ",",
                ".",
                "a film",
                "再来点像",
                "第二部",
                "的",
            ]
        ),
        max_size=12,
    )
)
@settings(max_examples=300, deadline=None)
def test_parts_are_of_the_text_and_shorter(words: list[str]):
    text = " ".join(words)
    found = Finder(SHOWN, titled).find(text)
    if found is not None:
        assert found.said in text and found.before in text and found.rest in text
        assert len(found.before) < len(text) and len(found.rest) < len(text)
        assert found.first.item is not None or found.first.missing
    hear(text)


@pytest.mark.parametrize(
    ("before", "text", "attributes"),
    [
        ("", "a comedy like {}", {"Comedy": "want"}),
        ("a drama", "a comedy like {}", {"Comedy": "want"}),
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
    assert told.heard == answer.heard
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
    answer = session.ask("I've seen the first one, the second and number 4, but I hate the last one", 5)
    told = [("seen", 0), ("seen", 1), ("seen", 3), ("dislike", 4)]
    assert answer.reactions == [{"item": first[at].id, "title": first[at].title, "event": kind} for kind, at in told]
    assert answer.note == " ".join(
        [*(f"You know {first[at].title}." for at in (0, 1, 3)), f"Without {first[4].title}."]
    )
    session.ask("undo", 5)
    kinds = [event.kind for event in session._recommender.store.events(reactions_only=True)]
    assert kinds == ["seen"] * 3 + ["dislike", "undo"]


@pytest.mark.parametrize("before", ["", "a drama"])
def test_more_like_two_items_and_what_else_is_wanted(session: Session, recommender: Recommender, before: str):
    if before:
        session.ask(before, 5)
    one, two = (recommender.catalogue.titles[recommender.catalogue.index[name]] for name in ("i3", "i8"))
    answer = session.ask(f"films like {one} and {two}, a comedy", 5)
    assert answer.note == f"More like {one}. More like {two}." and asked_for(answer)["Comedy"] == "want"
    assert not {"i3", "i8"} & set(ids(answer))
    again = recommender.session("u1")
    for step in answer.steps:
        told = again.ask(step, 5)
    assert ids(told) == ids(answer) and told.steps == answer.steps and told.heard == answer.heard
    answer = session.ask("but no war", 5)
    assert asked_for(answer)["War"] == "avoid" and answer.note.startswith(f"More like {one}.")


def test_a_request_goes_on_from_items_alone(session: Session, recommender: Recommender):
    title = recommender.catalogue.titles[3]
    session.ask(f"films like {title}", 5)
    answer = session.ask("but no war", 5)
    assert answer.note == f"More like {title}." and asked_for(answer) == {"War": "avoid"}
    assert session.ask("a war film", 5).note == "", "a request of its own"


def test_a_place_that_is_missing_stops_there(session: Session):
    before = session.ask("a comedy", 3)
    answer = session.ask("not the fifth one, a drama", 3)
    assert answer.note.startswith("“not the fifth one”: the list ends at number 3")
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
