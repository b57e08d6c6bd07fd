"""Item neighbours: what is counted, and that a training row never finds its own target in the counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from recbole.utils import get_model
from scipy import sparse

from recbole_instructrec.data.dataset import AROUND, AROUND_BEFORE, COUNTED, EARLIER
from recbole_instructrec.data.transitions import BACK, DECAY, MOST_PAIRS, SPAN, transition_counts
from recbole_instructrec.live.large import LargeCatalogue, best_of_many
from recbole_instructrec.model import neighbours as module
from recbole_instructrec.model.losses import all_scores
from recbole_instructrec.model.neighbours import RECENT, ItemNeighbours, likeness
from tests.support import build_all, build_data, make_config, write_dataset

N_ITEMS = 40


def counts_of(
    *histories: list[int], parts: list[list[bool]] | None = None, back: float = BACK, most: int = MOST_PAIRS
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
    return ItemNeighbours([sparse.csr_matrix(counts)], np.full(N_ITEMS, taken), texts, has_text, **settings)


# --- counts ----------------------------------------------------------------------------------


@pytest.mark.parametrize("back", [0.0, BACK, 1.0])
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


@pytest.mark.parametrize("dense", [True, False])
def test_some_items_are_scored_as_all_are(dense: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "_DENSE", 10**6 if dense else 0)
    near = plain(counts_of(*histories()), np.random.default_rng(0).normal(size=(N_ITEMS, 6)))
    history = torch.tensor([np.resize(one, 12).tolist() for one in histories(1, 5)])
    every = near.of_histories(history)
    for items in ([0, 7, 3, 21, 30], [5, 1]):
        torch.testing.assert_close(near.of_histories(history, torch.tensor(items)), every[:, items])
    row, item, score = near.entries(history)
    torch.testing.assert_close(torch.zeros_like(every).index_put((row, item), score), every)
    assert not every.gather(1, history).any() and not every[:, 0].any()


def test_without_each_of_the_last():
    near = plain(counts_of(*histories()))
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
    ],
)
def test_options_out_of_range(films: Path, wrong: dict[str, Any]):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        build_data(make_config(films, **wrong))


# --- training rows ---------------------------------------------------------------------------


def build(data: Path, **options: Any) -> tuple[Any, Any, Any]:
    """A model with neighbours, its training loader and its test loader."""
    config = make_config(data, **{"neighbour_weight": 2.0, "train_batch_size": 7, **options})
    _, train, _, test = build_data(config)
    torch.manual_seed(1)
    return get_model("InstructRec")(config, train._dataset).eval(), train, test


def walks(folder: Path, repeats: bool) -> Path:
    """Users with random histories, of which some take items again."""
    rng = np.random.default_rng(3)
    rows = []
    for user in range(25):
        length = int(rng.integers(4, 19 if repeats else 35))
        taken = rng.integers(1, 15, length) if repeats else rng.permutation(38)[:length]
        rows += [(f"u{user}", f"i{item}", step) for step, item in enumerate(taken)]
    return write_dataset(folder, "films", rows, [(f"i{n}", f"thing {n}", "a b"[:: 1 + n % 2]) for n in range(38)])


ROWS = {
    "windows": {"MAX_ITEM_LIST_LENGTH": 40},
    "nothing on the way back": {"MAX_ITEM_LIST_LENGTH": 40, "neighbour_back": 0.0},
    "short windows": {"MAX_ITEM_LIST_LENGTH": 6},
    "short windows, long memory": {"MAX_ITEM_LIST_LENGTH": 30, "encoder_length": 5},
    "few targets": {"MAX_ITEM_LIST_LENGTH": 30, "window_targets": 3},
    "prefixes": {"MAX_ITEM_LIST_LENGTH": 30, "training_rows": "prefixes"},
    "first targets": {"MAX_ITEM_LIST_LENGTH": 30, "first_interaction_target": True},
}


def targets_of(model: Any, batch: Any) -> tuple[torch.Tensor, ...]:
    """Row, step, what was seen and target of each target of a batch."""
    items, targets = batch["item_id_list"], batch["item_id"]
    earlier = batch[EARLIER] if EARLIER in batch else items[:, :0]
    row, step = torch.nonzero(targets, as_tuple=True)
    read = items[row] * (torch.arange(items.shape[1]) < step[:, None])
    return row, step, torch.cat([earlier[row], read], 1), targets[row, step]


@pytest.mark.parametrize("sampled", [False, True])
@pytest.mark.parametrize("repeats", [False, True])
@pytest.mark.parametrize("rows", ROWS)
def test_a_training_row_is_scored_as_if_its_user_had_not_been_there(
    tmp_path: Path, rows: str, repeats: bool, sampled: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "_DENSE", 0 if sampled else 10**6)
    model, train, _ = build(walks(tmp_path, repeats), neighbour_text=0.0, **ROWS[rows])
    dataset, history = train._dataset, train._dataset.history
    some = torch.tensor([0, *range(1, model.n_items, 2)]) if sampled else None
    found = 0
    for batch in list(train)[:8]:
        row, step, seen, _ = targets_of(model, batch)
        further = model._of_training_rows(batch, row, step, seen)
        scores = further.make(further.rows, some)
        around, longest = batch[AROUND][row], model.max_seq_length
        before = around * (torch.arange(around.shape[1]) < AROUND_BEFORE + step[:, None])
        before = before.flip(1) * ((before > 0).flip(1).cumsum(1) <= longest)  # as evaluation knows it
        before = before.flip(1)
        for user in batch["user_id"].unique().tolist():
            theirs = history.user.numpy() == user
            back = model.neighbours.back
            counts = transition_counts(
                history.item, history.user_start, dataset._is_target & ~theirs, dataset._is_known, model.n_items, back
            )
            nothing = np.zeros((model.n_items, 0)), np.zeros(model.n_items, dtype=bool)
            others = ItemNeighbours(counts, dataset.target_counts(), *nothing, 2.0, 0.0, 0.7, longest=longest)
            others.level = model.neighbours.level
            for place in torch.nonzero(batch["user_id"][row] == user).flatten().tolist():
                expected = others.of_histories(before[place : place + 1], some)[0]
                torch.testing.assert_close(scores[place], expected, rtol=1e-3, atol=2e-3)
                found += 1
    assert found > 50


def test_what_only_the_user_took_is_nothing_however_often(tmp_path: Path):
    """One user took i1 and i2 again and again; nobody else did."""
    rows = [("u0", f"i{item}", step) for step, item in enumerate([1, 3, 1, 2, 4, 2, 1, 5, 2, 1, 6, 7])]
    rows += [(f"u{user}", f"i{10 + (user + step) % 9}", step) for user in range(1, 8) for step in range(6)]
    data = write_dataset(tmp_path, "films", rows, [(f"i{n}", f"thing {n}", "a") for n in range(20)])
    for options in ROWS.values():
        model, train, _ = build(data, neighbour_text=0.0, **options)
        user = train._dataset.field2token_id["user_id"]["u0"]
        for batch in train:
            row, step, seen, _ = targets_of(model, batch)
            scores = model._of_training_rows(batch, row, step, seen)()
            theirs = torch.nonzero(batch["user_id"][row] == user).flatten()
            assert not scores[theirs].any()


def test_what_was_cut_from_the_neighbours_is_not_taken_from_the_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "_MOST", 1)
    data = walks(tmp_path, repeats=False)
    model, train, _ = build(data, neighbour_text=1.0)
    shape = lambda near, source: (len(near), source.stop - source.start, near.shape[1])  # noqa: E731
    monkeypatch.setattr(ItemNeighbours, "_own", lambda _, near, counted, source: torch.zeros(shape(near, source)))
    whole = [model._of_training_rows(batch, *targets_of(model, batch)[:3])() for batch in train]
    monkeypatch.undo()
    less = [model._of_training_rows(batch, *targets_of(model, batch)[:3])() for batch in train]
    texts_alone = model.neighbours.of_histories(torch.tensor([[3]]))
    fell = sum(int((one > two + 1e-4).sum()) for one, two in zip(whole, less, strict=True))
    assert texts_alone.any() and fell > 0
    # Nothing falls to 0 that texts hold up: that would be a pair taken away that had been cut before.
    assert not any(bool(((one > 1e-2) & (two == 0.0)).any()) for one, two in zip(whole, less, strict=True))


@pytest.mark.parametrize("rows", ROWS)
def test_the_loss_does_not_depend_on_its_chunks_or_on_autocast(films: Path, rows: str):
    model, train, _ = build(films, **ROWS[rows])
    batch = next(iter(train))
    model.loss_chunk = 0
    whole = model.calculate_loss(batch)
    model.loss_chunk = 3
    torch.testing.assert_close(model.calculate_loss(batch), whole)
    further = model._of_training_rows(batch, *targets_of(model, batch)[:3])
    scores = model.scores(
        torch.zeros(len(further.rows), 16), model.item_directions()[1], model.hear([""] * len(further.rows)), None,
        targets_of(model, batch)[2],
    )._replace(further=further)  # fmt: skip
    exact = all_scores(scores)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(all_scores(scores), exact)
    model.neighbours, without = None, model.neighbours
    assert without is not None and not torch.isclose(model.calculate_loss(batch), whole)


def test_rows_of_recbole_are_scored_without_their_target(films: Path):
    model, train, _ = build(films, MAX_ITEM_LIST_LENGTH=30, training_rows="prefixes")
    batch = next(iter(train))
    target = batch["item_id"].max(1).values
    stock = type(batch)({"item_id_list": batch["item_id_list"], "item_length": batch["item_length"], "item_id": target})
    row, step, seen, _ = targets_of(model, batch)
    ours = model._of_training_rows(batch, row, step, seen)()
    theirs = model._of_training_rows(stock, row, step, batch["item_id_list"])()
    at = torch.arange(len(target)), target
    torch.testing.assert_close(theirs[at], ours[row.argsort()][at], rtol=1e-3, atol=1e-3)
    assert {AROUND, COUNTED} <= set(batch.interaction) and ours[at].std() > 0.1


def test_sampled_softmax_over_everything(films: Path):
    model, train, _ = build(films, loss_items=5000)
    batch = next(iter(train))
    torch.manual_seed(0)
    sampled = model.calculate_loss(batch)
    model.sampled = None
    torch.testing.assert_close(sampled, model.calculate_loss(batch), rtol=1e-2, atol=1e-2)


def test_settings_from_before_the_way_back_was_an_option_mean_what_they_meant(films: Path):
    def scores(**options: float) -> torch.Tensor:
        config = make_config(films, neighbour_weight=2.0, neighbour_text=0.0, **options)
        if not options:
            del config.final_config_dict["neighbour_back"]  # as a checkpoint of then has them
        near = get_model("InstructRec")(config, build_data(config)[1]._dataset).neighbours
        return near.of_histories(torch.tensor([[3, 4, 5]]))

    assert torch.equal(scores(), scores(neighbour_back=0.5)) and not torch.equal(scores(), scores(neighbour_back=0.0))


def test_a_list_that_is_given_counts_with_its_own_target(tmp_path: Path):
    """Files of item lists: only pairs with the row's target are counted, and they are taken away again."""
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
    counts = sparse.vstack(list(train._dataset.transition_counts()), format="csr")
    assert counts[name["i2"], name["i3"]] == 1.0 and counts[name["i1"], name["i3"]] == DECAY
    assert counts[name["i1"], name["i2"]] == 0.0
    for batch in train:
        row, step, seen, target = targets_of(model, batch)
        scores = model._of_training_rows(batch, row, step, seen)()
        assert not scores[torch.arange(len(target)), target].any()
        assert scores.any()


# --- in the model ----------------------------------------------------------------------------


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
        model.neighbours = None
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
    assert {tensor.device.type for tensor in moved._kept.values()} == {"meta"}
