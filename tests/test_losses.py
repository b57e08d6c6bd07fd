"""The chunked softmax equals torch's, gradients included, and never holds all scores."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from recbole_instructrec.model import losses
from recbole_instructrec.model.losses import Scores, all_scores, softmax_cross_entropy


def example(n=23, n_items=31, size=6, n_seen=5, seed=0):
    torch.manual_seed(seed)
    seen = torch.randint(0, n_items, (n, n_seen))
    seen[:, -1] = seen[:, 0]  # an item seen twice
    seen[0] = 0
    parts = Scores(
        hidden=torch.randn(n, size, dtype=torch.float64, requires_grad=True),
        table=torch.randn(n_items, size, dtype=torch.float64, requires_grad=True),
        bias=torch.randn(n_items, dtype=torch.float64).index_fill(0, torch.tensor([0]), -1e9).requires_grad_(),
        extra=torch.randn(4, n_items, dtype=torch.float64, requires_grad=True),
        extra_row=torch.randint(-1, 4, (n,)),
        seen=seen,
        repeat=torch.tensor(-0.7, dtype=torch.float64, requires_grad=True),
    )
    first = torch.zeros(n, n_seen, dtype=torch.float64)
    for row in range(n):
        for column in range(n_seen):
            item = int(seen[row, column])
            first[row, column] = float(item > 0 and item not in seen[row, :column].tolist())
    return parts, torch.randint(1, n_items, (n,)), first


def dense_loss(parts, target):
    """The same scores written out in the plainest way."""
    logits = parts.hidden @ parts.table.T + parts.bias
    logits = logits + torch.where((parts.extra_row >= 0)[:, None], parts.extra[parts.extra_row.clamp(min=0)], 0.0)
    held = torch.zeros_like(logits).scatter(1, parts.seen, 1.0)
    held[:, 0] = 0
    return F.cross_entropy(logits + held * parts.repeat, target)


@pytest.mark.parametrize("chunk", [0, 1, 7, 100])
def test_equals_torch_with_gradients(chunk):
    parts, target, first = example()
    expected = dense_loss(parts, target)
    wanted = torch.autograd.grad(expected, [parts.hidden, parts.table, parts.bias, parts.extra, parts.repeat])
    found = softmax_cross_entropy(parts, target, first, chunk)
    torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=1e-6)
    got = torch.autograd.grad(found * 1.0, [parts.hidden, parts.table, parts.bias, parts.extra, parts.repeat])
    for ours, theirs, name in zip(got, wanted, ["hidden", "table", "bias", "extra", "repeat"], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-8, msg=name)


def test_never_holds_all_scores(monkeypatch):
    parts, target, first = example(n=50)
    sizes = []

    def watch(scores):
        result = all_scores(scores)
        sizes.append(result.shape[0])
        return result

    monkeypatch.setattr(losses, "all_scores", watch)
    softmax_cross_entropy(parts, target, first, 8).backward()
    assert max(sizes) == 8 and sum(sizes) == 50


def test_no_seen_and_no_instructions():
    parts, target, _ = example()
    bare = parts._replace(seen=parts.seen[:, :0], extra=parts.extra[:0], extra_row=torch.full_like(parts.extra_row, -1))
    loss = softmax_cross_entropy(bare, target, torch.zeros(len(target), 0), 5)
    torch.testing.assert_close(
        loss.double(), F.cross_entropy(parts.hidden @ parts.table.T + parts.bias, target), rtol=1e-6, atol=1e-6
    )
