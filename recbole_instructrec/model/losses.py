"""Softmax cross-entropy over the whole catalogue, a chunk of targets at a time.

What is held for all targets at once are their vectors; besides, one line of
scores for each *distinct* instruction of the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch.autograd.function import once_differentiable


@dataclass(frozen=True)
class Further:
    """Scores of n rows that nothing is learned from, made when they are needed.

    Attributes
    ----------
    make : callable
        Takes places of rows; gives their scores ``[n_rows, n_items]``.
    rows : Tensor
        Which rows, in order, ``[n]``.
    """

    make: Callable[[torch.Tensor], torch.Tensor]
    rows: torch.Tensor

    def __call__(self) -> torch.Tensor:
        """The scores, ``[n, n_items]``."""
        return self.make(self.rows)


class Scores(NamedTuple):
    """What the scores of n rows over the catalogue are made of.

    Attributes
    ----------
    hidden : Tensor
        Row vectors, ``[n, d]``.
    table : Tensor
        Item vectors, ``[n_items, d]``.
    bias : Tensor
        Of each item, ``[n_items]``.
    extra : Tensor
        Scores that belong to an instruction, ``[n_instructions, n_items]``.
    extra_row : Tensor
        Each row's line of ``extra``, -1 for none, ``[n]``.
    seen : Tensor
        Items that each row's history holds, 0 for none, ``[n, n_seen]``; the
        bias of padding item 0 must put it out of reach.
    repeat : Tensor
        Score added to seen items, a scalar.
    further : Further or None
        Further scores of the same rows and items.
    """

    hidden: torch.Tensor
    table: torch.Tensor
    bias: torch.Tensor
    extra: torch.Tensor
    extra_row: torch.Tensor
    seen: torch.Tensor
    repeat: torch.Tensor
    further: Further | None = None

    def part(self, rows: slice) -> Scores:
        """The same of some rows."""
        further = self.further
        return self._replace(
            hidden=self.hidden[rows],
            extra_row=self.extra_row[rows],
            seen=self.seen[rows],
            further=None if further is None else replace(further, rows=further.rows[rows]),
        )


def all_scores(scores: Scores) -> torch.Tensor:
    """Scores of all items.

    Parameters
    ----------
    scores : Scores
        Of n rows. Vectors in half precision are multiplied in it, which is for training alone: it ties what lies close.

    Returns
    -------
    Tensor
        ``[n, n_items]``.
    """
    with torch.autocast(scores.hidden.device.type, enabled=False):
        if scores.hidden.dtype == scores.bias.dtype:
            logits = torch.addmm(scores.bias, scores.hidden, scores.table.T)
        else:
            logits = (scores.hidden @ scores.table.T).to(scores.bias.dtype).add_(scores.bias)
        if scores.further is not None:
            logits += scores.further()
    instructed = torch.nonzero(scores.extra_row >= 0).flatten()
    if len(instructed):
        logits.index_add_(0, instructed, scores.extra[scores.extra_row[instructed]])
    if scores.seen.shape[1]:
        # An item that was seen twice is written twice with the same score.
        logits.scatter_(1, scores.seen, logits.gather(1, scores.seen) + scores.repeat)
    return logits


class _CrossEntropy(torch.autograd.Function):
    """Gradients are formed chunk by chunk in the forward pass; no chunk's scores outlive it."""

    @staticmethod
    def forward(
        ctx: Any,
        target: torch.Tensor,
        first_seen: torch.Tensor,
        own: torch.Tensor | None,
        chunk: int,
        further: Further | None,
        *parts: torch.Tensor,
    ) -> torch.Tensor:
        hidden, table, bias, extra, extra_row, seen, repeat = parts
        scores = Scores(hidden, table, bias, extra, extra_row, seen, repeat, further)
        n = len(target)
        grads = scores._replace(
            hidden=torch.zeros_like(hidden),
            table=torch.zeros_like(table),
            bias=torch.zeros_like(bias),
            extra=torch.zeros_like(extra),
            repeat=torch.zeros_like(repeat),
        )
        loss = scores.hidden.new_zeros((), dtype=torch.float32)
        kind = hidden.device.type
        # Under autocast the three products of a chunk are in half precision, all between them in float32.
        if torch.is_autocast_enabled(kind):
            low = torch.get_autocast_dtype(kind)
            scores = scores._replace(hidden=hidden.to(low), table=table.to(low))
        for begin in range(0, n, chunk):
            rows = slice(begin, begin + chunk)
            part = scores.part(rows)
            logits = all_scores(part)
            wanted = target[rows, None]
            if own is not None:
                logits.scatter_add_(1, wanted, own[rows, None])
            highest = logits.amax(1, keepdim=True)
            loss -= (logits.gather(1, wanted) - highest).sum(dtype=torch.float32)
            share = logits.sub_(highest).exp_()
            total = share.sum(1, keepdim=True)
            loss += total.log().sum(dtype=torch.float32)
            share.mul_(1.0 / (n * total))
            share.scatter_add_(1, wanted, torch.full_like(total, -1.0 / n))  # now the gradient of the scores
            with torch.autocast(kind, enabled=False):
                weight = share.to(part.table.dtype)
                grads.hidden[rows] = weight @ part.table
                grads.table.add_(weight.T @ part.hidden)
            grads.bias.add_(share.sum(0))
            instructed = torch.nonzero(part.extra_row >= 0).flatten()
            if len(instructed):
                grads.extra.index_add_(0, part.extra_row[instructed], share[instructed])
            if part.seen.shape[1]:
                grads.repeat.add_((share.gather(1, part.seen) * first_seen[rows]).sum())
        ctx.save_for_backward(grads.hidden, grads.table, grads.bias, grads.extra, grads.repeat)
        return loss / n

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *outer: torch.Tensor) -> Any:
        hidden, table, bias, extra, repeat = (grad * outer[0] for grad in ctx.saved_tensors)
        return None, None, None, None, None, hidden, table, bias, extra, None, None, repeat


def softmax_cross_entropy(
    scores: Scores, target: torch.Tensor, first_seen: torch.Tensor, chunk: int, own: torch.Tensor | None = None
) -> torch.Tensor:
    """Mean cross-entropy of the targets, never holding more than ``chunk x n_items`` scores.

    Parameters
    ----------
    scores : Scores
        Of n rows.
    target : Tensor
        Item ids, ``[n]``.
    first_seen : Tensor
        1.0 where an entry of ``scores.seen`` is an item's only or first one in
        its row and not padding, else 0.0; ``[n, n_seen]``.
    chunk : int
        Rows at a time, 0 for all.
    own : Tensor, optional
        Added to the score of each row's target, ``[n]``.

    Returns
    -------
    Tensor
        Scalar.
    """
    parts = scores[: Scores._fields.index("further")]
    return _CrossEntropy.apply(target, first_seen, own, chunk or max(1, len(target)), scores.further, *parts)
