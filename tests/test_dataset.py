"""Evaluation rows are RecBole's own; training rows use every target once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from recbole.config import Config

from recbole_instructrec.data.dataset import CONTEXT, INSTRUCTION
from recbole_instructrec.data.rows import RowPlan
from tests.support import build_data, make_config, small_interactions, write_dataset


def stock(config_dict, dataset, data_path=None):
    options = {"train_neg_sample_args": None, **config_dict}
    if data_path is not None:
        options["data_path"] = str(data_path)
    return build_data(Config(model="SASRec", dataset=dataset, config_dict=options))


def assert_same_rows(ours, theirs):
    """Every field of the stock batches, value by value, in the same order."""
    assert len(ours) == len(theirs)
    for (our_batch, _, our_u, our_i), (their_batch, _, their_u, their_i) in zip(ours, theirs, strict=True):
        for field in their_batch.columns:
            torch.testing.assert_close(our_batch[field], their_batch[field], rtol=0, atol=0, msg=field)
        assert torch.equal(our_u, their_u) and torch.equal(our_i, their_i)


def test_evaluation_rows_equal_stock_ml_100k():
    options = {"eval_batch_size": 300, "MAX_ITEM_LIST_LENGTH": 50}
    config = Config(model="InstructRec", dataset="ml-100k", config_dict=options)
    _, _, valid, test = build_data(config)
    _, _, stock_valid, stock_test = stock(options, "ml-100k")
    assert_same_rows(valid, stock_valid)
    assert_same_rows(test, stock_test)
    assert len(test._dataset) == 943


@pytest.mark.parametrize(
    "split", [{"LS": "valid_and_test"}, {"LS": "test_only"}, {"RS": [0.6, 0.2, 0.2]}], ids=["loo", "test_only", "ratio"]
)
def test_evaluation_rows_equal_stock_small(films, split):
    arguments = {"split": split, "order": "TO", "mode": "full"}
    columns = {"inter": ["user_id", "item_id", "timestamp"]}
    _, _, valid, test = build_data(make_config(films, eval_args=arguments))
    _, _, stock_valid, stock_test = stock(
        {"eval_args": arguments, "MAX_ITEM_LIST_LENGTH": 8, "load_col": columns}, "films", films
    )
    if len(stock_valid._dataset):
        assert_same_rows(valid, stock_valid)
    assert_same_rows(test, stock_test)


def test_negative_sampling_evaluation_still_works(films):
    config = make_config(films, eval_args={"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "uni5"})
    _, _, valid, _ = build_data(config)
    batch, _, _, _ = next(iter(valid))
    assert len(batch) == 6 * len(valid._dataset)


def counted_targets(train):
    """How often each (user, item) is a target over one epoch of the loader."""
    counts: dict[tuple[int, int], int] = {}
    for batch in train:
        targets = batch["item_id"]
        for row, step in torch.nonzero(targets).tolist():
            key = (int(batch["user_id"][row]), int(targets[row, step]))
            counts[key] = counts.get(key, 0) + 1
    return counts


@pytest.mark.parametrize("kind", ["windows", "prefixes"])
@pytest.mark.parametrize("first", [False, True])
def test_every_training_target_once_an_epoch(films, kind, first):
    config = make_config(films, training_rows=kind, first_interaction_target=first)
    _, train, _, _ = build_data(config)
    _, stock_train, _, _ = stock(
        {"MAX_ITEM_LIST_LENGTH": 8, "load_col": {"inter": ["user_id", "item_id", "timestamp"]}}, "films", films
    )
    inter = stock_train._dataset.inter_feat
    expected = {(int(u), int(i)): 1 for u, i in zip(inter["user_id"], inter["item_id"], strict=True)}
    if first:
        history = train._dataset.history
        for user in {u for u, _ in expected}:
            expected[(user, int(history.item[np.flatnonzero(history.user.numpy() == user)[0]]))] = 1
    for epoch in range(4):
        train._dataset.start_epoch(epoch)
        assert counted_targets(train) == expected


def test_training_rows_read_what_came_before_the_target(films):
    _, train, _, _ = build_data(make_config(films))
    history = train._dataset.history
    place = {(int(u), int(i)): p for p, (u, i) in enumerate(zip(history.user, history.item, strict=True))}
    for batch in train:
        for row, step in torch.nonzero(batch["item_id"]).tolist():
            position = place[(int(batch["user_id"][row]), int(batch["item_id"][row, step]))]
            read = batch["item_id_list"][row, :step].numpy()
            assert np.array_equal(read, history.item[position - step : position])
            assert history.user_start[position] <= position - step


def test_earlier_items_are_those_before_the_window(films):
    _, train, _, _ = build_data(make_config(films, encoder_length=4, MAX_ITEM_LIST_LENGTH=10))
    history = train._dataset.history
    place = {(int(u), int(i)): p for p, (u, i) in enumerate(zip(history.user, history.item, strict=True))}
    seen_any = False
    for batch in train:
        assert batch["item_id_list"].shape[1] <= 4
        for row, step in torch.nonzero(batch["item_id"]).tolist():
            position = place[(int(batch["user_id"][row]), int(batch["item_id"][row, step]))]
            begin = position - step
            expected = history.item[max(history.user_start[position], begin - 6) : begin]
            earlier = batch["earlier_items"][row].numpy()
            assert np.array_equal(earlier[earlier > 0], expected)
            seen_any |= len(expected) > 0
    assert seen_any


def test_window_offsets_move_between_epochs(films):
    _, train, _, _ = build_data(make_config(films))
    seen = set()
    for epoch in range(5):
        train._dataset.start_epoch(epoch)
        rows = train._dataset._rows
        seen.add(tuple(sorted(rows.first_target.tolist())))
        assert len(rows) == len(train._dataset)
    assert len(seen) > 1
    train._dataset.start_epoch(3)
    again = train._dataset._rows.first_target.copy()
    train._dataset.start_epoch(4)
    train._dataset.start_epoch(3)
    assert np.array_equal(again, train._dataset._rows.first_target)


def test_windows_are_as_few_as_hold_all_targets(films):
    _, train, _, _ = build_data(make_config(films, window_targets=3))
    per_user = np.bincount([user for user, _ in counted_targets(train)])
    assert len(train._dataset) == -(-per_user // 3).sum()


def test_prefixes_are_trimmed_to_their_longest(films):
    _, train, _, _ = build_data(make_config(films, training_rows="prefixes"))
    for batch in train:
        assert batch["item_id_list"].shape[1] == int(batch["item_length"].max())
        assert ((batch["item_id"] > 0).sum(1) == 1).all()


def test_windows_need_far_fewer_rows_than_prefixes():
    config = Config(model="InstructRec", dataset="ml-100k")
    _, train, _, _ = build_data(config)
    assert len(train._dataset) * 30 < train._dataset.n_training_targets


@pytest.mark.parametrize("seed", range(5))
def test_row_plan_covers_targets_once_whatever_the_spans(seed):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 40, 12)
    start = np.repeat(np.cumsum(lengths) - lengths, lengths)
    is_target = (np.arange(len(start)) > start) & (rng.random(len(start)) < 0.8)
    for per_row in (1, 3, 10):
        plan = RowPlan(is_target, start, 10, per_row, seed)
        for epoch in range(6):
            rows = plan.epoch(epoch, 4)
            assert len(rows) == plan.n_rows
            covered = np.concatenate([np.arange(a, b) for a, b in zip(rows.first_target, rows.end, strict=True)])
            covered = covered[is_target[covered]]
            assert np.array_equal(np.sort(covered), np.flatnonzero(is_target))
            assert (rows.length <= 10).all() and (rows.end - rows.first_target <= per_row).all()
            assert (rows.start >= start[rows.first_target]).all()


def test_float_list_index_and_slice(films):
    dataset, _, _, test = build_data(make_config(films))
    one, many = test._dataset[3], test._dataset[[3]]
    assert torch.equal(one["item_id_list"], many["item_id_list"][0])
    assert torch.equal(test._dataset[2:4]["item_id"], test._dataset[torch.tensor([2, 3])]["item_id"])
    assert len(dataset[torch.tensor([1])]) == 1


def test_request_time_context_is_read_from_the_raw_clock(tmp_path):
    # 5 May 1998 (a Tuesday) 13:00 UTC, then an hour later each
    rows = [("a", f"i{k}", 894_373_200 + 3600 * k) for k in range(6)]
    data = write_dataset(tmp_path / "d", "films", rows + small_interactions())
    config = make_config(data, context_fields=["hour", "weekday", "gap"])
    dataset, train, _, test = build_data(config)
    user = dataset.field2token_id["user_id"]["a"]
    row = int((test._dataset.inter_feat["user_id"] == user).nonzero())
    hour, weekday, gap = test._dataset[row][CONTEXT].tolist()
    assert (hour, weekday) == (18 + 1, 2)
    assert gap == 1 + int(np.log2(3601))
    batch = next(iter(train))
    assert batch[CONTEXT].shape == (*batch["item_id"].shape, 3)
    assert (batch[CONTEXT][batch["item_id"] == 0] == 0).all()


def test_profile_context(tmp_path):
    data = write_dataset(tmp_path / "d", "films")
    users = "\n".join(["user_id:token\tjob:token", *[f"u{k}\t{'cook' if k % 2 else 'nurse'}" for k in range(30)]])
    (data / "films" / "films.user").write_text(users)
    columns = {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id", "title", "genre"]}
    config = make_config(data, load_col={**columns, "user": ["user_id", "job"]}, context_fields=["job"])
    dataset, _, _, test = build_data(config)
    batch = test._dataset[:]
    names = dataset.field2id_token["job"][batch[CONTEXT][:, 0]]
    users = dataset.field2id_token["user_id"][batch["user_id"]]
    assert all(name == ("cook" if int(user[1:]) % 2 else "nurse") for user, name in zip(users, names, strict=True))


def test_benchmark_files_with_item_lists(tmp_path):
    folder = tmp_path / "d" / "films"
    write_dataset(tmp_path / "d", "films")
    head = "user_id:token\titem_id_list:token_seq\titem_id:token"
    (folder / "films.train.inter").write_text(f"{head}\nu1\ti1 i2\ti3\nu1\ti1 i2 i3\ti4\nu2\ti9\ti8\n")
    (folder / "films.valid.inter").write_text(f"{head}\nu1\ti1 i2 i3 i4\ti5\nu2\ti9 i8\ti7\n")
    (folder / "films.test.inter").write_text(f"{head}\nu1\ti1 i2 i3 i4 i5\ti6\nu2\ti9 i8 i7\ti1\n")
    options = {
        "benchmark_filename": ["train", "valid", "test"],
        "alias_of_item_id": ["item_id_list"],
        "load_col": {"inter": ["user_id", "item_id_list", "item_id"], "item": ["item_id", "title", "genre"]},
    }
    dataset, train, _, test = build_data(make_config(tmp_path / "d", **options))
    stock_options = {**options, "load_col": {"inter": options["load_col"]["inter"]}, "MAX_ITEM_LIST_LENGTH": 8}
    stock_dataset, _, _, stock_test = stock(stock_options, "films", tmp_path / "d")
    tokens, stock_tokens = dataset.field2id_token["item_id"], stock_dataset.field2id_token["item_id"]
    ours, theirs = test._dataset[:], stock_test._dataset[:]
    for row in range(2):
        n = int(ours["item_length"][row])
        assert n == int(theirs["item_length"][row])
        mine = tokens[ours["item_id_list"][row, :n]].tolist()
        assert mine == stock_tokens[theirs["item_id_list"][row, :n]].tolist()
        assert tokens[ours["item_id"][row]] == stock_tokens[theirs["item_id"][row]]
    assert sum(counted_targets(train).values()) == 3


def test_benchmark_files_keep_the_latest_items(tmp_path):
    folder = tmp_path / "d" / "films"
    write_dataset(tmp_path / "d", "films")
    head = "user_id:token\titem_id_list:token_seq\titem_id:token"
    items = " ".join(f"i{k}" for k in range(1, 13))
    for part in ("train", "valid", "test"):
        (folder / f"films.{part}.inter").write_text(f"{head}\nu1\t{items}\ti13\n")
    options = {
        "benchmark_filename": ["train", "valid", "test"],
        "alias_of_item_id": ["item_id_list"],
        "load_col": {"inter": ["user_id", "item_id_list", "item_id"], "item": ["item_id", "title", "genre"]},
    }
    dataset, _, _, test = build_data(make_config(tmp_path / "d", **options))
    read = dataset.field2id_token["item_id"][test._dataset[0]["item_id_list"]].tolist()
    assert read == [f"i{k}" for k in range(5, 13)]


def test_parts_that_interleave_in_time(tmp_path):
    """Pre-split files in which a user's training targets lie between others: each is trained once, none is empty."""
    write_dataset(tmp_path / "d", "films")
    folder = tmp_path / "d" / "films"
    head = "user_id:token\titem_id:token\ttimestamp:float"
    for part, remainder in (("train", 0), ("valid", 1), ("test", 2)):
        rows = [f"{u}\ti{k}\t{k}" for u in ("a", "b") for k in range(20) if k % 3 == remainder]
        (folder / f"films.{part}.inter").write_text("\n".join([head, *rows]) + "\n")
    config = make_config(tmp_path / "d", benchmark_filename=["train", "valid", "test"], train_batch_size=1)
    _, train, _, _ = build_data(config)
    assert all((batch["item_id"] > 0).any() for batch in train)
    counts = counted_targets(train)
    assert len(counts) == 12 and set(counts.values()) == {1}  # item 0 has no predecessor


@pytest.mark.parametrize("size", [-1, 9, 100])
def test_windows_with_more_targets_than_they_read(films, size):
    with pytest.raises(ValueError, match="window_targets must be between 1 and"):
        build_data(make_config(films, window_targets=size))


@pytest.mark.parametrize(("encoder", "earlier"), [(None, 0), (0, 0), (5, 3), (8, 0), (9, 0)])
def test_the_encoder_reads_at_most_what_is_known(films, encoder, earlier):
    assert build_data(make_config(films, encoder_length=encoder))[1]._dataset._n_earlier == earlier


@pytest.mark.parametrize("encoder", [-1, 2.5, "~", True])
def test_encoder_length_out_of_range(films, encoder):
    with pytest.raises(ValueError, match=r"encoder_length must be ~ \(None\) or a whole number of at least 0"):
        build_data(make_config(films, encoder_length=encoder))


def test_whoever_asks_for_longer_histories_is_told_what_the_encoder_reads(films, caplog):
    build_data(make_config(films, MAX_ITEM_LIST_LENGTH=60))
    assert "the behaviour encoder reads the last 50. Set encoder_length" in caplog.text
    caplog.clear()
    build_data(make_config(films, MAX_ITEM_LIST_LENGTH=60, encoder_length=50))
    build_data(make_config(films, MAX_ITEM_LIST_LENGTH=40))
    assert "behaviour encoder" not in caplog.text


def test_clock_that_is_not_known(tmp_path):
    rows = [(u, i, "" if k % 10 == 0 else t) for k, (u, i, t) in enumerate(small_interactions())]
    data = write_dataset(tmp_path / "d", "films", rows)
    dataset = build_data(make_config(data, context_fields=["hour", "weekday", "gap"]))[0]
    missing = dataset.history.time < 0
    assert missing.sum() == sum(t == "" for _, _, t in rows)
    assert (dataset.context.codes[missing] == 0).all()
    first = dataset.history.user_start == np.arange(len(missing))
    after_missing = np.r_[False, missing[:-1]] & ~first
    assert (dataset.context.codes[after_missing, 2] == 0).all()
    assert (dataset.context.codes[~missing][:, :2] > 0).all()


def test_benchmark_files_with_plain_interactions(tmp_path):
    """Pre-split files without item lists: the history runs through all of them."""
    write_dataset(tmp_path / "d", "films")
    folder = tmp_path / "d" / "films"
    head = "user_id:token\titem_id:token\ttimestamp:float"
    train_rows = [f"{u}\ti{k}\t{k}" for u in ("a", "b") for k in range(1, 6)]
    (folder / "films.train.inter").write_text("\n".join([head, *train_rows]) + "\n")
    (folder / "films.valid.inter").write_text(f"{head}\na\ti7\t7\nb\ti8\t7\n")
    (folder / "films.test.inter").write_text(f"{head}\na\ti9\t9\nb\ti10\t9\n")
    config = make_config(tmp_path / "d", benchmark_filename=["train", "valid", "test"])
    dataset, train, valid, test = build_data(config)
    names = dataset.field2id_token["item_id"]
    row = test._dataset[0]
    assert names[row["item_id_list"][: int(row["item_length"])]].tolist() == ["i1", "i2", "i3", "i4", "i5", "i7"]
    assert names[int(row["item_id"])] == "i9"
    assert len(valid._dataset) == len(test._dataset) == 2
    assert sum(counted_targets(train).values()) == 8


def test_saved_dataset_is_not_reused_for_other_options(films):
    first = build_data(make_config(films, save_dataset=True))[0]
    same = build_data(make_config(films))[0]
    assert same.attributes.names == first.attributes.names
    other = build_data(make_config(films, intent_field=None))[0]
    assert len(other.attributes) == 0


def test_memory_is_linear_in_interactions(films):
    """No list column of the stock kind is kept: what is held is a few numbers an interaction."""
    _, train, _, test = build_data(make_config(films, MAX_ITEM_LIST_LENGTH=200))
    for dataset in (train._dataset, test._dataset):
        held = sum(t.numel() for t in dataset.inter_feat.interaction.values())
        assert held <= 8 * len(dataset.inter_feat)
    assert not any(name.endswith("_list") for name in train._dataset.inter_feat.interaction)


def test_training_batches_hold_nothing_of_the_target_but_its_id(tmp_path):
    """The target's rating is in RecBole's rows; it never reaches a training batch."""
    rows = [(u, i, t, 5) for u, i, t in small_interactions()]
    header = "user_id:token\titem_id:token\ttimestamp:float\trating:float"
    data = write_dataset(tmp_path / "d", "films", rows, inter_header=header)
    columns = {"inter": ["user_id", "item_id", "timestamp", "rating"], "item": ["item_id", "title", "genre"]}
    _, train, _, _ = build_data(make_config(data, load_col=columns))
    allowed = {"user_id", "item_id", "item_id_list", "item_length", INSTRUCTION}
    assert set(next(iter(train)).columns) == allowed
