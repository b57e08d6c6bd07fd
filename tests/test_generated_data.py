"""Properties that hold for any small data set, however odd."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from recbole.config import Config

from tests.support import build_all, build_data, make_config, write_dataset
from tests.test_dataset import assert_same_rows, counted_targets

#: A cell of an atomic file: anything but the separators of cells and lines.
CELL = st.text(
    st.characters(
        codec="utf-8", exclude_categories=["Cs"], exclude_characters="\t\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
    ),
    max_size=12,
)
GENRE = st.sampled_from(["", "Comedy", "Horror", "Comedy Horror", "Sci-Fi", '"odd', "NA"])


@st.composite
def data_sets(draw):
    """Interactions with ties and repeats, and an item file whose cells may hold anything."""
    n_users, n_items = draw(st.integers(1, 8)), draw(st.integers(1, 10))
    interactions = draw(
        st.lists(
            st.tuples(
                st.integers(0, n_users - 1).map("u{}".format),
                st.integers(0, n_items - 1).map("i{}".format),
                st.integers(0, 30) | st.integers(870_000_000, 900_000_000),
            ),
            min_size=2,
            max_size=60,
        )
    )
    items = [(f"i{k}", draw(CELL), draw(GENRE)) for k in range(n_items)]
    assume(max(Counter(user for user, _, _ in interactions).values()) > 1)
    return interactions, items


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(data_sets(), st.sampled_from(["windows", "prefixes"]), st.booleans(), st.integers(2, 12))
def test_rows_and_training(data, kind, first, length):
    interactions, items = data
    with tempfile.TemporaryDirectory() as folder:
        path = write_dataset(Path(folder), "films", interactions, items)
        options = {"training_rows": kind, "first_interaction_target": first, "MAX_ITEM_LIST_LENGTH": length}
        options |= {"topk": [1], "valid_metric": "NDCG@1"}  # there may be one item
        config = make_config(path, **options, text_encoder="sentence-transformers/all-MiniLM-L6-v2")
        model, _, train, valid, test = build_all(config)
        stock_config = Config(
            "GRU4Rec",
            "films",
            config_dict={
                "data_path": str(path),
                "seed": 7,
                "train_neg_sample_args": None,
                "MAX_ITEM_LIST_LENGTH": length,
                "load_col": {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id"]},
            },
        )
        _, stock_train, stock_valid, stock_test = build_data(stock_config)
        for ours, theirs in ((valid, stock_valid), (test, stock_test)):
            if len(theirs._dataset):
                assert_same_rows(ours, theirs)
        inter = stock_train._dataset.inter_feat
        expected = Counter(zip(inter["user_id"].tolist(), inter["item_id"].tolist(), strict=True))
        for epoch in range(2):
            train._dataset.start_epoch(epoch)
            counts = Counter(counted_targets(train))
            extra = counts - expected
            assert not expected - counts
            assert sum(extra.values()) == (len({user for user, _ in expected}) if first else 0)
        loss = sum(model.calculate_loss(batch) for batch in train)
        assert torch.isfinite(loss)
        for source in test._dataset.available_rows() if len(test._dataset) else []:
            test._dataset.use_instructions(source)
            scores = model.eval().full_sort_predict(test._dataset[:])
            assert scores.shape == (len(test._dataset), model.n_items) and torch.isfinite(scores).all()
