"""What the leaderboard leaves out of RecBole's models changes no loss, no gradient and no score."""

import copy
from pathlib import Path

import pytest
import torch
from recbole.utils import get_model

from recbole_instructrec.leaderboard.layers import use_fast_layers
from recbole_instructrec.leaderboard.sequences import LastItemEncoder, leave_out_padding
from tests.support import SMALL, build_all, build_data, make_config

SHORT = {
    **{name: SMALL[name] for name in ("load_col", "topk", "valid_metric")},
    **{"hidden_size": 16, "embedding_size": 16, "inner_size": 32, "n_layers": 2, "n_heads": 2},
    **{"train_neg_sample_args": None, "selected_features": ["genre"], "MAX_ITEM_LIST_LENGTH": 12},
    "train_batch_size": 64,
}
ENCODERS = {"SASRec": 1, "SASRecF": 1, "FDSA": 2}


@pytest.mark.parametrize("name", ["GRU4Rec", "SASRec", "SASRecF", "FDSA", "BERT4Rec", "LightSANs"])
def test_loss_gradients_and_scores_stay(films: Path, name: str):
    stock, _, train, valid, _ = build_all(make_config(films, model=name, **SHORT))
    torch.manual_seed(3)
    for parameter in stock.parameters():  # as it starts, all scores are near 0
        torch.nn.init.normal_(parameter, std=0.3)
    less = copy.deepcopy(stock)
    leave_out_padding(less)
    assert [n for n, _ in less.named_parameters()] == [n for n, _ in stock.named_parameters()]
    assert sum(isinstance(m, LastItemEncoder) for m in less.modules()) == ENCODERS.get(name, 0)

    batch = next(iter(train))
    lengths = batch["item_length"]
    assert lengths.min() < 4 and lengths.max() == 12 and not torch.equal(lengths, lengths.sort()[0])
    losses = [model.eval().calculate_loss(batch) for model in (stock, less)]
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-5, atol=1e-5)
    assert losses[0] > 1
    for loss in losses:
        loss.backward()
    for (part, a), (_, b) in zip(stock.named_parameters(), less.named_parameters(), strict=True):
        if a.grad is not None:
            torch.testing.assert_close(b.grad, a.grad, rtol=1e-3, atol=1e-5, msg=part)

    rows = next(iter(valid))[0]
    with torch.no_grad():
        scores = [model.full_sort_predict(rows) for model in (stock, less)]
    torch.testing.assert_close(scores[1], scores[0], rtol=1e-4, atol=1e-4)
    assert scores[0].std() > 0.1


def test_dropout_still_drops(films: Path):
    model, _, train, _, _ = build_all(make_config(films, model="SASRec", **SHORT))
    use_fast_layers(model)
    leave_out_padding(model)
    batch = next(iter(train))
    first, second = (model.train().calculate_loss(batch) for _ in range(2))
    assert first != second and model.eval().calculate_loss(batch) == model.calculate_loss(batch)


def test_a_model_that_is_derived_from_one_of_these_stays_as_it_is(films: Path):
    config = make_config(films, model="SASRec", **SHORT)
    model = type("Derived", (get_model("SASRec"),), {})(config, build_data(config)[1]._dataset)
    leave_out_padding(model)
    assert "forward" not in vars(model) and not any(isinstance(m, LastItemEncoder) for m in model.modules())
