"""Item neighbours: what others took around the items of a history, and what is described alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import nn

from recbole_instructrec.data.dataset import AROUND_BEFORE, KNOWN, TARGET
from recbole_instructrec.data.transitions import BACK, DECAY, RECENT, SPAN

# Popular items are met everywhere: how much of that is taken out of what leads to an item, and of the item itself.
_POPULARITY_OF_SOURCE, _POPULARITY, _SMOOTHING = 0.4, 0.2, 5.0

# Neighbours of an item by counts and by text; how fast likeness of texts falls with their cosine.
_MOST, _MOST_ALIKE, _SHARPNESS = 500, 50, 5.0

# A dense matrix of so many items takes 64 MiB and is read faster.
_DENSE = 4096

# Numbers of a block of cosines.
_BLOCK = 1 << 26


class ItemNeighbours(nn.Module):
    r"""Scores items by their nearness to the last items of a history.

    .. math:: n_j = w \log(1 + s_j / m), \qquad s_j = \sum_k d^k T_{x_k j}

    with the last item :math:`x_0`, the one before :math:`x_1` and so on, :data:`RECENT` of them. T are weighted counts
    of items taken around each other (:func:`~recbole_instructrec.data.transitions.transition_counts`), less what is
    due to popularity, the 500 largest of each item, plus the likeness of texts; m is the mean of s over items, after
    a history that is long enough. Items of the history itself have no such score. Nothing here is learned by
    gradients. In training, what the row's own user has added to the counts is taken away, also by what came before
    the row and after it: else every target would be found in them.

    Parameters
    ----------
    counts : iterable of scipy.sparse.csr_matrix
        Blocks of rows, ``[n_items, n_items]`` together.
    taken : ndarray
        How often each item was a training target, ``[n_items]``.
    texts : ndarray
        Vectors of the item texts, ``[n_items, text width]``.
    has_text : ndarray of bool
        ``[n_items]``.
    weight : float
        w.
    text_share : float
        What the likeness of texts sums up to, against the counts.
    decay : float
        d.
    back : float
        What a pair counts on the way back, as the counts have it.
    longest : int
        Items of a history that are known; fewer than :data:`RECENT` are looked at where it is shorter.

    References
    ----------
    Sarwar et al., Item-based Collaborative Filtering Recommendation Algorithms, WWW 2001; Garg et al., Sequence and
    Time Aware Neighborhood for Session-based Recommendations (STAN), SIGIR 2019, for the decays.
    """

    def __init__(
        self,
        counts: Iterable[sparse.csr_matrix],
        taken: np.ndarray,
        texts: np.ndarray,
        has_text: np.ndarray,
        weight: float,
        text_share: float,
        decay: float,
        back: float = BACK,
        longest: int = RECENT,
    ) -> None:
        super().__init__()
        self.n_items, self.weight, self.back, self.longest = len(taken), weight, back, min(longest, RECENT)
        popularity = taken + _SMOOTHING
        of_source, of_item = popularity**-_POPULARITY_OF_SOURCE, popularity**-_POPULARITY
        blocks, begin, n_counted = [], 0, 0
        for block in counts:
            sources = sparse.diags(of_source[begin : begin + block.shape[0]])
            blocks.append(_largest((sources @ block @ sparse.diags(of_item)).tocsr(), _MOST))
            begin, n_counted = begin + block.shape[0], n_counted + block.nnz
        near = sparse.vstack(blocks, format="csr")
        pairs = _keys(near) if near.nnz < n_counted else None
        if text_share and has_text.sum() > 1:
            alike = likeness(texts, has_text)
            near = (near + alike * (text_share * (near.sum() or 1.0) / alike.sum())).tocsr()
        recency = decay ** np.arange(RECENT) * (np.arange(RECENT) < self.longest)
        reached = float(np.asarray(near.sum(1)).ravel() @ taken) / max(float(taken.sum()), 1.0)
        self.level = reached / max(self.n_items - 1, 1) * float(recency.sum()) or 1.0
        kept: dict[str, np.ndarray | None] = {
            "start": near.indptr.astype(np.int64),
            "neighbour": near.indices.astype(np.int32),
            "value": near.data.astype(np.float32),
            "dense": near.toarray().astype(np.float32) if self.n_items <= _DENSE else None,
            "pairs": pairs,
            "of_source": of_source.astype(np.float32),
            "of_item": of_item.astype(np.float32),
            "recency": recency.astype(np.float32),
        }
        # No buffers: a moving average of the weights and DDP would copy them at every step.
        self._kept = {name: torch.from_numpy(values) for name, values in kept.items() if values is not None}

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], *args: Any, **kwargs: Any) -> ItemNeighbours:
        """To another device, as torch moves buffers."""
        self._kept = {name: fn(tensor) for name, tensor in self._kept.items()}
        super()._apply(fn, *args, **kwargs)
        return self

    # --- of whole histories ------------------------------------------------------------------

    def of_histories(self, history: torch.Tensor, items: torch.Tensor | None = None) -> torch.Tensor:
        """Scores after n histories.

        Parameters
        ----------
        history : Tensor
            Item ids in order of time, 0 for none anywhere, ``[n, length]``.
        items : Tensor, optional
            Only these are scored, in this order.

        Returns
        -------
        Tensor
            ``[n, n_items]``, or as many columns as ``items``.
        """
        places = self._places(items)
        return self._score(_without(self._sums(self._recent(history), places), history, places))

    def entries(self, history: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The scores of :meth:`of_histories` that are not 0: row, item and score, ``[n_entries]`` each."""
        row, item, value = self._weighted(self._recent(history))
        key, place = torch.unique(row * self.n_items + item, return_inverse=True)
        sums = value.new_zeros(len(key)).index_add_(0, place, value)
        own = history + torch.arange(len(history), device=history.device).unsqueeze(1) * self.n_items
        new = ~torch.isin(key, own)
        key, sums = key[new], sums[new]
        return key // self.n_items, key % self.n_items, self._score(sums)

    def without_each(self, history: torch.Tensor, items: torch.Tensor, n: int) -> torch.Tensor:
        """Scores of some items after a history without each of its last n items in turn.

        Parameters
        ----------
        history : Tensor
            Item ids, ``[length]``, at least n.
        items : Tensor
            ``[n_scored]``.
        n : int
            How many of the last items, at most :data:`RECENT`.

        Returns
        -------
        Tensor
            ``[n + 1, n_scored]``: without the first of them, ..., without the last, and the whole history.
        """
        recent = history[-RECENT - 1 :]  # one more comes into sight where one is left out
        rows = recent.repeat(n + 1, 1)
        rows[torch.arange(n), torch.arange(len(recent) - n, len(recent))] = 0
        return self.of_histories(rows, items)

    # --- of training rows --------------------------------------------------------------------

    def of_targets(
        self,
        around: torch.Tensor,
        counted: torch.Tensor,
        row: torch.Tensor,
        step: torch.Tensor,
        seen: torch.Tensor,
        items: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Scores at n targets of training rows, without what the rows' users have added to the counts.

        Parameters
        ----------
        around : Tensor
            Items from :data:`~recbole_instructrec.data.dataset.AROUND_BEFORE` before the first that a row reads to
            those after its last target, 0 for none, ``[batch_size, width]``.
        counted : Tensor
            How each of them takes part in the counts: :data:`KNOWN` and :data:`TARGET`, ``[batch_size, width]``.
        row, step : Tensor
            Of each target, in order: its row, and how many items that row reads before it, ``[n]``.
        seen : Tensor
            Items in each target's history, 0 for none, ``[n, n_seen]``.
        items : Tensor, optional
            Only these are scored, in this order; the first stands for all that are not among them.

        Returns
        -------
        Tensor
            ``[n, n_items]``, or as many columns as ``items``.

        Notes
        -----
        Where somebody took both items of a pair twice, more than :data:`SPAN` and :data:`RECENT` steps away from the
        row, that other pair stays in the counts.
        """
        low, high = int(row[0]), int(row[-1]) + 1
        filled = torch.nonzero((around[low:high] > 0).any(0)).flatten()
        first_step, last_step = int(step.min()), int(step.max())
        # Columns that are needed: the last items before the first step, and all that pairs were counted with.
        begin, end = min(int(filled[0]), AROUND_BEFORE), int(filled[-1]) + 1
        near, counted = around[low:high, begin:end], counted[low:high, begin:end]
        row, at = row - low, AROUND_BEFORE - begin
        source = slice(max(0, at + first_step - RECENT), at + last_step)
        back = torch.arange(first_step, last_step + 1, device=near.device).unsqueeze(1) + at - 1
        back = back - torch.arange(near.shape[1], device=near.device)  # [n_steps, width]: items taken since
        recent = (back >= 0) & (back < self.longest)
        recency = (self._kept["recency"][back.clamp(0, RECENT - 1)] * recent)[:, source]
        places, step = self._places(items), step - first_step
        last = near[row] * recent[step]  # [n, width]
        if len(row) <= 2 * len(near):  # prefixes: few of the steps are wanted
            sums = self._sums(self._recent(last), places)
        else:
            sums = (recency @ self._rows(near[:, source], places))[row, step]
        own = (recency @ self._own(near, counted, source))[row, step]  # [n, width]
        # A little more than was added: in float32 something would be left of it.
        sums.scatter_add_(1, _at(near[row], places), own * -(1.0 + 1e-5))
        return self._score(_without(sums.clamp_(min=0.0), torch.cat([seen, last], dim=1), places))

    def _own(self, near: torch.Tensor, counted: torch.Tensor, source: slice) -> torch.Tensor:
        """What rows have added to the nearness of their items to some of them, ``[batch_size, n_sources, width]``."""
        place = torch.arange(near.shape[1], device=near.device)
        apart = place - place.unsqueeze(1)  # [width, width]: from the row's item to the column's
        known, target = (counted & KNOWN) > 0, (counted & TARGET) > 0
        ahead = DECAY ** (apart - 1.0) * ((apart > 0) & (apart <= SPAN))
        behind = self.back * DECAY ** (-apart - 1.0) * ((apart < 0) & (apart >= -SPAN))
        own = ahead * (known.unsqueeze(2) & target.unsqueeze(1)) + behind * (target.unsqueeze(2) & known.unsqueeze(1))
        alike = near.unsqueeze(2) == near.unsqueeze(1)
        own = own.masked_fill(alike, 0.0)
        alike = alike & (near > 0).unsqueeze(2)
        # An item that was taken twice leads to the pairs of both times.
        own = alike[:, source].float() @ own if alike.sum() > (near > 0).sum() else own[:, source]
        own = own * self._kept["of_source"][near[:, source]].unsqueeze(2) * self._kept["of_item"][near].unsqueeze(1)
        pairs = self._kept.get("pairs")
        if pairs is not None:  # what is not among the neighbours any more cannot be taken away
            key = near[:, source].unsqueeze(2) * self.n_items + near.unsqueeze(1)
            own = own * (pairs[torch.searchsorted(pairs, key).clamp(max=len(pairs) - 1)] == key)
        return own

    # --- sums --------------------------------------------------------------------------------

    def _score(self, sums: torch.Tensor) -> torch.Tensor:
        """``w log(1 + s / m)``; the sums are no longer needed."""
        return sums.mul_(1.0 / self.level).log1p_().mul_(self.weight)

    @staticmethod
    def _recent(history: torch.Tensor) -> torch.Tensor:
        """The last items, the very last first, 0 for none, ``[n, RECENT]``."""
        back = (history > 0).flip(1).cumsum(1).flip(1) - 1  # of items: how many were taken since
        place = torch.where((history > 0) & (back < RECENT), back, torch.full_like(back, RECENT))
        return history.new_zeros(len(history), RECENT + 1).scatter_(1, place, history)[:, :RECENT]

    def _expand(self, items: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """All neighbours of n items: whose, and where they are stored, ``[n_neighbours]`` each."""
        start = self._kept["start"]
        count = start[items + 1] - start[items]
        whose = torch.repeat_interleave(torch.arange(len(items), device=items.device), count)
        first = start[items] - (count.cumsum(0) - count)
        return whose, first[whose] + torch.arange(len(whose), device=items.device)

    def _weighted(self, recent: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Row, item and what it adds to s, of all neighbours of the last items."""
        whose, stored = self._expand(recent.flatten())
        value = self._kept["value"][stored] * self._kept["recency"][whose % RECENT]
        return whose // RECENT, self._kept["neighbour"][stored].long(), value

    def _sums(self, recent: torch.Tensor, places: torch.Tensor | None) -> torch.Tensor:
        """s of all items, or of those that have a place, ``[n, n_items]``."""
        row, item, value = self._weighted(recent)
        width = self.n_items
        if places is not None:
            width, item = int(places.max()) + 1, places[item]
            there = item >= 0
            row, item, value = row[there], item[there], value[there]
        sums = value.new_zeros(len(recent) * width)
        return sums.index_add_(0, row * width + item, value).view(len(recent), width)

    def _rows(self, source: torch.Tensor, places: torch.Tensor | None) -> torch.Tensor:
        """Nearness of all items, or of those that have a place, ``[*, n_items]``."""
        if "dense" in self._kept and places is None:
            return self._kept["dense"][source]
        flat = source.flatten()
        whose, stored = self._expand(flat)
        item, value, width = self._kept["neighbour"][stored].long(), self._kept["value"][stored], self.n_items
        if places is not None:
            width, item = int(places.max()) + 1, places[item]
            there = item >= 0
            whose, item, value = whose[there], item[there], value[there]
        near = value.new_zeros(len(flat) * width)
        near[whose * width + item] = value
        return near.view(*source.shape, width)

    def _places(self, items: torch.Tensor | None) -> torch.Tensor | None:
        """Where each item of the catalogue stands among some, -1 for those that are not there, ``[n_items]``."""
        if items is None:
            return None
        places = items.new_full((self.n_items,), -1)
        return places.index_copy_(0, items, torch.arange(len(items), device=items.device))


def likeness(vectors: np.ndarray, present: np.ndarray) -> sparse.csr_matrix:
    """How much alike items are described.

    Every item is compared with every other.

    Parameters
    ----------
    vectors : ndarray
        Of the items' texts, ``[n_items, width]``.
    present : ndarray of bool
        Which items have a text, ``[n_items]``, at least two.

    Returns
    -------
    scipy.sparse.csr_matrix
        ``[n_items, n_items]``: for each item the 50 nearest others by the cosine of what sets their texts apart from
        the mean, as ``exp(5 (cosine - 1))``.
    """
    rows = np.flatnonzero(present)
    unit = nn.functional.normalize(torch.from_numpy(vectors[rows]).float(), dim=1)
    unit = nn.functional.normalize(unit - unit.mean(0), dim=1)
    n_best = min(_MOST_ALIKE, len(rows) - 1)
    block = max(1, _BLOCK // len(rows))
    values, places = [], []
    for begin in range(0, len(unit), block):
        part = unit[begin : begin + block] @ unit.T
        part[torch.arange(len(part)), torch.arange(begin, begin + len(part))] = -torch.inf
        best = part.topk(n_best, dim=1)
        values.append(best.values)
        places.append(best.indices)
    value = torch.exp(_SHARPNESS * (torch.cat(values) - 1.0)).double().numpy().ravel()
    pairs = (np.repeat(rows, n_best), rows[torch.cat(places).numpy().ravel()])
    return sparse.csr_matrix((value, pairs), shape=(len(present), len(present)))


def _at(items: torch.Tensor, places: torch.Tensor | None) -> torch.Tensor:
    """Columns of items; of those that have none, the first."""
    return items if places is None else places[items].clamp(min=0)


def _without(sums: torch.Tensor, seen: torch.Tensor, places: torch.Tensor | None) -> torch.Tensor:
    """Sums with 0 for what was seen, and for padding."""
    if places is None:
        return sums.scatter_(1, seen, 0.0)
    column = places[seen]  # the first column may be an item like any other
    there = torch.nonzero((column >= 0) & (seen > 0), as_tuple=True)
    sums[there[0], column[there]] = 0.0
    if places[0] >= 0:
        sums[:, places[0]] = 0.0
    return sums


def _largest(matrix: sparse.csr_matrix, n: int) -> sparse.csr_matrix:
    """The n largest entries of each row."""
    row = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    order = np.lexsort((-matrix.data, row))
    rank = np.arange(len(order)) - matrix.indptr[row[order]]
    kept = order[rank < n]
    return sparse.csr_matrix((matrix.data[kept], (row[kept], matrix.indices[kept])), shape=matrix.shape)


def _keys(matrix: sparse.csr_matrix) -> np.ndarray:
    """The entries of a matrix as sorted numbers."""
    row = np.repeat(np.arange(matrix.shape[0], dtype=np.int64), np.diff(matrix.indptr))
    return np.sort(row * matrix.shape[1] + matrix.indices)
