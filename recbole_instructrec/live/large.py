"""Catalogues of very many items: a pass in low precision finds candidates, which are then scored exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from recbole_instructrec.model.instructions import Said
from recbole_instructrec.model.neighbours import Moved
from recbole_instructrec.model.text import multiplies_bfloat16

#: From so many items on.
LARGE = 50_000

#: Items of each request that are scored exactly.
CANDIDATES = 1_000

# Columns of a matrix that are read in one product: wider ones are slower than their parts on today's processors.
_COLUMNS = 64

# What an attribute that is hardly spoken of does to the scores is left to the exact scoring.
_LEAST = 1e-3

# Items whose best is looked at first when the best of all are sought.
_GROUP = 64


class LargeCatalogue:
    """Finds the items that are worth scoring.

    What is read of each item for a request are its vector, that of its text, and which attributes it has, among all
    sets of attributes that occur; neighbours and named items are added exactly.
    In bfloat16, where the processor multiplies that, a score is off by less than a hundredth, so that what the pass
    leaves out stands far below the end of any list.

    Parameters
    ----------
    model : InstructRec
        In evaluation mode.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._of: torch.Tensor | None = None
        self._vectors: list[torch.Tensor] = []
        self._texts = _blocks(model.match.directions()) if model.match is not None else []
        if model.answers is not None:
            has = model.answers.has
            sets = np.packbits(has.cpu().numpy() > 0, axis=1)
            _, first, of_item = np.unique(sets, axis=0, return_index=True, return_inverse=True)
            examples = torch.from_numpy(first).to(has.device)  # an item of each set
            self._has = has[examples].T.contiguous()  # [n_attributes, n_sets]
            self._log_count = model.answers.log_count[examples].T.contiguous()
            self._set = torch.from_numpy(of_item.astype(np.int32).ravel()).to(has.device)

    @staticmethod
    def possible(model: Any) -> bool:
        """Whether all that a model's scores are made of is known here."""
        return model.frozen_match is None

    def scores(
        self,
        hidden: torch.Tensor,
        said: Said,
        directions: torch.Tensor,
        seen: torch.Tensor,
        moved: Moved | None = None,
    ) -> torch.Tensor:
        """Scores in low precision, ``[n_requests, n_items]``.

        Parameters
        ----------
        hidden : Tensor
            Situations, ``[n_requests, d]``.
        said : Said
            What they say.
        directions : Tensor
            Item vectors of length 1, ``[n_items, d]``.
        seen : Tensor
            Items in each request's history, 0 for none, ``[n_requests, n_seen]``.
        moved : Moved, optional
            What moves the histories that neighbours see.
        """
        model = self._model
        if self._of is not directions:  # another version of the weights
            self._vectors, self._of = _blocks(directions), directions
        scores = _product(hidden, self._vectors)
        spoken = torch.nonzero(said.line >= 0).flatten()
        lines = said.line[spoken]
        if said.vectors is not None and len(spoken):
            if self._texts:
                _add(scores, spoken, _product(model.match.queries(said.vectors), self._texts), lines)
            if model.answers is not None and said.intent is not None:
                answers = self._answers(*model.answers.weights(said.intent))
                _add(scores, spoken, torch.stack([answer.index_select(0, self._set) for answer in answers]), lines)
            if model.near is not None and any(said.mentions):
                _add(scores, spoken, model.near(said.mentions, said.numbers.tolist()), lines)
        scores.add_(model.item_bias, alpha=model.network_weight)
        for near in model.neighbours:
            row, item, value = near.entries(seen, moved)
            scores.view(-1).index_add_(0, row * scores.shape[1] + item, value)
        if model.repeat is not None and seen.shape[1]:
            scores.scatter_(1, seen, scores.gather(1, seen) + model.network_weight * model.repeat_score)
        return scores

    def _answers(self, wish: torch.Tensor, purity: torch.Tensor) -> torch.Tensor:
        """What the attributes that are spoken of do, ``[n, n_sets]``."""
        spoken = torch.nonzero((wish.abs().amax(0) > _LEAST) | (purity.abs().amax(0) > _LEAST)).flatten()
        return wish[:, spoken] @ self._has[spoken] - purity[:, spoken] @ self._log_count[spoken]


def best_of_many(scores: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The k best scores and their places, as ``topk`` gives them, from few of very many.

    Parameters
    ----------
    scores : Tensor
        ``[n]``.
    k : int
        At most n.

    Returns
    -------
    tuple of Tensor
        ``[k]`` each.

    Notes
    -----
    Scores in groups: the k-th best of the groups' best is no better than the k-th best of all, so that all of the k
    best are among those that reach it.
    """
    n_groups = len(scores) // _GROUP
    if n_groups >= 2 * k:
        least = scores[: n_groups * _GROUP].view(n_groups, _GROUP).amax(1).topk(k).values[-1]
        reach = torch.nonzero(scores >= least).flatten()
        if len(reach) >= k:  # fewer where some are not a number
            best = scores[reach].topk(k)
            return best.values, reach[best.indices]
    every = scores.topk(k)
    return every.values, every.indices


def _add(scores: torch.Tensor, rows: torch.Tensor, extra: torch.Tensor, lines: torch.Tensor) -> None:
    """Add what instructions say to the rows of those who say them."""
    if len(rows) == len(scores):
        scores.add_(extra if len(lines) == len(extra) and len(lines) == 1 else extra[lines])
    else:
        scores.index_add_(0, rows, extra[lines])


def _blocks(matrix: torch.Tensor) -> list[torch.Tensor]:
    """A matrix in low precision, a few columns at a time."""
    kind = torch.bfloat16 if multiplies_bfloat16(matrix.device) else torch.float32
    return [matrix[:, begin : begin + _COLUMNS].to(kind).contiguous() for begin in range(0, matrix.shape[1], _COLUMNS)]


def _product(queries: torch.Tensor, blocks: list[torch.Tensor]) -> torch.Tensor:
    """Queries times items, float32, ``[n, n_items]``."""
    total = None
    for place, block in enumerate(blocks):
        part = queries[:, place * _COLUMNS : place * _COLUMNS + block.shape[1]].to(block.dtype)
        found = F.linear(part, block)
        total = found.float() if total is None else total.add_(found)
    assert total is not None
    return total
