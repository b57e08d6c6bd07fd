"""Lists are the model's own: what stands in them, and what never does."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from recbole_instructrec.live import Answer, Recommender
from recbole_instructrec.live.ranking import Ranker, Want
from recbole_instructrec.live.users import UserState
from recbole_instructrec.model.losses import all_scores
from tests.live.support import check_list, history, ids, ranking, rows
from tests.support import (
    small_interactions,
)


@pytest.mark.parametrize("user", ["u0", "u1", "u7", "a newcomer"])
def test_a_list_is_the_models_own_where_nothing_is_hidden(recommender: Recommender, user: str):
    row = rows(recommender, [history(recommender, user)])
    scores = recommender.model.full_sort_predict(row)[0]
    check_list(recommender.session(user).ask("", 25, hide_seen=False), ranking(recommender, scores))


def test_the_history_of_a_user_is_that_of_the_file_in_its_order(recommender: Recommender):
    lines = sorted((time, item) for user, item, time in small_interactions() if user == "u3")
    assert [one["id"] for one in reversed(recommender.session("u3").history(100))] == [item for _, item in lines]
    assert recommender.session("a newcomer").history() == []


@pytest.mark.parametrize("user", ["u1", "a newcomer"])
def test_a_list_for_a_request_is_the_models_own(recommender: Recommender, user: str):
    number, text = next((n, text) for n, text in enumerate(recommender.dataset.instructions.texts) if "Horror" in text)
    row = rows(recommender, [history(recommender, user)], number)
    answer = recommender.session(user).ask(text, 25, hide_seen=False)
    said = recommender.model.hear([text])
    check_list(answer, ranking(recommender, all_scores(recommender.model.request(row, said))[0].detach()))
    check_list(answer, ranking(recommender, recommender.model.full_sort_predict(row)[0]), tolerance=2e-2)
    silent = recommender.model.full_sort_predict(rows(recommender, [history(recommender, user)]))[0]
    assert ids(answer) != [item for item, _ in ranking(recommender, silent)]


def test_requests_answered_together_are_answered_as_alone(recommender: Recommender):
    asked = [("u1", "a comedy"), ("u2", ""), ("nobody", "a comedy"), ("u3", "no horror please"), ("u4", "War")]
    alone = [recommender.session(user).ask(text, 6) for user, text in asked]
    sessions = [recommender.session(user) for user, _ in asked]
    prepared = [one.prepare(text, 6) for one, (_, text) in zip(sessions, asked, strict=True)]
    together = recommender.answer(list(zip(sessions, prepared, strict=True)))
    for one, other in zip(alone, together, strict=True):
        check_list(other, [(item.id, item.score) for item in one])
        assert [u["attribute"] for u in one.understood] == [u["attribute"] for u in other.understood]


def test_threads_are_answered_as_one_after_the_other(recommender: Recommender):
    alone = {user: ids(recommender.session(user).ask("a comedy", 5)) for user in ("u1", "u2", "u3")}
    found: dict[str, list[list[str]]] = {user: [] for user in alone}

    def ask(user: str) -> None:
        for _ in range(5):
            found[user].append(ids(recommender.session(user).ask("a comedy", 5)))

    threads = [threading.Thread(target=ask, args=(user,)) for user in alone]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {user: [items] * 5 for user, items in alone.items()}


@pytest.mark.parametrize("hide", [True, False])
def test_what_was_taken_is_left_out_or_not(recommender: Recommender, hide: bool):
    session = recommender.session("u2")
    taken = {one["id"] for one in session.history(100)}
    answer = session.ask("", 25, hide_seen=hide)
    assert bool(taken & set(ids(answer))) is not hide
    assert len(answer) == (25 - len(taken) if hide else 25)


@pytest.mark.parametrize("repeat", [1.0, -1.0])
def test_by_default_what_was_taken_is_left_out_where_the_model_has_learned_that(
    loaded: tuple, tmp_path: Path, repeat: float
):
    _, model, dataset, _ = loaded
    before = model.repeat.item()
    try:
        model.repeat.data.fill_(repeat)
        session = Recommender(model, dataset, tmp_path / "f.sqlite").session("u2")
        taken = {one["id"] for one in session.history(100)}
        assert bool(taken & set(ids(session.ask("", 25)))) is (repeat > 0)
    finally:
        model.repeat.data.fill_(before)


def test_a_diverse_list_begins_with_the_best_and_is_less_alike(recommender: Recommender):
    session = recommender.session("u1")

    def likeness(answer: Answer) -> float:
        _, directions = recommender.model.item_directions()
        vectors = directions[[recommender.catalogue.index[item] for item in ids(answer)]]
        return float((vectors @ vectors.T).sum() - len(answer))

    with torch.no_grad():
        plain = session.ask("", 6, hide_seen=False)
        lists = [session.ask("", 6, hide_seen=False, diversity=share) for share in (0.0, 0.4, 1.0)]
        assert ids(lists[0]) == ids(plain)
        assert {ids(one)[0] for one in lists} == {ids(plain)[0]} and len(set(ids(lists[2]))) == 6
        assert likeness(lists[2]) < likeness(lists[1]) < likeness(lists[0])


def test_of_items_that_look_alike_a_list_has_one(loaded: tuple, tmp_path: Path, monkeypatch):
    _, model, dataset, parts = loaded
    names = list(dataset.item_names)
    same = [
        item
        for item in range(1, 26)
        if np.array_equal(dataset.attributes.matrix[item].toarray()[0], dataset.attributes.matrix[1].toarray()[0])
    ]
    assert len(same) > 1
    for item in same:
        names[item] = "A film of one name"
    monkeypatch.setattr(dataset, "item_names", names)
    recommender = Recommender(model, dataset, tmp_path / "alike.sqlite", parts=parts)
    plain = recommender.session("a newcomer").ask("", 25, hide_seen=False)
    titles = [item.title for item in plain]
    assert titles.count("A film of one name") == 1 and len(titles) == 25 - len(same) + 1
    monkeypatch.setattr(recommender._ranker, "_twin", None)
    every = [item.id for item in recommender.session("a newcomer").ask("", 25, hide_seen=False)]
    tokens = {recommender.catalogue.tokens[item] for item in same}
    best = next(one for one in every if one in tokens)
    assert [item.id for item in plain] == [one for one in every if one == best or one not in tokens]


def test_what_looks_like_an_item_that_is_left_out_is_left_out_too(loaded: tuple, tmp_path: Path, monkeypatch):
    _, model, dataset, parts = loaded
    monkeypatch.setattr(dataset, "item_names", ["" if not item else "One name" for item in range(26)])
    recommender = Recommender(model, dataset, tmp_path / "alike.sqlite", parts=parts)
    session = recommender.session("a newcomer")
    first = session.ask("", 1).items[0]
    session.feedback(first.id, "dislike")
    assert all(sorted(item.attributes) != sorted(first.attributes) for item in session.ask("", 25))


def test_a_ranker_answers_nothing_with_nothing(recommender: Recommender):
    ranker = Ranker(recommender.model, recommender.dataset)
    assert ranker([]) == []
    one = ranker([Want(UserState(), k=100, left_out=list(range(26)))])[0]
    assert one.items == [] and one.scores == []


def test_a_model_with_neighbours_answers_and_learns(of_neighbours: Recommender):
    session = of_neighbours.session("u1")
    for number in range(4):
        answer = session.ask("some comedy" if number % 2 else "", k=6)
        session.feedback(answer.items[number].id, "like")
    assert of_neighbours.learn()["note"]
    assert len(session.ask("", k=6)) == 6 and len(of_neighbours.model.neighbours) == 2
