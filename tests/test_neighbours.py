"""Item neighbours: what is counted, how it scores, and that training does not see it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from recbole.utils import get_model
from scipy import sparse

from recbole_instructrec.data.transitions import DECAY, MOST_PAIRS, SPAN, transition_counts
from recbole_instructrec.live import ranking
from recbole_instructrec.live.large import LargeCatalogue, best_of_many
from recbole_instructrec.live.ranking import AWAY, TOWARD, Ranker, Want
from recbole_instructrec.live.users import UserState
from recbole_instructrec.model import neighbours as module
from recbole_instructrec.model.losses import all_scores
from recbole_instructrec.model.neighbours import RECENT, ItemNeighbours, Moved, likeness
from tests.support import SILENT, build_all, build_data, make_config, small_interactions, write_dataset

N_ITEMS = 40


def counts_of(
    *histories: list[int], parts: list[list[bool]] | None = None, back: float = 0.5, most: int = MOST_PAIRS
) -> np.ndarray:
    """Counts of some histories, of which all but the first items are targets."""
    item = np.concatenate([np.array(history) for history in histories])
    length = np.array([len(history) for history in histories])
    start = np.repeat(np.cumsum(length) - length, length)
    target = np.arange(len(item)) > start
    if parts is not None:
        target &= np.concatenate([np.array(part) for part in parts])
    known = target | (np.arange(len(item)) == start)
    blocks = list(transition_counts(item, start, target, known, N_ITEMS, back, most))
    assert len(blocks) > 1 or most > len(item)
    return sparse.vstack(blocks).toarray()


def plain(counts: Any, text: np.ndarray | None = None, taken: float = 10.0, **options: float) -> ItemNeighbours:
    """Neighbours by counts, and by texts where they are given."""
    settings = {"weight": 2.0, "text_share": 0.5, "decay": 0.7, **options}
    has_text = np.arange(N_ITEMS) > 0 if text is not None else np.zeros(N_ITEMS, dtype=bool)
    texts = np.zeros((N_ITEMS, 0)) if text is None else text
    taken_often = np.full(N_ITEMS, taken)
    return ItemNeighbours.of_transitions([sparse.csr_matrix(counts)], taken_often, texts, has_text, **settings)


def by_users(*sets: list[int], longest: int = 60, most: int = MOST_PAIRS) -> ItemNeighbours:
    """Neighbours by the users in common of some sets of items."""
    took = np.zeros((len(sets), N_ITEMS))
    for row, items in enumerate(sets):
        took[row, items] = 1.0
    return ItemNeighbours.of_users(sparse.csr_matrix(took), 2.0, longest, most)


# --- counts ----------------------------------------------------------------------------------


@pytest.mark.parametrize("back", [0.0, 0.5, 1.0])
def test_pairs_are_counted_by_how_far_apart_they_are(back: float):
    expected = np.zeros((N_ITEMS, N_ITEMS))
    for before, after, weight in [(1, 2, 1.0), (2, 3, 1.0), (1, 3, DECAY), (1, 3, 1.0)]:
        expected[before, after] += weight
        expected[after, before] += back * weight
    np.testing.assert_allclose(counts_of([1, 2, 3], [1, 3], back=back), expected)


def test_other_parts_are_not_counted_on_either_side():
    counts = counts_of([1, 2, 3, 4], parts=[[True, False, True, False]])  # 2 and 4 are of other parts
    assert set(zip(*np.nonzero(counts), strict=True)) == {(1, 3), (3, 1)}


def test_what_is_far_does_not_count_and_nothing_leads_to_itself():
    counts = counts_of([*range(1, SPAN + 3)], [5, 5, 6])
    assert counts[1, SPAN + 1] > 0 and counts[1, SPAN + 2] == 0
    assert not counts.diagonal().any() and counts[5, 6] == 1 + 1 + DECAY


def test_counts_in_blocks_are_the_same():
    assert np.array_equal(counts_of(*histories(), most=100), counts_of(*histories()))


# --- scores ----------------------------------------------------------------------------------


def histories(seed: int = 0, n: int = 30) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [(rng.permutation(N_ITEMS - 1)[: rng.integers(3, N_ITEMS)] + 1).tolist() for _ in range(n)]


def test_scores_are_the_formula():
    counts = counts_of(*histories())
    near = plain(counts)
    history = torch.zeros(1, 60, dtype=torch.long)
    history[0, 3:53:2] = torch.arange(1, 26)  # zeros in between count for nothing
    scale = 15.0**-0.4 * 15.0**-0.2
    sums = sum(0.7**k * scale * counts[25 - k] for k in range(RECENT))
    level = scale * counts.sum() / N_ITEMS * N_ITEMS / N_ITEMS / (N_ITEMS - 1) * sum(0.7**k for k in range(RECENT))
    expected = 2.0 * np.log1p(sums / level)
    expected[:26] = 0.0  # of padding and of what was seen
    np.testing.assert_allclose(near.of_histories(history)[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("of_users", [False, True])
@pytest.mark.parametrize("entries", [1, 1 << 24])
def test_some_items_are_scored_as_all_are(entries: int, of_users: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "_MOST_ENTRIES", entries)
    text = np.random.default_rng(0).normal(size=(N_ITEMS, 6))
    near = by_users(*histories()) if of_users else plain(counts_of(*histories()), text)
    history = torch.tensor([np.resize(one, 12).tolist() for one in histories(1, 5)])
    every = near.of_histories(history)
    for items in ([0, 7, 3, 21, 30], [5, 1]):
        torch.testing.assert_close(near.of_histories(history, torch.tensor(items)), every[:, items])
    row, item, score = near.entries(history)
    torch.testing.assert_close(torch.zeros_like(every).index_put((row, item), score), every)
    assert not every.gather(1, history).any() and not every[:, 0].any()


@pytest.mark.parametrize("of_users", [False, True])
def test_one_product_of_all_histories_is_what_gathering_brings(of_users: bool, monkeypatch: pytest.MonkeyPatch):
    near = by_users(*histories()) if of_users else plain(counts_of(*histories()))
    history = torch.tensor([[0] * 3 + np.resize(one, 9).tolist() for one in histories(1, 5)])
    moved = module.Moved(torch.tensor([[4, 0], [7, 9], [0, 0], [1, 2], [3, 3]]), torch.tensor([[0.5, -0.2]] * 5))
    calls = []
    product = near._product
    monkeypatch.setattr(near, "_product", lambda *args: calls.append(1) or product(*args))
    gathered = {}
    for per_item in (0, N_ITEMS):  # few neighbours in a large catalogue are gathered
        near._per_item, before = per_item, len(calls)
        for name, towards in {"alone": None, "moved": moved}.items():
            found = (near.of_histories(history, None, towards), *near.entries(history, towards))
            for one, other in zip(found, gathered.setdefault(name, found), strict=True):
                torch.testing.assert_close(one, other)
        assert (len(calls) > before) == (per_item > 0)
    assert gathered["alone"][0].any()


def test_what_users_have_in_common_is_the_formula():
    sets = histories()
    near = by_users(*sets)
    took = np.array([[item in items for item in range(N_ITEMS)] for items in sets], dtype=float)
    cosine = took.T @ took / np.sqrt(np.outer(took.sum(0), took.sum(0)).clip(min=1))
    np.fill_diagonal(cosine, 0.0)
    level = np.mean([cosine[items].sum(0).sum() / (N_ITEMS - 1) for items in sets])
    for history in sets[:3]:
        expected = 2.0 * np.log1p(cosine[history].sum(0) / level)
        expected[[0, *history]] = 0.0
        np.testing.assert_allclose(near.of_histories(torch.tensor([history]))[0], expected, rtol=1e-4, atol=1e-5)
        again = by_users(*sets, most=40).of_histories(torch.tensor([history]))[0]  # in blocks
        torch.testing.assert_close(again, near.of_histories(torch.tensor([history]))[0])


def test_only_what_is_known_of_a_history_counts():
    sets = histories()
    long = next(items for items in sets if len(items) > 20)
    near, whole = by_users(*sets, longest=5), by_users(*sets)
    near.level = whole.level
    found, expected = near.of_histories(torch.tensor([long]))[0], whole.of_histories(torch.tensor([long[-5:]]))[0]
    expected[long] = 0.0
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("of_users", [False, True])
@pytest.mark.parametrize("entries", [1, 1 << 24])
def test_histories_are_moved_by_the_formula_of_rocchio(entries: int, of_users: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "_MOST_ENTRIES", entries)
    near = by_users(*histories()) if of_users else plain(counts_of(*histories()))
    history = torch.tensor([[0, 3, 5, 9], [0, 0, 0, 0], [4, 8, 2, 1]])
    moved = Moved(
        torch.tensor([[7, 6, 0], [7, 0, 0], [0, 0, 0]]), torch.tensor([[1.0, -0.5, 0], [1.0, 0, 0], [0, 0, 0]])
    )
    found = near.of_histories(history, moved=moved)

    def sums(*items: int) -> np.ndarray:
        scores = near.of_histories(torch.tensor([items])) / near.weight
        return (scores[0].double().exp() - 1).numpy() * near.level

    whole = 3.0 if of_users else 1 + 0.7 + 0.7**2
    liked, disliked = (sums(item) for item in (7, 6))  # of one item alone, which counts 1
    expected = (sums(3, 5, 9) + whole * (liked - 0.5 * disliked)).clip(min=0) / 2
    expected[[0, 3, 5, 9]] = 0.0
    np.testing.assert_allclose(found[0], near.weight * np.log1p(expected / near.level), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found[1], near.weight * np.log1p(liked / 2 / near.level), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(found[2], near.of_histories(history)[2])
    assert (expected > 0).any()
    row, item, value = near.entries(history, moved)
    torch.testing.assert_close(torch.zeros_like(found).index_put((row, item), value), found)


@pytest.mark.parametrize("sets", [[], [[1, 2]], [[3], [4]]])
def test_few_users_make_no_trouble(sets: list[list[int]]):
    assert by_users(*sets).of_histories(torch.tensor([[1, 3]])).isfinite().all()


@pytest.mark.parametrize("of_users", [False, True])
def test_without_each_of_the_last(of_users: bool):
    near = by_users(*histories(), longest=RECENT) if of_users else plain(counts_of(*histories()))
    history = torch.tensor(next(one for one in histories() if len(one) > RECENT + 4))
    items = torch.tensor([5, 9, 11])
    found = near.without_each(history, items, 3)
    torch.testing.assert_close(found[-1:], near.of_histories(history[None, -RECENT - 1 :], items))
    for place in range(3):
        at = len(history) - 3 + place
        left = torch.cat([history[len(history) - RECENT - 1 : at], history[at + 1 :]])
        torch.testing.assert_close(found[place : place + 1], near.of_histories(left[None], items))


def test_texts_alone_and_nothing_at_all():
    text = np.random.default_rng(0).normal(size=(N_ITEMS, 6))
    nothing = np.zeros((N_ITEMS, N_ITEMS))
    scores = plain(nothing, text).of_histories(torch.tensor([[5]]))[0]
    unit = text[1:] / np.linalg.norm(text[1:], axis=1, keepdims=True)
    unit = (unit - unit.mean(0)) / np.linalg.norm(unit - unit.mean(0), axis=1, keepdims=True)
    cosine = unit @ unit[4]
    cosine[4] = -np.inf
    assert int(scores.argmax()) == int(cosine.argmax()) + 1 and scores[5] == 0.0
    assert not plain(nothing).of_histories(torch.tensor([[5]])).any()
    assert plain(nothing).of_histories(torch.zeros(0, 3, dtype=torch.long)).shape == (0, N_ITEMS)
    alike = likeness(text, np.arange(N_ITEMS) > 0)
    assert alike[5, 5] == 0.0 and alike.max() <= 1.0 and alike.nnz == (N_ITEMS - 1) * (N_ITEMS - 2)


@pytest.mark.parametrize(
    "wrong",
    [
        {"neighbour_weight": -1.0},
        {"neighbour_weight": True},
        {"neighbour_text": float("nan")},
        {"neighbour_decay": 2},
        {"neighbour_back": -1},
        {"network_weight": "much"},
        {"network_weight": float("inf")},
    ],
)
def test_options_out_of_range(films: Path, wrong: dict[str, Any]):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        build_data(make_config(films, **wrong))


# --- in the model ----------------------------------------------------------------------------


def build(data: Path, **options: Any) -> tuple[Any, Any, Any]:
    """A model with neighbours, its training loader and its test loader."""
    config = make_config(
        data, **{"neighbour_weight": 2.0, "cooccurrence_weight": 1.0, "train_batch_size": 7, **options}
    )
    _, train, _, test = build_data(config)
    torch.manual_seed(1)
    return get_model("InstructRec")(config, train._dataset).eval(), train, test


ROWS = {
    "windows": {"MAX_ITEM_LIST_LENGTH": 40},
    "short windows, long memory": {"MAX_ITEM_LIST_LENGTH": 30, "encoder_length": 5},
    "prefixes": {"MAX_ITEM_LIST_LENGTH": 30, "training_rows": "prefixes"},
    "a part of the catalogue": {"loss_items": 5},
}


@pytest.mark.parametrize("rows", ROWS)
def test_training_does_not_see_them(films: Path, rows: str):
    """Their counts hold the training targets."""
    with_them, train, test = build(films, network_weight=0.4, **ROWS[rows])
    without, _, _ = build(films, neighbour_weight=0.0, cooccurrence_weight=0.0, **ROWS[rows])
    batch = next(iter(train))
    losses = []
    for model in (with_them, without):
        torch.manual_seed(0)
        losses.append(model.calculate_loss(batch))
    assert torch.equal(*losses) and len(with_them.neighbours) == 2 and not len(without.neighbours)
    evaluated = test._dataset[:]
    assert not torch.allclose(with_them.full_sort_predict(evaluated), without.full_sort_predict(evaluated))


def test_scores_are_the_network_and_both_kinds(films: Path):
    model, _, test = build(films, network_weight=1.0)
    batch = test._dataset[:]
    history = batch["item_id_list"]
    both, near = model.full_sort_predict(batch), [one.of_histories(history) for one in model.neighbours]
    model.neighbours = torch.nn.ModuleList()
    torch.testing.assert_close(both[:, 1:], (model.full_sort_predict(batch) + near[0] + near[1])[:, 1:])
    assert all(one.any() for one in near)
    alone = model.full_sort_predict(batch)
    model, _, _ = build(films, network_weight=0.4)
    torch.testing.assert_close(model.full_sort_predict(batch)[:, 1:], (0.4 * alone + near[0] + near[1])[:, 1:])
    without, _, _ = build(films, network_weight=0.4, neighbour_weight=0.0, cooccurrence_weight=0.0)
    torch.testing.assert_close(without.full_sort_predict(batch), alone)  # nothing joins


def test_a_wish_counts_as_in_training_whatever_the_network_counts(films: Path):
    batch = build(films)[2]._dataset[:]
    gains = []
    for weight in (1.0, 0.4):
        model, _, _ = build(films, network_weight=weight)
        scores = model.request(batch, model.hear(["some comedy"] * len(batch)))
        gains.append(scores.extra[scores.extra_row])
    torch.testing.assert_close(*gains)
    assert gains[0].any()


def test_only_the_training_part_is_counted(films: Path):
    _, train, test = build(films)
    dataset, took = train._dataset, train._dataset.taken_by_users().toarray()
    history = dataset.history
    for row, user in enumerate(np.unique(history.user)):
        items = history.item[np.asarray(history.user) == user]
        assert set(np.flatnonzero(took[row])) == set(items[:-2].tolist())
    assert took.max() == 1.0 and len(test._dataset) == len(took)


def _by_name(
    tmp_path: Path, interactions: list[tuple[str, str, int]]
) -> list[tuple[dict[tuple[str, str], float], float]]:
    """Of both kinds of neighbours what leads from item to item, and the level."""
    data = write_dataset(tmp_path, "films", interactions=interactions)
    model, train, _ = build(data, **SILENT, neighbour_text=0.0)
    names = train._dataset.field2id_token["item_id"]
    found = []
    for one in model.neighbours:
        start, neighbour, value = (one._kept[key].numpy() for key in ("start", "neighbour", "value"))
        source = np.repeat(np.arange(len(names)), np.diff(start))
        pairs = zip(names[source], names[neighbour], strict=True)
        found.append((dict(zip(pairs, value.tolist(), strict=True)), one.level))
    return found


def test_held_out_items_do_not_count(tmp_path: Path):
    """Exchanging every validation and test target leaves all neighbours as they were."""
    interactions = sorted(small_interactions(), key=lambda row: (row[0], row[2]))
    last = {user: place for place, (user, _, _) in enumerate(interactions)}
    rng = np.random.default_rng(1)

    def exchanged(*back: int) -> list[tuple[str, str, int]]:
        rows = list(interactions)
        for end in last.values():
            for place in (end - one for one in back):
                rows[place] = (rows[place][0], f"i{rng.integers(25)}", rows[place][2])
        return rows

    before = _by_name(tmp_path / "before", interactions)
    assert len(before) == 2 and all(len(pairs) > 50 for pairs, _ in before)
    after = _by_name(tmp_path / "held out", exchanged(0, 1))
    for (pairs, level), (pairs_before, level_before) in zip(after, before, strict=True):
        assert pairs == pytest.approx(pairs_before, rel=1e-6) and level == pytest.approx(level_before)  # ids differ
    for (pairs, _), (pairs_before, _) in zip(_by_name(tmp_path / "training", exchanged(2)), before, strict=True):
        assert pairs != pytest.approx(pairs_before, rel=1e-6), "items of the training part do count"


def test_many_texts_are_not_compared(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    counts, text = counts_of([1, 2, 3], [2, 3, 1]), np.random.default_rng(0).normal(size=(N_ITEMS, 4))
    monkeypatch.setattr("recbole_instructrec.model.neighbours.MOST_TEXTS", N_ITEMS - 2)
    history = torch.tensor([[1, 2]])
    assert torch.equal(plain(counts, text).of_histories(history), plain(counts).of_histories(history))
    assert "Set neighbour_text to 0" in caplog.text
    caplog.clear()
    plain(counts, text, text_share=0.0)
    assert not caplog.text
    monkeypatch.setattr("recbole_instructrec.model.neighbours.MOST_TEXTS", N_ITEMS - 1)
    assert not torch.equal(plain(counts, text).of_histories(history), plain(counts).of_histories(history))


def test_settings_from_before_the_way_back_was_an_option_mean_what_they_meant(films: Path):
    def scores(**options: float) -> torch.Tensor:
        config = make_config(films, neighbour_weight=2.0, neighbour_text=0.0, **{"network_weight": 1.0, **options})
        if not options:
            for name in ("neighbour_back", "cooccurrence_weight", "network_weight"):
                del config.final_config_dict[name]  # as a checkpoint of then has them
        model = get_model("InstructRec")(config, build_data(config)[1]._dataset)
        (near,) = model.neighbours
        assert model.network_weight == 1.0
        return near.of_histories(torch.tensor([[3, 4, 5]]))

    assert torch.equal(scores(), scores(neighbour_back=0.5)) and not torch.equal(scores(), scores(neighbour_back=0.0))


def test_a_list_that_is_given_counts_with_its_own_target(tmp_path: Path):
    """Files of item lists: only pairs with the row's target are counted."""
    folder = tmp_path / "lists"
    folder.mkdir()
    head = "user_id:token\titem_id:token\titem_id_list:token_seq\n"
    train = ["u1\ti3\ti1 i2\n", "u2\ti4\ti1 i2\n", "u3\ti5\ti2 i6\n"]
    for part, lines in {"train": train, "valid": ["u1\ti4\ti1 i3\n"], "test": ["u2\ti5\ti1 i4\n"]}.items():
        (folder / f"lists.{part}.inter").write_text(head + "".join(lines))
    model, train, _ = build(
        tmp_path, dataset="lists", benchmark_filename=["train", "valid", "test"], item_text_fields=[],
        intent_field=None, load_col={"inter": ["user_id", "item_id", "item_id_list"]}, topk=[2], valid_metric="NDCG@2",
        alias_of_item_id=["item_id_list"],
    )  # fmt: skip
    name = train._dataset.field2token_id["item_id"]
    counts = sparse.vstack(list(train._dataset.transition_counts(0.5)), format="csr")
    assert counts[name["i2"], name["i3"]] == 1.0 and counts[name["i1"], name["i3"]] == DECAY
    assert counts[name["i1"], name["i2"]] == 0.0
    took = train._dataset.taken_by_users().toarray()
    expected = [{"i1", "i2", "i3"}, {"i1", "i2", "i4"}, {"i2", "i6", "i5"}]
    assert {frozenset(np.flatnonzero(row)) for row in took} == {frozenset(name[i] for i in one) for one in expected}
    assert model.calculate_loss(next(iter(train))).isfinite()


@pytest.mark.parametrize("large", [False, True])
def test_neighbours_follow_what_is_liked_and_what_is_not(films: Path, large: bool, monkeypatch: pytest.MonkeyPatch):
    model, _, test = build(films, network_weight=0.4)
    history, (liked, disliked, old) = [3, 4, 5], (8, 11, 13)
    wants = [
        Want(UserState(history), "", 20),
        Want(UserState(history, disliked=[old]), "", 20, toward=[liked], away=[disliked]),
    ]
    if large:
        monkeypatch.setattr(ranking, "LARGE", 1)
    lists = Ranker(model, test._dataset)(wants)
    directions = model.item_directions()[1]
    batch = Ranker(model, test._dataset).rows([want.state for want in wants])
    said = model.hear(["", ""])
    with torch.no_grad():
        scores = model.scores(*situation_of(model, batch, said, directions))
        length = scores.hidden[1].norm()
        away = torch.nn.functional.normalize(directions[[disliked, old]].mean(0), dim=0)
        moved = scores.hidden[1] / length + TOWARD * directions[liked] - AWAY * away
        network = 0.4 * model.item_bias + length * torch.nn.functional.normalize(moved, dim=0) @ directions.T
        network[history] += scores.repeat
        feedback = Moved(torch.tensor([[disliked, old, liked]]), torch.tensor([[-AWAY / 2, -AWAY / 2, TOWARD]]))
        near = sum(one.of_histories(torch.tensor([history]), moved=feedback)[0] for one in model.neighbours)
        plain_scores = all_scores(scores)[0]
    for one, expected in zip(lists, (plain_scores, network + near), strict=True):
        np.testing.assert_allclose(one.scores, expected[one.items], rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(one.scores, expected[1:].topk(20).values, rtol=1e-3, atol=1e-3)
    still = sum(one.of_histories(torch.tensor([history]))[0] for one in model.neighbours)
    assert not torch.allclose(near, still)


def situation_of(model: Any, batch: Any, said: Any, directions: torch.Tensor) -> tuple[Any, ...]:
    """What the scores of a batch are made from."""
    state, context, seen = model.situations(batch, said)
    return state, directions, said, context, seen


@pytest.mark.parametrize("fed_back", [False, True])
def test_a_large_catalogue_is_scored_alike(films: Path, fed_back: bool):
    model, _, test = build(films, network_weight=0.4)
    batch = test._dataset[:]
    said = model.hear(["some comedy"] * len(batch))
    state, context, seen = model.situations(batch, said)
    directions = model.item_directions()[1]
    with torch.no_grad():
        moved = None
        if fed_back:
            moved = Moved(torch.tensor([[7, 9]] * len(batch)), torch.tensor([[1.0, -0.5]] * len(batch)))
        scores = model.scores(state, directions, said, context, seen, moved=moved)
        exact = all_scores(scores)
        quick = LargeCatalogue(model).scores(scores.hidden, said, directions, seen, moved)
        some = torch.tensor([4, 9, 2])
        few = all_scores(model.scores(state, directions, said, context, seen, some, moved=moved))
        for near in model.neighbours:
            near.weight = 0.0
        without = all_scores(model.scores(state, directions, said, context, seen))
    torch.testing.assert_close(quick[:, 1:], exact[:, 1:], rtol=0.02, atol=0.1)
    not_seen = ~(seen.unsqueeze(2) == some).any(1)
    torch.testing.assert_close(few[not_seen], exact[:, some][not_seen], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(without, exact)
    torch.testing.assert_close(without.gather(1, seen), exact.gather(1, seen))  # the repeat score alone speaks of these


@pytest.mark.parametrize("n", [10, 1_000, 10_007])
def test_the_best_of_many_are_those_of_topk(n: int):
    scores = torch.randn(n, generator=torch.Generator().manual_seed(0))
    scores[: n // 2] = -torch.inf  # what no rule allows
    for k in (1, 10, n):
        values, places = best_of_many(scores, k)
        assert torch.equal(values, scores.topk(k).values) and torch.equal(scores[places], values)
        assert len(places.unique()) == k
    assert torch.equal(best_of_many(torch.zeros(n), 3)[0], torch.zeros(3))
    assert best_of_many(torch.full((n,), torch.nan), 3)[0].isnan().all()


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
            "topk": [5],
            "valid_metric": "NDCG@5",
        }
        config = make_config(tmp_path / "data", dataset="ring", epochs=1, neighbour_weight=weight, **options)
        _, trainer, train, valid, _ = build_all(config)
        trainer.fit(train, valid, verbose=False)
        found[weight] = float(trainer.best_valid_result["recall@5"])
    assert found[4.0] > 0.7 > 2 * found[0.0]


def test_nothing_of_it_is_in_checkpoints_or_averaged(films: Path):
    model, _, _ = build(films)
    assert not [name for name in model.state_dict() if name.startswith("neighbours")]
    assert not list(model.neighbours.buffers())
    moved = model.neighbours.to(torch.device("meta"))
    assert {tensor.device.type for near in moved for tensor in near._kept.values()} == {"meta"}
