"""Item neighbours: what is counted, and that a training row never finds its own target in the counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from recbole.utils import get_model
from scipy import sparse

from recbole_instructrec.data.transitions import BACK, DECAY, SPAN, transition_counts
from recbole_instructrec.live.large import LargeCatalogue
from recbole_instructrec.model import neighbours as module
from recbole_instructrec.model.losses import all_scores
from recbole_instructrec.model.neighbours import RECENT, ItemNeighbours, likeness
from tests.support import build_all, build_data, make_config, write_dataset

N_ITEMS = 40


class Users:
    """Users with random histories; ``repeats``: whether items are taken twice."""

    def __init__(self, repeats: bool, n_users: int = 30, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        # What came long before a row is not known to it: users who take things twice are short here.
        length = rng.integers(3, RECENT if repeats else N_ITEMS - 1, n_users)
        draw = (lambda n: rng.integers(1, N_ITEMS, n)) if repeats else (lambda n: rng.permutation(N_ITEMS - 1)[:n] + 1)
        self.histories = [draw(n) for n in length]
        self.item = np.concatenate(self.histories)
        self.start = np.repeat(np.cumsum(length) - length, length)
        self.text = rng.normal(size=(N_ITEMS, 6))

    def neighbours(self, without: int | None = None, text: float = 0.4, **options: float) -> ItemNeighbours:
        """Of all users, or of all but one, on the same scale."""
        target = np.arange(len(self.item)) > self.start
        if without is not None:
            target &= self.start != np.unique(self.start)[without]
        counts = transition_counts(self.item, self.start, target, N_ITEMS)
        everyone = transition_counts(self.item, self.start, np.arange(len(self.item)) > self.start, N_ITEMS)
        taken = np.bincount(self.item, minlength=N_ITEMS)
        has_text = np.arange(N_ITEMS) > 0
        options = {"weight": 2.0, "decay": 0.7, **options}
        whole = ItemNeighbours(everyone, taken, self.text, has_text, text_share=text, **options)
        if without is None:
            return whole
        # The share of the texts and the level are those of everyone's counts.
        alike = likeness(self.text, has_text)
        popularity = taken + 5.0
        scale = [sparse.diags(popularity**-0.4), sparse.diags(popularity**-0.2)]
        sums = [float((scale[0] @ one @ scale[1]).sum()) for one in (everyone, counts)]
        less = ItemNeighbours(counts, taken, self.text, has_text, text_share=text * sums[0] / sums[1], **options)
        less.level = whole.level
        assert alike.nnz
        return less


def test_pairs_are_counted_by_how_far_apart_they_are():
    item = np.array([1, 2, 3, 1, 3])
    start = np.array([0, 0, 0, 3, 3])
    target = np.array([False, True, True, False, True])
    counts = transition_counts(item, start, target, 5).toarray()
    expected = np.zeros((5, 5))
    for before, after, weight in [(1, 2, 1.0), (2, 3, 1.0), (1, 3, DECAY), (1, 3, 1.0)]:
        expected[before, after] += weight
        expected[after, before] += BACK * weight
    np.testing.assert_allclose(counts, expected)


def test_other_parts_are_not_counted():
    item, start = np.array([1, 2, 3, 4]), np.zeros(4, dtype=int)
    counts = transition_counts(item, start, np.array([False, True, False, False]), 6)
    assert counts.nnz == 2 and counts[1, 2] == 1.0 and counts[2, 1] == BACK


def test_scores_are_the_formula():
    users = Users(repeats=True)
    near = users.neighbours()
    history = torch.zeros(1, 60, dtype=torch.long)
    history[0, 3:40:2] = torch.from_numpy(np.resize(users.histories[0], 19))  # zeros in between count for nothing
    matrix = np.zeros((N_ITEMS, N_ITEMS))
    for row in range(N_ITEMS):
        entries = slice(int(near._start[row]), int(near._start[row + 1]))
        matrix[row, near._neighbour[entries].numpy()] = near._value[entries].numpy()
    last = history[history > 0].flip(0)[:RECENT]
    sums = sum(0.7**k * matrix[int(item)] for k, item in enumerate(last))
    np.testing.assert_allclose(near.of_histories(history)[0], 2.0 * np.log1p(sums / near.level), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("repeats", [True, False])
@pytest.mark.parametrize("offset", [0, 4])
def test_a_training_row_is_scored_as_if_its_user_had_not_been_there(
    repeats: bool, dense: bool, offset: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "_DENSE", 10**6 if dense else 0)
    users = Users(repeats)
    everyone = users.neighbours()
    for user in range(6):
        history = torch.from_numpy(users.histories[user])[None]
        if history.shape[1] < offset + 2:
            continue
        others = users.neighbours(without=user)
        earlier, read, targets = history[:, :offset], history[:, offset:-1], history[:, offset:]
        scores = everyone.of_windows(torch.nn.functional.pad(earlier, (0, 3)), read, targets)
        for step in range(targets.shape[1]):
            known = history[:, : offset + step]
            expected = others.of_histories(known) if known.shape[1] else torch.zeros(1, N_ITEMS)
            torch.testing.assert_close(scores[:, step], expected, rtol=1e-3, atol=2e-3)
            if known.shape[1] and not repeats:
                target = targets[:, step]
                alone = everyone.of_prefixes(known, target)
                torch.testing.assert_close(alone[0, target], expected[0, target], rtol=1e-3, atol=2e-3)


def test_a_pair_that_nobody_else_took_is_nothing():
    item, start = np.array([1, 2, 3, 4]), np.array([0, 0, 2, 2])
    counts = transition_counts(item, start, np.array([False, True, False, True]), 5)
    nothing = np.zeros((5, 0)), np.zeros(5, dtype=bool)
    near = ItemNeighbours(counts, np.bincount(item, minlength=5), *nothing, 1.0, 0.5, 0.7)
    scores = near.of_windows(torch.zeros(1, 0).long(), torch.tensor([[1]]), torch.tensor([[1, 2]]))
    assert scores[0, 1, 2] == 0.0
    assert near.of_prefixes(torch.tensor([[1]]), torch.tensor([2]))[0, 2] == 0.0
    assert near.of_histories(torch.tensor([[1]]))[0, 2] > 0.0  # for anybody else


@pytest.mark.parametrize("dense", [True, False])
def test_some_items_are_scored_as_all_are(dense: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "_DENSE", 10**6 if dense else 0)
    users = Users(repeats=False)
    near = users.neighbours()
    history = torch.from_numpy(np.stack([np.resize(one, 12) for one in users.histories[:5]]))
    items = torch.tensor([0, 7, 3, 21, 30])
    every = near.of_histories(history)
    torch.testing.assert_close(near.of_histories(history, items), every[:, items])
    target = torch.tensor([7, 3, 3, 21, 30])
    torch.testing.assert_close(near.of_prefixes(history, target, items), near.of_prefixes(history, target)[:, items])
    targets = torch.cat([history, target[:, None]], 1)
    windows = near.of_windows(history[:, :0], history, targets)
    torch.testing.assert_close(near.of_windows(history[:, :0], history, targets, items), windows[..., items])
    row, item, score = near.entries(history)
    torch.testing.assert_close(torch.zeros_like(every).index_put((row, item), score), every)


def test_without_each_of_the_last():
    users = Users(repeats=False)
    near = users.neighbours()
    history = torch.from_numpy(next(one for one in users.histories if len(one) > RECENT + 4))
    items = torch.tensor([5, 9, 11])
    found = near.without_each(history, items, 3)
    torch.testing.assert_close(found[-1:], near.of_histories(history[None], items))
    for place in range(3):
        at = len(history) - 3 + place
        left = torch.cat([history[:at], history[at + 1 :]])
        torch.testing.assert_close(found[place : place + 1], near.of_histories(left[None], items))


def test_texts_alone_and_counts_alone():
    users = Users(repeats=False)
    nothing = sparse.csr_matrix((N_ITEMS, N_ITEMS))
    has_text = np.arange(N_ITEMS) > 1
    texts = ItemNeighbours(nothing, np.zeros(N_ITEMS), users.text, has_text, 1.0, 1.0, 0.7)
    scores = texts.of_histories(torch.tensor([[5]]))[0]
    unit = users.text[has_text] / np.linalg.norm(users.text[has_text], axis=1, keepdims=True)
    unit = unit - unit.mean(0)
    unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
    cosine = unit @ unit[5 - 2]
    cosine[5 - 2] = -np.inf
    assert int(scores.argmax()) == int(cosine.argmax()) + 2
    assert scores[1] == 0.0 and scores[0] == 0.0 and scores[5] == 0.0
    empty = ItemNeighbours(nothing, np.zeros(N_ITEMS), users.text[:, :0], has_text & False, 1.0, 1.0, 0.7)
    assert not empty.of_histories(torch.tensor([[5]])).any()


def test_what_is_far_does_not_count():
    item = np.arange(1, SPAN + 3)
    counts = transition_counts(item, np.zeros(len(item), dtype=int), np.arange(len(item)) > 0, N_ITEMS)
    assert counts[1, SPAN + 1] > 0 and counts[1, SPAN + 2] == 0


@pytest.mark.parametrize("wrong", [{"weight": -1.0}, {"text": -0.1}, {"decay": 1.5}])
def test_options_out_of_range(wrong: dict[str, float]):
    with pytest.raises(ValueError, match="neighbour_weight"):
        Users(repeats=False).neighbours(**wrong)


# --- in the model ----------------------------------------------------------------------------


def build(films: Path, **options: Any) -> tuple[Any, Any, Any]:
    """A model with neighbours, its training loader and its test loader."""
    config = make_config(films, **{"neighbour_weight": 2.0, **options})
    _, train, _, test = build_data(config)
    torch.manual_seed(1)
    return get_model("InstructRec")(config, train._dataset).eval(), train, test


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"MAX_ITEM_LIST_LENGTH": 8, "encoder_length": 3},
        {"training_rows": "prefixes"},
        {"training_rows": "prefixes", "MAX_ITEM_LIST_LENGTH": 8, "encoder_length": 3},
    ],
    ids=["windows", "short windows", "prefixes", "short prefixes"],
)
def test_the_loss_does_not_depend_on_its_chunks(films: Path, options: dict[str, Any]):
    model, train, _ = build(films, train_batch_size=7, **options)
    batch = next(iter(train))
    model.loss_chunk = 0
    whole = model.calculate_loss(batch)
    model.loss_chunk = 3
    torch.testing.assert_close(model.calculate_loss(batch), whole)
    model.neighbours, without = None, model.neighbours
    assert without is not None and not torch.isclose(model.calculate_loss(batch), whole)


def test_windows_and_prefixes_score_a_target_alike(films: Path):
    found = {}
    for kind in ("windows", "prefixes"):
        model, train, _ = build(films, training_rows=kind, MAX_ITEM_LIST_LENGTH=30)
        found[kind] = {}
        for batch in train:
            items, targets = batch["item_id_list"], batch["item_id"]
            at = torch.nonzero(targets, as_tuple=True) if targets.dim() > 1 else None
            further = model._of_training_rows(items[:, :0], items, targets, at)(slice(None))
            rows = at[0] if at else torch.arange(len(targets))
            wanted = targets[at] if at else targets
            step = at[1] if at else batch["item_length"]
            score = further.gather(1, wanted[:, None])[:, 0]
            keys = zip(batch["user_id"][rows].tolist(), step.tolist(), score.tolist(), strict=True)
            found[kind] |= {(user, step): score for user, step, score in keys}
    assert found["windows"].keys() == found["prefixes"].keys() and len(found["windows"]) > 100
    both = np.array([(found["windows"][key], found["prefixes"][key]) for key in found["windows"]])
    np.testing.assert_allclose(both[:, 0], both[:, 1], rtol=1e-3, atol=1e-3)
    assert both[:, 0].std() > 0.1


def test_sampled_softmax_over_everything(films: Path):
    model, train, _ = build(films, loss_items=5000)
    batch = next(iter(train))
    torch.manual_seed(0)
    sampled = model.calculate_loss(batch)
    model.sampled = None
    torch.testing.assert_close(sampled, model.calculate_loss(batch), rtol=1e-2, atol=1e-2)


def test_a_large_catalogue_is_scored_alike(films: Path):
    model, _, test = build(films)
    batch = test._dataset[:]
    said = model.hear(["some comedy"] * len(batch))
    state, context, seen = model.situations(batch, said)
    directions = model.item_directions()[1]
    with torch.no_grad():
        scores = model.scores(state, directions, said, context, seen)
        exact = all_scores(scores)
        quick = LargeCatalogue(model).scores(scores.hidden, said, directions, seen)
        some = torch.tensor([4, 9, 2])
        few = all_scores(model.scores(state, directions, said, context, seen, some))
    torch.testing.assert_close(quick[:, 1:], exact[:, 1:], rtol=0.02, atol=0.1)
    not_seen = ~(seen.unsqueeze(2) == some).any(1)
    torch.testing.assert_close(few[not_seen], exact[:, some][not_seen], rtol=1e-4, atol=1e-4)


def test_what_others_took_next_is_found_in_one_epoch(tmp_path: Path):
    """Everybody walks along a ring of items, from a place of their own: the next one is in the counts."""
    rng = np.random.default_rng(0)
    rows = []
    for user in range(60):
        place = int(rng.integers(60))
        rows += [(f"u{user}", f"i{(place + step) % 60}", step) for step in range(8)]
    write_dataset(tmp_path / "data", "ring", rows, [(f"i{n}", f"thing {n}", "a") for n in range(60)])
    found = {}
    for weight in (0.0, 4.0):
        options = {
            "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
            "item_text_fields": [],
            "intent_field": None,
            "valid_metric": "NDCG@12",  # those before the next one are near too, and not yet known not to come again
        }
        config = make_config(tmp_path / "data", dataset="ring", epochs=1, neighbour_weight=weight, topk=[12], **options)
        _, trainer, train, valid, _ = build_all(config)
        trainer.fit(train, valid, verbose=False)
        found[weight] = float(trainer.best_valid_result["recall@12"])
    assert found[4.0] > 0.8 > 2 * found[0.0], found
