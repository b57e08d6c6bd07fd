"""What was understood, and why an item is there."""

from __future__ import annotations

import json
import re

import pytest
import torch

from recbole_instructrec.live import Recommender, Session
from recbole_instructrec.live.ranking import Ranker, Want
from recbole_instructrec.live.reasons import _joined, _named
from recbole_instructrec.live.users import UserState
from tests.live.support import ATTRIBUTES, history, ids, rows


def test_what_is_asked_for_is_understood_and_counts(recommender: Recommender):
    answer = recommender.session("a newcomer").ask("a funny comedy please, nothing scary", 5)
    found = {(one["attribute"], one["sign"]) for one in answer.understood}
    assert found == {("Comedy", "want"), ("Horror", "avoid")} and answer.degree == "normal"
    assert all(0.5 < one["confidence"] <= 1 for one in answer.understood)
    first = [ATTRIBUTES[item] for item in ids(answer)[:3]]
    assert all("Comedy" in one and "Horror" not in one for one in first)
    assert answer.heard == "a funny comedy please, nothing scary"


@pytest.mark.parametrize("text", ["a funny comedy please", "<i>a funny comedy</i>\n&amp; nothing scary"])
def test_words_of_the_reasons_stand_in_the_text(recommender: Recommender, text: str):
    answer = recommender.session("u1").ask(text, 5)
    one = next(one for one in answer.understood if one["attribute"] == "Comedy")
    assert "comedy" in [word for word, _ in one["words"]]
    every = [pair for one in answer.understood for pair in one["words"]]
    every += [pair for item in answer for pair in item.reasons.words]
    for word, weight in every:
        assert word in answer.heard.split() or word.strip(",;&") in answer.heard.split(), word
        assert 0.15 <= weight <= 1.0


def test_the_sentence_names_what_was_asked_for_and_what_is_kept_away(recommender: Recommender):
    answer = recommender.session("u1").ask("a comedy, nothing scary", 25, hide_seen=False)
    for item in answer:
        sentence = item.reasons.sentence
        assert sentence.startswith(("It is what you asked for, Comedy;", "It is what you asked for, Comedy.")) == (
            "Comedy" in ATTRIBUTES[item.id]
        )
        assert ("it is not Horror" in sentence.lower().replace("horror", "Horror")) == (
            "Horror" not in ATTRIBUTES[item.id]
        )
        assert item.reasons.attributes == (["Comedy"] if "Comedy" in ATTRIBUTES[item.id] else [])
        assert sentence[0].isupper() and sentence.endswith(".")
        assert set(item.attributes) == ATTRIBUTES[item.id] and item.title == f"Film number {item.id[1:]}"


def test_a_word_that_is_not_the_attributes_name_is_named(recommender: Recommender):
    answer = recommender.session("u1").ask("comedies", 25, hide_seen=False)
    named = [item.id for item in answer if "Comedy (heard in “comedies”)" in item.reasons.sentence]
    assert named and all("Comedy" in ATTRIBUTES[item] for item in named)


@pytest.mark.parametrize(
    ("kind", "user"), [("of_none", "u0"), ("of_none", "u9"), ("recommender", "u4"), ("of_neighbours", "u4")]
)
def test_reasons_from_the_history_are_what_the_score_loses_without_each_item(
    request: pytest.FixtureRequest, kind: str, user: str
):
    recommender: Recommender = request.getfixturevalue(kind)
    assert len(recommender.model.neighbours) == {"of_none": 0, "recommender": 1, "of_neighbours": 2}[kind]
    model, read = recommender.model, history(recommender, user)[-8:]
    assert len(read) > 2
    whole = model.full_sort_predict(rows(recommender, [read]))[0]
    without = model.full_sort_predict(rows(recommender, [read[:gone] + read[gone + 1 :] for gone in range(len(read))]))
    answer = recommender.session(user).ask("", 10, hide_seen=True)
    named = 0
    for item in answer:
        falls = (whole - without)[:, recommender.catalogue.index[item.id]]
        order = falls.argsort(descending=True).tolist()[:2]
        expected = [(recommender.catalogue.tokens[read[at]], float(falls[at])) for at in order if falls[at] > 0]
        assert [token for token, _ in item.reasons.history] == [token for token, _ in expected]
        assert [fall for _, fall in item.reasons.history] == pytest.approx([fall for _, fall in expected], abs=2e-3)
        for token, _ in expected:
            assert recommender.catalogue.titles[recommender.catalogue.index[token]] in item.reasons.sentence
        assert ("which you took before" in item.reasons.sentence) == bool(expected)
        named += len(expected)
    assert named > 5


def test_what_is_near_as_a_neighbour_is_named_as_like_it(of_neighbours: Recommender):
    session = of_neighbours.session("u4")
    anchor = session.ask("", 10, hide_seen=True).items[0]
    number = of_neighbours.catalogue.index[anchor.id]
    answer = session.ask("more like the first one", 25)
    directions = of_neighbours.model.item_directions()[1]
    alone = torch.tensor([[number]])
    nearness = torch.stack([one.of_histories(alone)[0] for one in of_neighbours.model.neighbours]).sum(0)
    likeness = directions @ directions[number]
    likeness[number] = -torch.inf
    nearest = [set(values[1:].topk(3).indices.add(1).tolist()) for values in (likeness, nearness)]
    assert nearest[1] - nearest[0], "neighbours that the vectors do not name"
    for item in answer:
        near = any(of_neighbours.catalogue.index[item.id] in one for one in nearest)
        assert (anchor.title in item.reasons.sentence.split(" you took before")[0]) == near, item.reasons.sentence


def test_reasons_of_a_batch_are_those_of_each_alone(recommender: Recommender):
    alone = [recommender.session(user).ask("", 4) for user in ("u0", "nobody", "u4")]
    sessions = [recommender.session(user) for user in ("u0", "nobody", "u4")]
    together = recommender.answer([(one, one.prepare("", 4)) for one in sessions])
    for one, other in zip(alone, together, strict=True):
        assert [item.reasons.sentence for item in one] == [item.reasons.sentence for item in other]


def test_reasons_can_be_left_out_and_answers_are_plain_data(session: Session):
    answer = session.ask("a comedy", 3, reasons=False)
    assert [item.reasons for item in answer] == [None] * 3
    plain = json.loads(json.dumps(session.ask("a comedy", 3).plain()))
    assert len(plain["items"]) == 3 and plain["items"][0]["reasons"]["sentence"]


def test_an_attribute_that_is_not_meant_is_taken_back(session: Session):
    text = "a funny comedy please, nothing scary"
    both = session.ask(text, 25, hide_seen=False)
    one = session.ask(text, 25, hide_seen=False, without=["Comedy"])
    assert [u["attribute"] for u in one.understood] == ["Horror"]
    none = session.ask(text, 25, hide_seen=False, without=["Comedy", "Horror"])
    assert none.understood == [] and none.degree is None
    assert len({tuple(ids(answer)) for answer in (both, one, none)}) == 3
    assert [u["attribute"] for u in session.ask(text, 25, without=["Western"]).understood] == ["Comedy", "Horror"]


def test_what_is_taken_back_counts_for_one_request_of_a_batch_alone(recommender: Recommender):
    sessions = [recommender.session(f"u{n}") for n in range(4)]
    without: list[list[str]] = [["Comedy"], [], ["Comedy"], []]
    texts = ["a comedy", "a comedy", "", "a war film"]
    prepared = [one.prepare(t, 4, without=w) for one, t, w in zip(sessions, texts, without, strict=True)]
    answers = recommender.answer(list(zip(sessions, prepared, strict=True)))
    assert [[u["attribute"] for u in one.understood] for one in answers] == [[], ["Comedy"], [], ["War"]]
    assert [len(item.reasons.words) > 0 for item in answers[1] if "Comedy" in item.attributes].count(False) == 0


def test_words_of_a_script_without_spaces_are_told_whole(recommender: Recommender, monkeypatch):
    text, explainer = "来一部恐怖片吧", recommender.explainer
    monkeypatch.setattr(recommender.model, "spans", lambda said: [(place, place + 1) for place in range(len(said))])
    column = recommender.model.attribute_names.index("Horror")
    attention = torch.zeros(len(text), len(recommender.model.attribute_names))
    attention[3, column], attention[4, column] = 0.6, 0.3
    attention[0, column] = 0.1
    one = Ranker(recommender.model, recommender.dataset)([Want(UserState(), text)])[0]
    one.attention = attention
    found = explainer.words(one, text, "Horror")
    assert found[0][0] in ("恐怖", "恐怖片") and found[0][1] == pytest.approx(0.9) and len(found) == 1


def test_reasons_and_notes_are_in_the_language_that_is_spoken(session: Session):
    answer = session.ask("a comedy", 5)
    assert all(re.search(r"[a-z]", item.reasons.sentence.split("“")[0]) for item in answer)
    answer = session.ask("换一批", 5)
    fits = [item for item in answer if "Comedy" in item.attributes]
    assert fits and all(item.reasons.sentence.startswith("正是你要的：喜剧（听到“comedy”）") for item in fits)
    assert session.ask(None, 5).items[0].reasons.sentence.endswith("。"), "the language stays"
    assert session.ask("重新开始", 5).note == "重新开始。"
    answer = session.ask("喜剧", 5)
    assert answer.note == "这个模型没有学过中文，听到的可能不对。"
    assert "没有学过" in session.ask(None, 5).note, "as long as it is so"
    assert "没有学过" in session.ask("不要恐怖片", 5).note and not session.ask("a drama", 5).note
    session.ask("喜剧", 5)
    assert session.ask("but no horror", 5).note == "", "these words are understood"
    answer = session.ask("喜剧", 5, language="en")
    assert answer.note == "This model was not taught this language; what it heard may be wrong."
    assert session.ask("a comedy", 5, language="zh").items[0].reasons.sentence.endswith("。")
    assert session.ask("something new to me", 5).note == "Without what you took before."


def test_a_word_of_a_script_without_spaces_is_named_whole():
    text, names = "来点90年代的动作片", ["Action", "动作片"]
    at = text.index("动")
    for begin, end in ((at, at + 1), (at + 1, at + 2), (at, at + 3)):
        assert _named(text, (begin, end), names) == (at, at + 3)
    assert _named(text, (0, 1), names) == (0, 1)
    assert _named("some action", (5, 8), ["Action", "action"]) == (5, 8), "words with spaces are whole already"
    shares = {(at, at + 1): 0.5, (at + 1, at + 2): 0.4, (0, 1): 0.1, (2, 4): 0.2}
    assert _joined(text, shares) == {(at, at + 2): 0.9, (0, 1): 0.1, (2, 4): 0.2}
