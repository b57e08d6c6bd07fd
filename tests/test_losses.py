"""The chunked softmax equals torch's, gradients included, and never holds all scores."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from recbole_instructrec.model import losses
from recbole_instructrec.model.losses import Further, Scores, all_scores, softmax_cross_entropy
from recbole_instructrec.model.sampled import SampledCatalogue


def given(scores):
    """Further scores that are written down."""
    return Further(lambda rows: scores[rows], torch.arange(len(scores)))


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
        further=given(torch.rand(n, n_items, dtype=torch.float64)),
    )
    first = torch.zeros(n, n_seen, dtype=torch.float64)
    for row in range(n):
        for column in range(n_seen):
            item = int(seen[row, column])
            first[row, column] = float(item > 0 and item not in seen[row, :column].tolist())
    return parts, torch.randint(1, n_items, (n,)), first


def in_single(parts):
    """The same in float32, without further scores."""
    return Scores(*(p.detach().float() if p.is_floating_point() else p for p in parts[:7]))


def dense_loss(parts, target):
    """The same scores written out in the plainest way."""
    logits = parts.hidden @ parts.table.T + parts.bias + parts.further()
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


def test_half_precision_is_near():
    parts, target, first = example(n=200, n_items=300)
    parts = in_single(parts)
    learned = [parts.hidden, parts.table, parts.bias, parts.extra, parts.repeat]
    for tensor in learned:
        tensor.requires_grad_()
    exact = softmax_cross_entropy(parts, target, first.float(), 64)
    wanted = torch.autograd.grad(exact, learned)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = softmax_cross_entropy(parts, target, first.float(), 64)
    assert found.dtype == torch.float32 and 0 < abs(found - exact) < 0.01
    for ours, theirs in zip(torch.autograd.grad(found, learned), wanted, strict=True):
        assert ours.dtype == torch.float32
        assert torch.linalg.vector_norm(ours - theirs) < 0.02 * torch.linalg.vector_norm(theirs)


def test_scores_keep_their_digits_under_autocast():
    parts, _, _ = example()
    parts = in_single(parts)
    exact = all_scores(parts)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(all_scores(parts), exact, rtol=0, atol=0)


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
    bare = bare._replace(further=None)
    loss = softmax_cross_entropy(bare, target, torch.zeros(len(target), 0), 5)
    torch.testing.assert_close(
        loss.double(), F.cross_entropy(parts.hidden @ parts.table.T + parts.bias, target), rtol=1e-6, atol=1e-6
    )


def test_sampled_softmax_over_everything_is_the_whole_one():
    parts, target, first = example()
    counts = torch.bincount(target, minlength=31).numpy()
    wanted_of = [parts.hidden, parts.table, parts.bias, parts.extra, parts.repeat]
    expected = dense_loss(parts, target)
    wanted = torch.autograd.grad(expected, wanted_of)
    part, place, first, own = SampledCatalogue(counts, 3000)(parts, target, first)
    assert part.table.shape == parts.table.shape
    found = softmax_cross_entropy(part, place, first, 7, own)
    torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=1e-6)
    for ours, theirs in zip(torch.autograd.grad(found, wanted_of), wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)


def test_sampled_softmax_estimates_the_sum_over_the_catalogue():
    parts, target, first = example(n=9)
    parts = Scores(*(part.detach() for part in parts[:7]))
    counts = torch.randint(0, 9, (31,), generator=torch.Generator().manual_seed(1))
    counts[0] = 0
    sampled, whole = SampledCatalogue(counts.numpy(), 4), all_scores(parts)[0].exp().sum()
    sums, sizes = [], []
    for _ in range(4000):
        target[1:] = torch.multinomial(counts.double(), 8, replacement=True)
        part, place, _, own = sampled(parts, target, first)
        logits = all_scores(part)[0]
        logits[place[0]] += own[0]
        sums.append(logits.exp().sum())
        sizes.append(len(part.table))
    found = torch.stack(sums)
    assert max(sizes) <= 1 + 9 + 4
    assert abs(found.mean() - whole) < 4 * found.std() / len(sums) ** 0.5
    assert found.std() / whole > 0.05  # which is more than nothing to be mistaken about


def test_sampled_softmax_keeps_what_was_seen_apart():
    parts, target, first = example()
    parts = parts._replace(further=None)
    part, place, kept, _ = SampledCatalogue(torch.ones(31).numpy(), 2)(parts, target, first)
    torch.testing.assert_close(part.table[place], parts.table[target])
    assert ((part.seen > 0) | (kept == 0)).all() and 0 < kept.sum() < first.sum()
    torch.testing.assert_close(part.table[part.seen[kept > 0]], parts.table[parts.seen[kept > 0]])
    loss = softmax_cross_entropy(part, place, kept, 0)
    loss.backward()
    assert torch.isfinite(loss) and parts.repeat.grad != 0
