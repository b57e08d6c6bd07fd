"""What the leaderboard leaves out of RecBole's models changes no loss, no gradient and no score."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from recbole.model.layers import LightMultiHeadAttention
from recbole.utils import get_model

from recbole_instructrec.leaderboard.layers import use_fast_layers
from recbole_instructrec.leaderboard.light_attention import attend, attend_at
from recbole_instructrec.leaderboard.sequences import LastItemEncoder, leave_out_padding
from tests.support import SMALL, build_all, build_data, make_config

SHORT = {
    **{name: SMALL[name] for name in ("load_col", "topk", "valid_metric")},
    **{"hidden_size": 16, "embedding_size": 16, "inner_size": 32, "n_layers": 2, "n_heads": 2},
    **{"train_neg_sample_args": None, "selected_features": ["genre"], "MAX_ITEM_LIST_LENGTH": 12},
    "train_batch_size": 64,
}
DROPOUTS = ("hidden_dropout_prob", "attn_dropout_prob")
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
            found = torch.zeros_like(a) if b.grad is None else b.grad  # LightSANs' query has a bias of no effect
            torch.testing.assert_close(found, a.grad, rtol=1e-3, atol=1e-5, msg=part)

    rows = next(iter(valid))[0]
    with torch.no_grad():
        scores = [model.full_sort_predict(rows) for model in (stock, less)]
    torch.testing.assert_close(scores[1], scores[0], rtol=1e-4, atol=1e-4)
    assert scores[0].std() > 0.1


def test_what_no_score_depends_on_is_not_computed(films: Path, monkeypatch: pytest.MonkeyPatch):
    def computed(name: str) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
        """Shapes of what is embedded, and of what a last layer's feed-forward part reads, in a loss."""
        model, _, train, _, _ = build_all(make_config(films, model=name, **SHORT))
        use_fast_layers(model)
        leave_out_padding(model)
        embedded, last = list[tuple[int, ...]](), list[tuple[int, ...]]()
        model.item_embedding.register_forward_pre_hook(lambda _, given: embedded.append(tuple(given[0].shape)))
        if hasattr(model, "trm_encoder"):
            part = model.trm_encoder.layer[-1].feed_forward
            part.register_forward_pre_hook(lambda _, given: last.append(tuple(given[0].shape)))
        model.eval().calculate_loss(next(iter(train)))
        return embedded, last

    for name in ("GRU4Rec", "SASRec", "BERT4Rec"):
        embedded, _ = computed(name)
        own = [shape for shape in embedded if len(shape) == 2]
        assert sum(n for n, _ in own) == 64 and len(own) == 8, "in eight parts"
        assert min(length for _, length in own) < 6 < max(length for _, length in own) <= 13
    assert {length for _, length, _ in computed("SASRec")[1]} == {1}
    assert [len(shape) for shape in computed("LightSANs")[1]] == [2], "one position of each row"

    counted: list[int] = []
    entropy = torch.nn.functional.cross_entropy
    monkeypatch.setattr(
        torch.nn.functional,
        "cross_entropy",
        lambda logits, *more: (counted.append(len(logits)), entropy(logits, *more))[1],
    )
    model, _, train, _, _ = build_all(make_config(films, model="BERT4Rec", **SHORT))
    leave_out_padding(model)
    batch = next(iter(train))
    model.calculate_loss(batch)
    assert counted == [int((batch[model.MASK_INDEX] > 0).sum())] and counted[0] < batch[model.MASK_INDEX].numel()


class Masked(torch.nn.Module):
    """A dropout whose mask is given."""

    def __init__(self, mask: torch.Tensor) -> None:
        super().__init__()
        self.mask = mask

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.mask


@pytest.mark.parametrize(("heads", "interests", "size", "length"), [(2, 5, 16, 12), (1, 1, 4, 1), (3, 7, 12, 5)])
def test_projected_interests_are_those_of_projected_items(heads: int, interests: int, size: int, length: int):
    torch.manual_seed(5)
    layer = LightMultiHeadAttention(heads, interests, size, length, 0.5, 0.5, 1e-12).double()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    index, rows = torch.randint(length, (6,)), torch.arange(6)
    hidden = torch.randn(6, length, size, dtype=torch.float64, requires_grad=True)
    positions = torch.randn(length, size, dtype=torch.float64, requires_grad=True)
    kept, out = (torch.randint(2, shape) * 2.0 for shape in ((6, length, heads, interests), (6, length, size)))
    asked = [hidden, positions, *(p for name, p in layer.named_parameters() if name != "query.bias")]  # of no effect

    def computed(work: Callable[[], torch.Tensor], of_weights: torch.Tensor, of_output: torch.Tensor) -> list:
        layer.attn_dropout, layer.out_dropout = Masked(of_weights), Masked(of_output)
        found = work()
        return [found, *torch.autograd.grad((found**3).sum(), asked)]

    for at in (False, True):
        stock = computed(
            lambda at=at: layer(hidden, positions)[rows, index] if at else layer(hidden, positions),
            kept.permute(0, 2, 1, 3),
            out,
        )
        if at:
            ours = computed(lambda: attend_at(layer, hidden, positions, index), kept[rows, index], out[rows, index])
        else:
            ours = computed(lambda: attend(layer, hidden, positions), kept, out)
        assert stock[0].std() > 0.1
        torch.testing.assert_close(ours, stock, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["SASRec", "BERT4Rec", "LightSANs"])
def test_a_copy_computes_with_its_own_weights(films: Path, name: str):
    model, _, train, valid, _ = build_all(make_config(films, model=name, **SHORT))
    leave_out_padding(model)
    other = copy.deepcopy(model).eval()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
        rows, batch = next(iter(valid))[0], next(iter(train))
        assert not other.full_sort_predict(rows).any() and model.eval().full_sort_predict(rows).any()
        assert other.calculate_loss(batch) != model.calculate_loss(batch)


@pytest.mark.parametrize(("name", "dropout"), [("SASRec", {}), *(("LightSANs", {part: 0.0}) for part in DROPOUTS)])
def test_dropout_still_drops(films: Path, name: str, dropout: dict[str, float]):
    model, _, train, _, _ = build_all(make_config(films, model=name, **SHORT, **dropout))
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
