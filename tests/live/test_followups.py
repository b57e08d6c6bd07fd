"""What is said about a list: which item is meant, in English and Chinese, and what is a request of its own."""

from __future__ import annotations

import configparser
import time
from fnmatch import fnmatch
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

import recbole_instructrec
from recbole_instructrec.live.catalogue import Catalogue
from recbole_instructrec.live.followups import FollowUp, bare_title, follow_up, languages
from recbole_instructrec.live.followups.several import title_sought
from tests.live.support import by_title

SHOWN = [11, 12, 13, 14]
TITLES = {
    12: "Matrix, The",
    13: "Amélie",
    14: "功夫",
    20: "Alien",
    21: "Hamlet",
    22: "Hamlet",
    23: "Schindler's List",
}


titled = by_title(TITLES)


def read(text: str, before: str = "", shown: list[int] = SHOWN) -> FollowUp | None:
    return follow_up(text, before, shown, titled)


@pytest.mark.parametrize(
    ("text", "kind", "item"),
    [
        ("more like the second one", "more_like", 12),
        ("More like the SECOND one, please!", "more_like", 12),
        ("ok, show me something like the last film", "more_like", 14),
        ("similar to number 3", "more_like", 13),
        ("like #4", "more_like", 14),
        ("less like the 1st", "less_like", 11),
        ("nothing like the third one please", "less_like", 13),
        ("not the last one", "dislike", 14),
        ("no to the first", "dislike", 11),
        ("I don't like the second one", "dislike", 12),
        ("i don’t like number two", "dislike", 12),
        ("the second one is bad", "dislike", 12),
        ("I like the second one", "like", 12),
        ("the 3rd looks good", "like", 13),
        ("I've seen the first one", "seen", 11),
        ("I already saw the fourth movie", "seen", 14),
        ("why the second one?", "why", 12),
        ("what about the last one", "why", 14),
        ("再来点像第二部的", "more_like", 12),
        ("请再来点像第二部的，谢谢！", "more_like", 12),
        ("给我类似最后一部的", "more_like", 14),
        ("不要像第一个的", "less_like", 11),
        ("不要最后一个", "dislike", 14),
        ("我不喜欢第3部", "dislike", 13),
        ("第二部不错", "like", 12),
        ("我看过第一部", "seen", 11),
        ("第一部我看过", "seen", 11),
        ("为什么推荐第四部？", "why", 14),
        ("another one like the first", "more_like", 11),
        ("films like number 2", "more_like", 12),
        ("再来点类似第一部的", "more_like", 11),
        ("跟第二部差不多的", "more_like", 12),
        ("更多像第一部那样的", "more_like", 11),
        ("第三部我看过了", "seen", 13),
    ],
)
def test_an_item_is_named_by_its_place(text: str, kind: str, item: int):
    assert read(text) == FollowUp(kind, item)
    assert read(text, before="a comedy") == FollowUp(kind, item), "also where a request came before"


@pytest.mark.parametrize(
    ("text", "kind", "item"),
    [
        ("more like The Matrix", "more_like", 12),
        ("something like matrix!", "more_like", 12),
        ("I loved amelie", "like", 13),
        ("再来点像功夫的", "more_like", 14),
        ("not Alien", "dislike", None),  # only of what is in the list
        ("less like Alien", "less_like", 20),
        ("more like schindlers list", "more_like", 23),
        ("something like Schindler’s List", "more_like", 23),
    ],
)
def test_an_item_is_named_by_its_title_in_the_list_or_out_of_it(text: str, kind: str, item: int | None):
    found = read(text)
    assert (found and (found.kind, found.item)) == ((kind, item) if item else None)


def test_a_title_of_several_items_means_the_one_in_the_list_or_nothing():
    assert read("more like Hamlet") is None
    assert read("more like Hamlet", shown=[11, 22]) == FollowUp("more_like", 22)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("more like the fifth one", "fifth"),
        ("not number 9", "number 9"),
        ("我不喜欢第十个", "第十个"),
        ("more like the fifteenth one", "fifteenth"),
        ("像第二十部的", "第二十部"),
    ],
)
def test_a_place_that_the_list_does_not_have_is_missing(text: str, named: str):
    found = read(text)
    assert found is not None and found.item is None and found.missing == named
    assert read(text, before="a comedy") == found


def test_a_number_that_is_a_title_of_the_list_means_that_item():
    def seven(title: str) -> list[int]:
        return [13] if title == "seven" else []

    assert follow_up("more like seven", "", SHOWN, seven) == FollowUp("more_like", 13)
    assert follow_up("films like Seven", "", [], seven) == FollowUp("more_like", 13), "also before there is a list"
    assert follow_up("more like seven", "", list(range(21, 29)), seven) == FollowUp("more_like", 27), "it has seven"
    assert read("more like seven") == FollowUp("more_like", None, "seven"), "else it is a place"


@pytest.mark.parametrize(
    "text",
    [
        "more like 32",
        "more like the 32nd",
        "like number 32",
        "something like #32",
        "the 32nd one looks good",
        "喜欢第32部",
    ],
)
def test_places_of_a_long_list_are_known_by_number(text: str):
    found = read(text, shown=list(range(101, 151)))
    assert found is not None and found.item == 132
    short = read(text)
    assert short is not None and short.kind == found.kind and short.item is None and "32" in short.missing


def test_this_one_is_the_item_that_was_spoken_of_last():
    for text in ("more like this", "more like this one, please", "再来点像这部的"):
        assert follow_up(text, "", SHOWN, titled, 13) == FollowUp("more_like", 13)
        vague = read(text)
        assert vague is not None and vague.vague and vague.item is None and vague.kind == "more_like"
    assert follow_up("I love it", "", SHOWN, titled, 99) == FollowUp("like", 99), "also where it has left the list"


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("films like Zorgon", "Zorgon"),
        ("Something like The Zorgon II, please", "Zorgon II"),
        ("more like “Zorgon”", "“Zorgon"),
        ("less like schindlers list", "schindlers list"),
        ("类似佐尔贡的", "佐尔贡"),
        ("a comedy", ""),
        ("Zorgon", ""),
        ("films like " + "x" * 600, ""),
    ],
)
def test_a_title_that_is_sought_is_told_as_it_was_written(text: str, title: str):
    assert title_sought(text) == title


@pytest.mark.parametrize("text", ["more like the first one", "not the last one", "最后一个很好"])
def test_without_a_list_every_place_is_missing(text: str):
    found = read(text, shown=[])
    assert found is not None and found.item is None and found.missing


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("more", "more"),
        ("More, please.", "more"),
        ("what else?", "more"),
        ("next", "more"),
        ("换一批", "more"),
        ("还有别的吗？", "more"),
        ("start over", "reset"),
        ("OK, never mind!", "reset"),
        ("重新开始", "reset"),
        ("something I haven't seen", "unseen"),
        ("show me something I haven’t seen", "unseen"),
        ("只要没看过的", "unseen"),
        ("不要看过的", "unseen"),
    ],
)
def test_what_speaks_of_the_whole_list(text: str, kind: str):
    assert read(text) == read(text, "a comedy", []) == FollowUp(kind)


@pytest.mark.parametrize(
    ("text", "before", "joined", "alone"),
    [
        ("but nothing scary", "a comedy", "a comedy, but nothing scary", "nothing scary"),
        ("But nothing scary!", "A comedy, please.", "A comedy, please, But nothing scary!", "nothing scary!"),
        ("no horror", "a comedy", "a comedy, no horror", "no horror"),
        ("less violent", "war films", "war films, less violent", "less violent"),
        ("And a war film", "a comedy", "a comedy, And a war film", "a war film"),
        ("this time, horror", "a comedy", "a comedy, this time, horror", "horror"),
        ("please, without war", "drama?", "drama, please, without war", "please, without war"),
        ("但是不要恐怖片", "喜剧。", "喜剧，但是不要恐怖片", "不要恐怖片"),
        ("不要太长的", "喜剧", "喜剧，不要太长的", "不要太长的"),
        ("请不要恐怖片", "喜剧", "喜剧，请不要恐怖片", "请不要恐怖片"),
        ("more like a western", "a comedy", "a comedy, more like a western", "more like a western"),
        ("not Comedy", "a film", "a film, not Comedy", "not Comedy"),
        ("no horror", "a comedy, no horror", "a comedy, no horror", "no horror"),
        ("but", "a comedy", "a comedy, but", "but"),
    ],
)
def test_what_goes_on_is_read_together_with_what_was_asked_before(text: str, before: str, joined: str, alone: str):
    assert read(text, before) == FollowUp("goes_on", text=joined, alone=alone)
    assert read(text) is None, "without a request before it stands alone"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "?!",
        "a comedy",
        "I like comedies",
        "something like a western",
        "the first war movie",
        "why not",
        "northern lights",
        "butter",
        "the last one standing was a good film, find me another",
        "我喜欢喜剧",
        "来一部喜剧",
        "Another one bites the dust",
        "more or less",
        "nextdoor",
        "not",
    ],
)
def test_a_request_of_its_own_is_no_follow_up(text: str):
    assert read(text) is None


@pytest.mark.parametrize(
    "text", ["a comedy", "northern lights", "butter", "another drama", "来一部喜剧", "Notting Hill"]
)
def test_a_new_request_does_not_go_on_with_the_one_before(text: str):
    assert read(text, "a comedy") is None


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("older", "older"),
        ("only older ones, please", "older"),
        ("something newer", "newer"),
        ("more recent ones", "newer"),
        ("有没有更老的？", "older"),
        ("请给我新一点的", "newer"),
    ],
)
def test_older_and_newer_speak_of_a_list_that_is_there(text: str, kind: str):
    assert read(text) == read(text, "a comedy") == FollowUp(kind)
    alone = read(text, shown=[])
    assert alone is None, "else it is what somebody begins with"


def test_who_is_polite_only_is_no_follow_up_and_no_crash():
    for text in ("please", "ok, thanks", "谢谢", "好的"):
        assert read(text) is None


@pytest.mark.parametrize("text", ["Matrix, The", "The Matrix", "MATRIX", "  the   matrix!", "Thé Mátrix"])
def test_titles_are_the_same_however_they_are_written(text: str):
    assert bare_title(text) == "matrix"


@pytest.mark.parametrize(
    ("listed", "shown", "names"),
    [
        ("Matrix, The", "The Matrix", ["The Matrix"]),
        ("Big Blue, The (Grand bleu, Le)", "The Big Blue (Le Grand bleu)", ["the big blue", "Le grand bleu"]),
        (
            "Professional, The (a.k.a. Leon: The Professional)",
            "The Professional (a.k.a. Leon: The Professional)",
            ["Professional", "leon the professional"],
        ),
        ("Towel, Pink (6-Pack)", "Towel, Pink (6-Pack)", ["towel pink", "Towel, Pink (6-Pack)"]),
        ("(500) Days", "(500) Days", ["500 days"]),
        ("Odd (one", "Odd (one", ["odd one"]),
    ],
)
def test_titles_are_shown_and_found_as_they_are_spoken(listed: str, shown: str, names: list[str]):
    attributes = SimpleNamespace(names=[], matrix=sparse.csr_matrix((3, 1)), years=np.zeros(3, dtype=int))
    tokens = {"item": np.array(["[PAD]", "a", "b"])}
    catalogue = Catalogue(
        SimpleNamespace(field2id_token=tokens, iid_field="item", item_names=["", listed, ""], attributes=attributes)
    )
    assert catalogue.titles[1:] == [shown, "b"]
    assert all(catalogue.titled(bare_title(name)) == [1] for name in names)
    assert not catalogue.titled(bare_title("6-pack")) and not catalogue.titled("500")


def test_a_title_goes_before_a_part_of_another():
    attributes = SimpleNamespace(names=[], matrix=sparse.csr_matrix((4, 1)), years=np.zeros(4, dtype=int))
    names = ["", "Sabrina (Sabrina Fair)", "Sabrina", "Other (Sabrina Fair)"]
    tokens = {"item": np.array(["[PAD]", "a", "b", "c"])}
    catalogue = Catalogue(
        SimpleNamespace(field2id_token=tokens, iid_field="item", item_names=names, attributes=attributes)
    )
    assert catalogue.titled("sabrina") == [2] and catalogue.titled("sabrina fair") == [1, 3]


def test_an_article_alone_is_a_title():
    assert bare_title("The") == "the" and bare_title("The A") == "a" and bare_title("") == ""


WORDS = [
    *["more", "like", "not", "the", "second", "last", "one", "please"],
    "再来点像",
    "第二部",
    "的",
    "不要",
    ",",
    "'",
    "#2",
    "12",
]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.sampled_from(WORDS),
        max_size=7,
    ),
    st.sampled_from(["", " "]),
    st.sampled_from(["", "a comedy"]),
    st.lists(st.integers(1, 30), max_size=5, unique=True),
)
def test_whatever_is_said_an_item_that_is_meant_is_one_of_the_catalogue(
    words: list[str], space: str, before: str, shown: list[int]
):
    found = read(space.join(words), before, shown)
    if found is not None:
        assert found.item is None or found.item in shown or found.item in TITLES
        assert (found.kind == "goes_on") == bool(found.text) and (before or not found.text)
        assert not (found.item and found.missing)


@pytest.mark.parametrize(
    "text",
    ["x " + "please " * 2800 + "y", "请" * 9000 + "y", "i like " + "a " * 9000, "<" * 20_000, "not " + "the " * 5000],
)
def test_long_texts_are_read_in_no_time(text: str):
    begin = time.process_time()
    read(text, "a comedy")
    assert time.process_time() - begin < 0.5


def test_a_long_text_goes_on_from_its_beginning_and_is_else_a_request_of_its_own():
    long = "very " * 2000
    assert read(f"but nothing {long} scary", "a comedy") == FollowUp(
        "goes_on", text=f"a comedy, but nothing {long} scary", alone=f"nothing {long} scary"
    )
    assert read(f"more like the second one {long}") is None
    assert read("more" + "." * 600 + " about the war") is None


def test_every_language_is_packaged():
    folder = Path(recbole_instructrec.__file__).parent
    settings_file = configparser.ConfigParser()
    settings_file.read(folder.parent / "setup.cfg")
    packaged = [pattern.strip() for pattern in settings_file["options.package_data"]["recbole_instructrec"].split(",")]
    assert languages() == ["en", "zh"]
    for language in languages():
        assert any(fnmatch(f"live/followups/{language}.yaml", pattern) for pattern in packaged)
