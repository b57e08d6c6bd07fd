"""What can be said and done, and hard rules: guaranteed for every list, and refused in words."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_instructrec.live import LiveError, Recommender
from recbole_instructrec.live.events import (
    CLICK,
    DISLIKE,
    LIKE,
    RATING,
    REACTIONS,
    SEEN,
    SKIP,
    check_name,
    check_rating,
    check_said,
    liking,
)
from recbole_instructrec.live.rules import Rules
from tests.support import SILENT, make_config, small_items, trained_checkpoint, write_dataset
from tests.support import build_data as built

SCALE = (1.0, 5.0)

# --- what users do --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "value", "speaks"),
    [
        (CLICK, None, 1),
        (LIKE, None, 1),
        (DISLIKE, None, -1),
        (SEEN, None, 0),
        (SKIP, None, 0),
        (RATING, 5.0, 1),
        (RATING, 4.0, 1),
        (RATING, 3.0, 0),
        (RATING, 2.0, -1),
        (RATING, 1.0, -1),
    ],
)
def test_what_speaks_for_an_item(kind: str, value: float | None, speaks: int):
    assert liking(kind, value, SCALE) == speaks


def test_ratings_are_shares_of_their_scale():
    assert [liking(RATING, value, (0.0, 100.0)) for value in (0, 25, 26, 74, 75, 100)] == [-1, -1, 0, 0, 1, 1]
    assert [liking(RATING, value, (-1.0, 1.0)) for value in (-1, 0, 1)] == [-1, 0, 1]


@pytest.mark.parametrize("rating", [1, 1.0, 5, 3.25])
def test_a_rating_in_the_scale_is_a_number(rating: float):
    value = check_rating(RATING, rating, SCALE)
    assert isinstance(value, float) and value == rating


@pytest.mark.parametrize(
    "rating", [None, 0.999, 5.001, True, False, "4", math.nan, math.inf, -math.inf, [4], 10**400, -(10**400)]
)
def test_a_rating_out_of_the_scale_is_refused_in_words(rating: Any):
    with pytest.raises(LiveError, match="rating: a number from 1 to 5 is expected, not"):
        check_rating(RATING, rating, SCALE)


@pytest.mark.parametrize("kind", sorted(set(REACTIONS) - {RATING}))
def test_what_is_no_rating_has_none(kind: str):
    assert check_rating(kind, None, SCALE) is None
    for rating in (4, 0, False):
        with pytest.raises(LiveError, match=rf"rating: a {kind} has none\. Send event=rating, or leave the rating out"):
            check_rating(kind, rating, SCALE)


@pytest.mark.parametrize("kind", ["", "ask", "LIKE", "like ", None, 1, True, ["like"], {"like": 1}, "x" * 10_000])
def test_what_is_no_reaction_is_refused_in_words(kind: Any):
    with pytest.raises(
        LiveError, match="event: one of click, like, dislike, seen, skip, rating, undo is expected"
    ) as caught:
        check_rating(kind, None, SCALE)
    assert len(str(caught.value)) < 200


# --- names and texts ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "u1",
        "Ann Lee",
        "用户一",
        "张\u3000三",
        "o'Brien; DROP TABLE",
        "<b>",
        "🎬",
        "👩\u200d👧",
        "می\u200cخواهم",
        "x" * 200,
    ],
)
def test_names_of_any_script(name: str):
    assert check_name(name, "user") == name


@pytest.mark.parametrize(
    "name", ["", " ", "x" * 201, "a\nb", "a\tb", "a\x00b", "a\x85b", "a\u2028b", "a\ud800b", "\u202eab"]
)
def test_names_that_cannot_be_stored_and_shown_are_refused(name: str):
    with pytest.raises(LiveError, match=r"^user: "):
        check_name(name, "user")


@pytest.mark.parametrize("name", [None, 1, 1.5, True, b"u", ["u"]])
def test_what_is_no_text_is_no_name(name: Any):
    with pytest.raises(LiveError, match="session: a text is expected, not"):
        check_name(name, "session")


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("a \x00comedy\x1b\x9f\n please", "a comedy please"),
        ("a \ud83dcomedy\udc00", "a comedy"),
        ("<b>a</b> comedy &lt;3<!-- and\n more -->", "a comedy <3"),
        ("喜剧 🎬 ', DROP TABLE", "喜剧 🎬 ', DROP TABLE"),
        ("\x00\ud800", ""),
    ],
)
def test_what_is_said_comes_without_control_characters_markup_and_lone_surrogates(text: str, read: str):
    assert check_said(text) == read


@given(st.text())
@settings(max_examples=50)
def test_whatever_is_said_can_be_stored(text: str):
    check_said(text).encode("utf-8")


@pytest.mark.parametrize("text", [None, 1, True, b"comedy", ["comedy"], math.nan])
def test_what_is_no_text_is_not_said(text: Any):
    with pytest.raises(LiveError, match="text: a text is expected, not"):
        check_said(text)


def test_a_book_is_not_said():
    assert len(check_said("a" * 20_000)) == 20_000
    with pytest.raises(LiveError, match=r"text: at most 20,000 characters are taken, not 1,000,000"):
        check_said("a" * 1_000_000)


# --- rules ----------------------------------------------------------------------------------------

PRICES: list[float | None] = [
    None if item % 7 == 3 else round(2.5 + 17.0 * (item * 11 % 25) / 24, 2) for item in range(25)
]
YEARS: list[str] = ["" if item % 9 == 5 else str(1980 + item) for item in range(25)]
GENRES = {item: set(genre.split()) for item, _, genre in small_items()}


def write_films(data_path: Path) -> Path:
    rows = [
        (item, title, genre, YEARS[n], "" if PRICES[n] is None else PRICES[n])
        for n, (item, title, genre) in enumerate(small_items())
    ]
    header = "item_id:token\ttitle:token_seq\tgenre:token_seq\tyear:token\tprice:float"
    return write_dataset(data_path, "films", items=rows, item_header=header)


OPTIONS: dict[str, Any] = {
    **SILENT,
    "load_col": {
        "inter": ["user_id", "item_id", "timestamp"],
        "item": ["item_id", "title", "genre", "year", "price"],
    },
}


@pytest.fixture(scope="module")
def recommender(tmp_path_factory: pytest.TempPathFactory) -> Recommender:
    data_path = write_films(tmp_path_factory.mktemp("rules"))
    return Recommender.load(trained_checkpoint(data_path, **OPTIONS), data_path / "feedback.sqlite")


@pytest.fixture(scope="module")
def rules(recommender: Recommender) -> Rules:
    return recommender.rules


def films(rules: Rules, must: Any = None, must_not: Any = None) -> set[str]:
    """Items that rules leave."""
    allowed = rules.allowed(must, must_not)
    assert allowed is not None
    tokens = rules._dataset.field2id_token["item_id"]
    return {str(tokens[item]) for item in np.flatnonzero(allowed.numpy()) if item}


def fulfils(item: str, column: str, condition: Any) -> bool:
    """The rules, written down once more."""
    number = int(item[1:])
    if column == "genre":
        if isinstance(condition, dict):
            return set(condition["all"]) <= GENRES[item]
        return bool(GENRES[item] & set(condition if isinstance(condition, list) else [condition]))
    cell = PRICES[number] if column == "price" else (float(YEARS[number]) if YEARS[number] else None)
    if not isinstance(condition, dict):
        wanted = condition if isinstance(condition, list) else [condition]
        return cell is not None and cell in [float(one) for one in wanted]
    return cell is not None and condition.get("min", -math.inf) <= cell <= condition.get("max", math.inf)


def test_nothing_demanded_allows_everything(rules: Rules):
    assert rules.allowed(None, None) is None and rules.allowed({}, {}) is None
    assert rules.columns == ["title", "genre", "year", "price"]


def test_numbers_are_compared_as_they_stand_in_the_file(rules: Rules):
    exact = PRICES[4]
    assert films(rules, {"price": exact}) == {f"i{n}" for n in range(25) if PRICES[n] == exact} != set()
    assert films(rules, {"price": {"min": exact, "max": exact}}) == films(rules, {"price": exact}), "bounds included"
    assert films(rules, {"price": {"max": 10}}) == {
        f"i{n}" for n in range(25) if PRICES[n] is not None and PRICES[n] <= 10
    }


def test_an_empty_cell_fulfils_no_condition(rules: Rules):
    empty = {f"i{n}" for n in range(25) if PRICES[n] is None}
    assert len(empty) == 4
    assert not empty & films(rules, {"price": {"min": -1e9}})
    assert films(rules, None, {"price": {"min": -1e9}}) == empty
    no_year = {f"i{n}" for n in range(25) if not YEARS[n]}
    assert len(no_year) == 3 and films(rules, None, {"year": {"max": 3000}}) == no_year


def test_values_are_found_whatever_their_case(rules: Rules):
    assert films(rules, {"genre": "coMEDY"}) == films(rules, {"genre": ["Comedy"]}) == {
        item for item in GENRES if "Comedy" in GENRES[item]
    }  # fmt: skip
    assert films(rules, {"year": 1984}) == films(rules, {"year": "1984"}) == {"i4"}
    assert films(rules, {"year": {"min": 1990, "max": 1992.5}}) == {"i10", "i11", "i12"}


_CONDITIONS = st.one_of(
    st.tuples(st.just("genre"), st.sampled_from(["Comedy", "Drama", "Horror", "War"])),
    st.tuples(
        st.just("genre"), st.lists(st.sampled_from(["Comedy", "Drama", "Horror", "War"]), min_size=1, max_size=3)
    ),
    st.tuples(
        st.just("genre"),
        st.lists(st.sampled_from(["Comedy", "Drama", "War"]), min_size=1, max_size=2).map(lambda names: {"all": names}),
    ),
    st.tuples(st.just("price"), st.floats(0, 25).map(lambda price: {"min": price})),
    st.tuples(
        st.just("price"), st.sampled_from([p for p in PRICES if p is not None]).map(lambda price: {"max": price})
    ),
    st.tuples(
        st.just("price"), st.tuples(st.floats(0, 25), st.floats(0, 25)).map(lambda two: {"min": two[0], "max": two[1]})
    ),
    st.tuples(st.just("year"), st.integers(1975, 2010).map(lambda year: {"max": year})),
    st.tuples(st.just("year"), st.lists(st.sampled_from([y for y in YEARS if y]), min_size=1, max_size=4)),
)
_RULES = st.lists(_CONDITIONS, max_size=3).map(dict)


@settings(max_examples=60, deadline=None)
@given(
    must=_RULES,
    must_not=_RULES,
    user=st.integers(0, 29),
    hide=st.booleans(),
    diversity=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_every_list_keeps_its_rules_and_leaves_out_nothing_else(
    recommender: Recommender, must: dict, must_not: dict, user: int, hide: bool, diversity: float
):
    session = recommender.session(f"u{user}")
    answer = session.ask("", 100, must=must, must_not=must_not, hide_seen=hide, diversity=diversity)
    taken = {one["id"] for one in session.history(100)} if hide else set()
    fits = {
        item
        for item in GENRES
        if all(fulfils(item, *rule) for rule in must.items())
        and not any(fulfils(item, *rule) for rule in must_not.items())
    }
    assert {item.id for item in answer} == fits - taken and len(answer) == len(fits - taken)
    assert answer.note == f"Items that fit the rules and are not left out: {len(answer)}."


@pytest.mark.parametrize("diversity", [0.0, 0.7])
def test_a_list_is_as_long_as_asked_for_where_enough_is_left(recommender: Recommender, diversity: float):
    answer = recommender.session("u1").ask(
        "", 3, must={"genre": ["Comedy", "War"]}, hide_seen=False, diversity=diversity
    )
    assert len(answer) == 3 and answer.note == ""
    assert all(GENRES[item.id] & {"Comedy", "War"} for item in answer)


def test_rules_hold_on_the_next_page_and_after_a_follow_up(recommender: Recommender):
    session = recommender.session("newcomer")
    shown = []
    for text in ("", "more", "more like the first one", "not the last one", "next", "more"):
        answer = session.ask(text, 2, must={"genre": "Drama"}, must_not={"price": {"min": 12}})
        shown += [item.id for item in answer]
        assert all("Drama" in GENRES[item.id] and not fulfils(item.id, "price", {"min": 12}) for item in answer), text
    assert len(shown) >= 8


def test_nothing_left_is_an_empty_list_and_said(recommender: Recommender):
    answer = recommender.session("u1").ask("", 5, must={"price": {"min": 1000}})
    assert len(answer) == 0 and answer.note == "Items that fit the rules and are not left out: 0."


def test_rules_of_one_request_do_not_reach_the_next(recommender: Recommender):
    session = recommender.session("somebody else")
    assert len(session.ask("", 100, must={"genre": "War"})) < 25
    assert len(session.ask("", 100)) == 25


@pytest.mark.parametrize(
    ("must", "words"),
    [
        (
            {"gnre": "Comedy"},
            r"must: the items have no column 'gnre' .*did you mean genre\? \(there are: title, genre, year, price\)",
        ),
        ({"item_id": "i1"}, r"no column 'item_id'"),
        ({"genre": "Commedy"}, r"must: no item has 'Commedy' in genre; did you mean Comedy\? \(there are: .*Horror"),
        ({"genre": ["Comedy", "Wax"]}, r"no item has 'Wax' in genre.*War"),
        ({"genre": True}, r"no item has 'True' in genre"),
        ({"genre": []}, r"must: genre takes a value, a list of values"),
        ({"genre": None}, r"genre takes a value"),
        ({"genre": [["Comedy"]]}, r"genre takes a value"),
        ({"genre": {"any": ["Comedy"]}}, r"genre takes a value"),
        ({"genre": {"all": []}}, r"genre takes a value"),
        ({"genre": {}}, r"genre takes a value"),
        ({"genre": {"min": 3}}, r"genre holds no numbers"),
        ({"title": {"max": 3}}, r"title holds no numbers"),
        ({"year": {"min": "1990"}}, r"year takes a number, or"),
        ({"year": "2050"}, r"no item has '2050' in year"),
        ({"price": "cheap"}, r"price takes a number, or"),
        ({"price": True}, r"price takes a number, or"),
        ({"price": None}, r"price takes a number, or"),
        ({"price": [1, 2]}, r"price takes a number, or"),
        ({"price": {}}, r"price takes a number, or"),
        ({"price": {"max": math.nan}}, r"price takes a number, or"),
        ({"price": {"least": 3}}, r"price takes a number, or"),
        ({"price": {"min": 1, "most": 3}}, r"price takes a number, or"),
        ({"price": {"min": None}}, r"price takes a number, or"),
        ({"price": {"min": {3}}}, r"rules: texts, numbers, lists"),
        ({"genre": object()}, r"rules: texts, numbers, lists"),
        ({("genre",): "Comedy"}, r"rules: texts, numbers, lists"),
        (["genre"], r"must: a mapping of columns to conditions is expected"),
        ("genre", r"must: a mapping of columns to conditions is expected"),
    ],
)
def test_what_cannot_be_a_rule_is_refused_in_words(recommender: Recommender, must: Any, words: str):
    before = recommender.store.count()
    session = recommender.session("u1")
    with pytest.raises(LiveError, match=words):
        session.ask("", 5, must=must)
    with pytest.raises(LiveError, match=words.replace("must:", "must_not:")):
        session.ask("", 5, must_not=must)
    assert recommender.store.count() == before


def test_rules_that_never_end_and_numbers_that_are_too_large_are_no_crash(rules: Rules):
    deep: Any = "Comedy"
    for _ in range(20_000):
        deep = [deep]
    round_about: dict[str, Any] = {}
    round_about["genre"] = round_about
    for must in ({"genre": deep}, round_about):
        with pytest.raises(LiveError, match="rules: texts, numbers"):
            rules.allowed(must, None)
    assert films(rules, {"price": {"max": 10**400}}) == films(rules, {"price": {"min": -1e300}})
    assert films(rules, {"price": {"max": math.inf}}) == films(rules, {"price": {"min": -math.inf}})


def test_a_refusal_names_a_few_of_many_values_and_cuts_long_ones(rules: Rules):
    with pytest.raises(LiveError) as caught:
        rules.allowed({"year": "x" * 10_000}, None)
    assert len(str(caught.value)) < 400 and str(caught.value).endswith(", ...)")


def test_items_without_a_file_have_no_columns(tmp_path: Path):
    data_path = write_dataset(tmp_path / "data", "films", items=[])
    config = make_config(
        data_path, **{**SILENT, "load_col": {"inter": OPTIONS["load_col"]["inter"]}, "intent_field": None}
    )
    rules = Rules(built(config)[0])
    with pytest.raises(LiveError, match=r"no column 'genre' .*\(there are: none\)"):
        rules.allowed({"genre": "Comedy"}, None)
