"""Item neighbours: what others took around the items of a history, or took as well, and what is described alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from logging import getLogger
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import sparse
from torch import nn

from recbole_instructrec.data.transitions import MOST_PAIRS, row_blocks

# Popular items are met everywhere: how much of that is taken out of what leads to an item, and of the item itself.
_POPULARITY_OF_SOURCE, _POPULARITY, _SMOOTHING = 0.4, 0.2, 5.0

# Neighbours of an item by transitions, by common users and by text; how fast likeness of texts falls with their cosine.
_MOST, _MOST_SHARED, _MOST_ALIKE, _SHARPNESS = 500, 200, 50, 5.0

#: Last items of a history whose transitions are looked at.
RECENT = 20

#: Most texts that are compared with one another.
MOST_TEXTS = 100_000

# Numbers of a block of cosines; neighbours of histories that are added up at a time.
_BLOCK, _MOST_ENTRIES = 1 << 26, 1 << 24


class Moved(NamedTuple):
    """Items that n histories are moved towards, or away from.

    Attributes
    ----------
    items : Tensor
        Item ids, 0 for none, ``[n, n_moved]``.
    shares : Tensor
        What each counts, as a share of what the whole history does; below 0 to move away from it, ``[n, n_moved]``.

    References
    ----------
    Rocchio, Relevance Feedback in Information Retrieval, in: Salton (ed.), The SMART Retrieval System, 1971.
    """

    items: torch.Tensor
    shares: torch.Tensor

    def part(self, rows: torch.Tensor | slice) -> Moved:
        """The same of some rows."""
        return Moved(self.items[rows], self.shares[rows])


class ItemNeighbours(nn.Module):
    r"""Scores items by their nearness to the last items of a history.

    .. math:: n_j = w \log(1 + s_j / m), \qquad s_j = \sum_k d^k T_{x_k j}

    with the last item :math:`x_0`, the one before :math:`x_1` and so on; m is the mean of s over items. Items of the
    history itself have no such score. Nothing here is learned: it is added when items are ranked, not in training
    (late fusion), so that the network learns the whole and not what counts of its own training part leave over.

    Parameters
    ----------
    near : scipy.sparse.csr_matrix
        T, ``[n_items, n_items]``.
    recency : ndarray
        :math:`d^k` of the last items, the very last first, ``[n_recent]``.
    level : float
        m, above 0.
    weight : float
        w.

    References
    ----------
    Sarwar et al., Item-based Collaborative Filtering Recommendation Algorithms, WWW 2001; Garg et al., Sequence and
    Time Aware Neighborhood for Session-based Recommendations (STAN), SIGIR 2019, for the decays.
    """

    def __init__(self, near: sparse.csr_matrix, recency: np.ndarray, level: float, weight: float) -> None:
        super().__init__()
        self.n_items, self.n_recent, self.level, self.weight = near.shape[0], len(recency), level, weight
        self._per_item = max(1, near.nnz // near.shape[0])  # neighbours of an item, on average
        self._at_a_time = max(1, _MOST_ENTRIES // (len(recency) * self._per_item))
        kept = {
            "start": near.indptr,
            "neighbour": near.indices,
            "value": near.data.astype(np.float32),
            "recency": recency.astype(np.float32),
        }
        # No buffers: a moving average of the weights and DDP would copy them at every step.
        self._kept = {name: torch.from_numpy(values) for name, values in kept.items()}

    @classmethod
    def of_transitions(
        cls,
        counts: Iterable[sparse.csr_matrix],
        taken: np.ndarray,
        texts: np.ndarray,
        has_text: np.ndarray,
        weight: float,
        text_share: float,
        decay: float,
        longest: int = RECENT,
    ) -> ItemNeighbours:
        """Nearness by what others took around an item, and by likeness of texts.

        T are weighted counts of items taken around each other, less what is due to popularity, the 500 largest of each
        item, plus the likeness of texts; m is the mean of s after a history that is long enough.

        Parameters
        ----------
        counts : iterable of scipy.sparse.csr_matrix
            Blocks of rows, ``[n_items, n_items]`` together
            (:func:`~recbole_instructrec.data.transitions.transition_counts`).
        taken : ndarray
            How often each item was a training target, ``[n_items]``.
        texts : ndarray
            Vectors of the item texts, ``[n_items, text width]``.
        has_text : ndarray of bool
            ``[n_items]``.
        weight : float
            w.
        text_share : float
            What the likeness of texts sums up to, against the counts; 0 where there are more than :data:`MOST_TEXTS`.
        decay : float
            d.
        longest : int
            Items of a history that are known; at most :data:`RECENT` are looked at.

        Returns
        -------
        ItemNeighbours
        """
        popularity = taken + _SMOOTHING
        of_source, of_item = popularity**-_POPULARITY_OF_SOURCE, popularity**-_POPULARITY
        blocks, begin = [], 0
        for block in counts:
            sources = sparse.diags(of_source[begin : begin + block.shape[0]])
            blocks.append(_largest((sources @ block @ sparse.diags(of_item)).tocsr(), _MOST))
            begin += block.shape[0]
        near = sparse.vstack(blocks, format="csr")
        if text_share and has_text.sum() > MOST_TEXTS:
            getLogger().warning(
                "Likeness of item texts does not count among neighbours: of %d texts, more than %d, each would be "
                "compared with all. Set neighbour_text to 0 to leave it out without this message.",
                has_text.sum(),
                MOST_TEXTS,
            )
        elif text_share and has_text.sum() > 1:
            alike = likeness(texts, has_text)
            near = (near + alike * (text_share * (near.sum() or 1.0) / alike.sum())).tocsr()
        recency = decay ** np.arange(min(longest, RECENT))
        reached = float(np.asarray(near.sum(1)).ravel() @ taken) / max(float(taken.sum()), 1.0)
        level = reached / max(len(taken) - 1, 1) * float(recency.sum()) or 1.0
        return cls(near, recency, level, weight)

    @classmethod
    def of_users(cls, took: sparse.csr_matrix, weight: float, longest: int, most: int = MOST_PAIRS) -> ItemNeighbours:
        """Nearness by the users that two items have in common, wherever these took them (ItemKNN).

        T is the cosine of two items' users, the 200 largest of each item; all items of a history that are known count
        alike (d = 1); m is the mean of s after the training histories.

        Parameters
        ----------
        took : scipy.sparse.csr_matrix
            Which items each user took in the training part, 1 or 0, ``[n_users, n_items]``.
        weight : float
            w.
        longest : int
            Items of a history that are known.
        most : int
            Pairs that are counted at a time, which bounds the memory.

        Returns
        -------
        ItemNeighbours
        """
        n_items, users_of = took.shape[1], took.T.tocsr()
        length = np.asarray(took.sum(1)).ravel()
        scale = 1.0 / np.sqrt(np.maximum(np.asarray(took.sum(0)).ravel(), 1.0))
        blocks = []
        for begin, end in row_blocks(users_of @ length, most):  # an item makes as many pairs as its users took items
            shared = (users_of[begin:end] @ took).tocoo()
            other = shared.col != shared.row + begin
            shared = sparse.csr_matrix((shared.data[other], (shared.row[other], shared.col[other])), shared.shape)
            cosine = sparse.diags(scale[begin:end]) @ shared @ sparse.diags(scale)
            blocks.append(_largest(cosine.tocsr(), _MOST_SHARED))
        near = sparse.vstack(blocks, format="csr")
        # Of a user with more items than are known, as many of them as are.
        known = took.multiply((np.minimum(length, longest) / np.maximum(length, 1.0))[:, None])
        reached = float(np.asarray(known.sum(0)).ravel() @ np.asarray(near.sum(1)).ravel()) / max(took.shape[0], 1)
        return cls(near, np.ones(longest), reached / max(n_items - 1, 1) or 1.0, weight)

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], *args: Any, **kwargs: Any) -> ItemNeighbours:
        """To another device, as torch moves buffers."""
        self._kept = {name: fn(tensor) for name, tensor in self._kept.items()}
        super()._apply(fn, *args, **kwargs)
        return self

    # --- of whole histories ------------------------------------------------------------------

    def of_histories(
        self, history: torch.Tensor, items: torch.Tensor | None = None, moved: Moved | None = None
    ) -> torch.Tensor:
        """Scores after n histories.

        Parameters
        ----------
        history : Tensor
            Item ids in order of time, 0 for none anywhere, ``[n, length]``.
        items : Tensor, optional
            Only these are scored, in this order.
        moved : Moved, optional
            Items whose neighbours count as well, for and against; a sum that falls below 0 counts as 0.

        Returns
        -------
        Tensor
            ``[n, n_items]``, or as many columns as ``items``.
        """
        places = self._places(items)
        sums = self._kept["value"].new_zeros(len(history), self.n_items if items is None else len(items))
        for begin in range(0, len(history), self._at_a_time):
            part = slice(begin, begin + self._at_a_time)
            self._add_sums(sums[part], *self._counted(history[part], moved and moved.part(part)), places)
        return self._score(_without(sums.clamp_(min=0.0), history, places))

    def entries(
        self, history: torch.Tensor, moved: Moved | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The scores of :meth:`of_histories` that are not 0: row, item and score, ``[n_entries]`` each."""
        row, item, value = self._weighted(*self._counted(history, moved))
        key, place = torch.unique(row * self.n_items + item, return_inverse=True)
        sums = value.new_zeros(len(key)).index_add_(0, place, value).clamp_(min=0.0)
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
            How many of the last items, at most as many as there are.

        Returns
        -------
        Tensor
            ``[n + 1, n_scored]``: without the first of them, ..., without the last, and the whole history.
        """
        recent = history[-self.n_recent - n :]  # others come into sight where one is left out
        rows = recent.repeat(n + 1, 1)
        rows[torch.arange(n), torch.arange(len(recent) - n, len(recent))] = 0
        return self.of_histories(rows, items)

    # --- sums --------------------------------------------------------------------------------

    def _score(self, sums: torch.Tensor) -> torch.Tensor:
        """``w log(1 + s / m)``; the sums are no longer needed."""
        return sums.mul_(1.0 / self.level).log1p_().mul_(self.weight)

    def _recent(self, history: torch.Tensor) -> torch.Tensor:
        """The last items, the very last first, 0 for none, ``[n, n_recent]``."""
        back = (history > 0).flip(1).cumsum(1).flip(1) - 1  # of items: how many were taken since
        n = min(self.n_recent, max(history.shape[1], 1))
        place = torch.where((history > 0) & (back < n), back, torch.full_like(back, n))
        return history.new_zeros(len(history), n + 1).scatter_(1, place, history)[:, :n]

    def _counted(self, history: torch.Tensor, moved: Moved | None) -> tuple[torch.Tensor, torch.Tensor]:
        """The items whose neighbours count, and by how much, ``[n, n_counted]`` each."""
        recent = self._recent(history)
        weights = self._kept["recency"][: recent.shape[1]] * (recent > 0)
        if moved is None:
            return recent, weights
        # The level is that of histories: what is moved towards joins by halves, not on top.
        whole = weights.sum(1, keepdim=True).clamp(min=1.0)
        weights = torch.cat([weights, moved.shares * whole], dim=1)
        weights = weights / (1.0 + moved.shares.clamp(min=0.0).sum(1, keepdim=True))
        return torch.cat([recent, moved.items], dim=1), weights

    def _expand(self, items: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """All neighbours of n items: whose, and where they are stored, ``[n_neighbours]`` each."""
        start = self._kept["start"]
        count = start[items + 1] - start[items]
        whose = torch.repeat_interleave(torch.arange(len(items), device=items.device), count)
        first = start[items] - (count.cumsum(0) - count)
        return whose, first[whose] + torch.arange(len(whose), device=items.device)

    def _weighted(
        self, counted: torch.Tensor, weights: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Row, item and what it adds to s, of all neighbours of some items; one entry may be of several neighbours."""
        if counted.device.type == "cpu" and counted.numel() * self._per_item > self.n_items:
            return self._product(counted, weights)
        whose, stored = self._expand(counted.flatten())
        value = self._kept["value"][stored] * weights.flatten()[whose]
        return whose // counted.shape[1], self._kept["neighbour"][stored].long(), value

    def _product(self, counted: torch.Tensor, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The same as a product of sparse matrices, summed by row and item.

        A tenth of the time on a processor, but it begins with a pass over the catalogue.
        """
        value, neighbour, start = (self._kept[name].numpy() for name in ("value", "neighbour", "start"))
        near = sparse.csr_matrix((self.n_items, self.n_items), dtype=value.dtype)
        near.data, near.indices, near.indptr = value, neighbour, start  # as they are: the constructor looks at all
        n, width = counted.shape
        begins = np.arange(0, n * width + 1, width, dtype=start.dtype)
        told = (weights.numpy().ravel(), counted.numpy().ravel().astype(start.dtype), begins)
        found = (sparse.csr_matrix(told, shape=(n, self.n_items)) @ near).tocoo()
        row, item = (torch.from_numpy(places.astype(np.int64)) for places in (found.row, found.col))
        return row, item, torch.from_numpy(found.data)

    def _add_sums(
        self, sums: torch.Tensor, counted: torch.Tensor, weights: torch.Tensor, places: torch.Tensor | None
    ) -> None:
        """Add s of all items, or of those that have a place, to ``[n, n_items]``."""
        row, item, value = self._weighted(counted, weights)
        if places is not None:
            item = places[item]
            there = item >= 0
            row, item, value = row[there], item[there], value[there]
        sums.view(-1).index_add_(0, row * sums.shape[1] + item, value)

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
