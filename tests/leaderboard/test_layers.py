"""The leaderboard's layers compute what RecBole's do."""

import pytest
import torch
from recbole.model.layers import FeedForward, TransformerEncoder
from torch import nn

from recbole_instructrec.leaderboard.layers import Dropout, use_fast_layers


@pytest.mark.parametrize("p", [0.2, 0.5])
def test_dropout_drops_its_share_everywhere_and_keeps_the_mean(p: float):
    torch.manual_seed(0)
    n = 400_003  # not a multiple of the numbers drawn at once
    values = torch.ones(n, requires_grad=True)
    dropped = Dropout(p)(values)
    kept = dropped != 0
    for lane in range(4):
        assert kept[lane::4].float().mean().item() == pytest.approx(1 - p, abs=0.01)
    assert (kept[:-1] & kept[1:]).float().mean().item() == pytest.approx((1 - p) ** 2, abs=0.01)
    assert dropped[kept].unique().tolist() == pytest.approx([1 / (1 - p)], rel=1e-4)
    dropped.sum().backward()
    assert torch.equal(values.grad, dropped.detach()), "what is dropped gets no gradient"


def test_dropout_follows_the_seed_and_rests_in_evaluation():
    layer, values = Dropout(0.5), torch.ones(7, 33)
    torch.manual_seed(1)
    first, second = layer(values), layer(values)
    torch.manual_seed(1)
    assert torch.equal(layer(values), first) and not torch.equal(first, second)
    assert torch.equal(layer.eval()(values), values)
    assert torch.equal(Dropout(0.0)(values), values) and not Dropout(1.0)(values).any()


def test_a_model_of_recbole_computes_the_same():
    torch.manual_seed(2)
    shape = {"n_layers": 2, "n_heads": 2, "hidden_size": 16, "inner_size": 32}
    stock = TransformerEncoder(**shape, hidden_dropout_prob=0.3, attn_dropout_prob=0.3, hidden_act="gelu")
    fast = TransformerEncoder(**shape, hidden_dropout_prob=0.3, attn_dropout_prob=0.3, hidden_act="gelu")
    fast.load_state_dict(stock.state_dict())
    use_fast_layers(fast)
    kinds = [type(module) for module in fast.modules()]
    assert nn.Dropout not in kinds and kinds.count(Dropout) == 6
    assert all(m.intermediate_act_fn is nn.functional.gelu for m in fast.modules() if isinstance(m, FeedForward))
    x, mask = torch.randn(3, 5, 16), torch.zeros(3, 1, 1, 5)
    out = [model.eval()(x, mask)[-1] for model in (stock, fast)]
    torch.testing.assert_close(out[1], out[0])
    grads = []
    for model, found in zip((stock, fast), out, strict=True):
        found.square().sum().backward()
        grads.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    torch.testing.assert_close(grads[1], grads[0], rtol=1e-4, atol=1e-5)
    relu = FeedForward(4, 8, 0.1, "relu", 1e-12)
    use_fast_layers(relu)
    assert relu.intermediate_act_fn is nn.functional.relu
