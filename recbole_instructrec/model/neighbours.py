"""Item neighbours: what others took around the items of a history, and what is described alike."""

from __future__ import annotations

import numpy as np
import torch
from scipy import sparse
from torch import nn

from recbole_instructrec.data.transitions import BACK, DECAY, SPAN

#: Last items of a history that are looked at.
RECENT = 20

# Popular items are met everywhere: how much of that is taken out of what leads to an item, and of the item itself.
_POPULARITY_OF_SOURCE, _POPULARITY, _SMOOTHING = 0.4, 0.2, 5.0

# Neighbours of an item by counts and by text; how fast likeness of texts falls with their cosine.
_MOST, _MOST_ALIKE, _SHARPNESS = 500, 50, 5.0

# A dense matrix of so many items takes 64 MiB and is read faster.
_DENSE = 4096


class ItemNeighbours(nn.Module):
    r"""Scores items by their nearness to the last items of a history.

    .. math:: n_j = w \log(1 + s_j / m), \qquad s_j = \sum_k d^k T_{x_k j}

    with the last item :math:`x_0`, the one before :math:`x_1` and so on; T are weighted counts of items taken around
    each other (:func:`~recbole_instructrec.data.transitions.transition_counts`), less what is due to popularity, plus
    the likeness of texts; m is the mean of s over items. Nothing here is learned by gradients. In training what the
    row's own user has added to the counts is taken away, so that a target is never found in them by itself.

    Parameters
    ----------
    counts : scipy.sparse.csr_matrix
        ``[n_items, n_items]``.
    taken : ndarray
        How often each item was taken in training, ``[n_items]``.
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

    References
    ----------
    Sarwar et al., Item-based Collaborative Filtering Recommendation Algorithms, WWW 2001; Garg et al., Sequence and
    Time Aware Neighborhood for Session-based Recommendations (STAN), SIGIR 2019, for the decays.
    """

    _start: torch.Tensor
    _neighbour: torch.Tensor
    _value: torch.Tensor
    _dense: torch.Tensor | None
    _of_source: torch.Tensor
    _of_item: torch.Tensor
    _recency: torch.Tensor

    def __init__(
        self,
        counts: sparse.csr_matrix,
        taken: np.ndarray,
        texts: np.ndarray,
        has_text: np.ndarray,
        weight: float,
        text_share: float,
        decay: float,
    ) -> None:
        super().__init__()
        if weight < 0 or text_share < 0 or not 0 <= decay <= 1:
            raise ValueError(
                f"neighbour_weight ({weight}) and neighbour_text ({text_share}) must be at least 0, "
                f"neighbour_decay ({decay}) between 0 and 1."
            )
        popularity = taken + _SMOOTHING
        of_source, of_item = popularity**-_POPULARITY_OF_SOURCE, popularity**-_POPULARITY
        near = _largest((sparse.diags(of_source) @ counts @ sparse.diags(of_item)).tocsr(), _MOST)
        if text_share and has_text.sum() > 1:
            alike = likeness(texts, has_text)
            near = (near + alike * (text_share * (near.sum() or 1.0) / alike.sum())).tocsr()
        recency = decay ** np.arange(RECENT)
        mean = (
            float(near.sum(1).A1 @ taken) / max(float(taken.sum()), 1.0) / max(counts.shape[0] - 1, 1) * recency.sum()
        )
        self.n_items, self.weight, self.level = counts.shape[0], weight, mean or 1.0
        kept = {
            "_start": near.indptr.astype(np.int64),
            "_neighbour": near.indices.astype(np.int64),
            "_value": near.data.astype(np.float32),
            "_dense": near.toarray().astype(np.float32) if self.n_items <= _DENSE else None,
            "_of_source": of_source.astype(np.float32),
            "_of_item": of_item.astype(np.float32),
            "_recency": recency.astype(np.float32),
        }
        for name, values in kept.items():  # made from the training part whenever the model is
            self.register_buffer(name, None if values is None else torch.from_numpy(values), persistent=False)

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
        return self._scores(self._sums(history, items))

    def of_prefixes(
        self, history: torch.Tensor, target: torch.Tensor, items: torch.Tensor | None = None
    ) -> torch.Tensor:
        """As :meth:`of_histories`, for training rows and their targets ``[n]``, without the rows' own pairs."""
        sums = self._sums(history, items)
        recent = self._recent(history)
        step = torch.arange(RECENT, device=history.device)
        own = self._recency * DECAY**step * (step < SPAN) * self._of_source[recent] * (recent > 0)
        column = target if items is None else self._places(items)[target]
        at = column.unsqueeze(1)
        left = sums.gather(1, at) - own.sum(1, keepdim=True) * self._of_item[target].unsqueeze(1)
        return self._scores(sums.scatter(1, at, left.clamp(min=0.0)))

    def entries(self, history: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The scores of :meth:`of_histories` that are not 0: row, item and score, ``[n_entries]`` each."""
        row, item, value = self._weighted(history)
        key, place = torch.unique(row * self.n_items + item, return_inverse=True)
        sums = value.new_zeros(len(key)).index_add_(0, place, value)
        return key // self.n_items, key % self.n_items, self._scores(sums)

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

    def _scores(self, sums: torch.Tensor) -> torch.Tensor:
        return torch.log1p(sums * (1.0 / self.level)).mul_(self.weight)

    def _recent(self, history: torch.Tensor) -> torch.Tensor:
        """The last items, the very last first, 0 for none, ``[n, RECENT]``."""
        back = (history > 0).flip(1).cumsum(1).flip(1) - 1  # of items: how many were taken since
        place = torch.where((history > 0) & (back < RECENT), back, torch.full_like(back, RECENT))
        found = history.new_zeros(len(history), RECENT + 1)
        return found.scatter_(1, place, history)[:, :RECENT]

    def _expand(self, items: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """All neighbours of n items: whose, and where they are stored, ``[n_neighbours]`` each."""
        count = self._start[items + 1] - self._start[items]
        whose = torch.repeat_interleave(torch.arange(len(items), device=items.device), count)
        first = self._start[items] - (count.cumsum(0) - count)
        return whose, first[whose] + torch.arange(len(whose), device=items.device)

    def _weighted(self, history: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Row, item and what it adds to s, of all neighbours of the last items."""
        whose, stored = self._expand(self._recent(history).flatten())
        value = self._value[stored] * self._recency[whose % RECENT]
        return whose // RECENT, self._neighbour[stored], value

    def _sums(self, history: torch.Tensor, items: torch.Tensor | None) -> torch.Tensor:
        row, item, value = self._weighted(history)
        width = self.n_items
        if items is not None:
            width, item = len(items), self._places(items)[item]
            there = item >= 0
            row, item, value = row[there], item[there], value[there]
        sums = value.new_zeros(len(history) * width)
        return sums.index_add_(0, row * width + item, value).view(len(history), width)

    def _places(self, items: torch.Tensor) -> torch.Tensor:
        """Where each item of the catalogue stands among some, -1 for those that are not there, ``[n_items]``."""
        places = items.new_full((self.n_items,), -1)
        return places.index_copy_(0, items, torch.arange(len(items), device=items.device))

    # --- of training windows -----------------------------------------------------------------

    def of_windows(
        self, earlier: torch.Tensor, read: torch.Tensor, targets: torch.Tensor, items: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Scores after each step of training rows, without what the rows themselves have added to the counts.

        Parameters
        ----------
        earlier : Tensor
            Items before those that are read, left aligned, ``[batch_size, n_earlier]``.
        read : Tensor
            Items that are read, left aligned, ``[batch_size, length]``.
        targets : Tensor
            Column t follows the first t items, ``[batch_size, length + 1]``.
        items : Tensor, optional
            Only these are scored, in this order; the first stands for all that are not among them.

        Returns
        -------
        Tensor
            ``[batch_size, length + 1, n_items]``, or as many columns as ``items``.

        Notes
        -----
        Of what the user took after the row's end nothing is known here: pairs of such an item and a history stay in
        the counts, and can make it seem likelier than it should, never the target.
        """
        batch, length = read.shape
        end = (read > 0).sum(1, keepdim=True)
        whole = torch.cat([read, read.new_zeros(batch, 1)], dim=1).scatter(1, end, targets.gather(1, end))
        before = self._recent(earlier).flip(1)  # [batch_size, RECENT]
        before = before[:, int((before > 0).any(0).float().argmax()) if before.any() else RECENT :]
        whole = torch.cat([before, whole], dim=1)
        source = whole[:, :-1]
        near = self._rows(source, items)  # [batch_size, n_before + length, n_items]
        column = whole if items is None else self._places(items)[whole].clamp(min=0)
        column = column.unsqueeze(1).expand(-1, source.shape[1], -1)
        left = (near.gather(2, column) - self._own(whole)).clamp(min=0.0)
        near.scatter_(2, column, left)
        near[:, :, 0] = 0.0
        step = torch.arange(length + 1, device=read.device).unsqueeze(1)
        back = before.shape[1] + step - 1 - torch.arange(source.shape[1], device=read.device)
        recency = self._recency[back.clamp(0, RECENT - 1)] * ((back >= 0) & (back < RECENT))
        return self._scores(recency @ near)

    def _rows(self, source: torch.Tensor, items: torch.Tensor | None) -> torch.Tensor:
        """Nearness to each of some items, ``[*, n_items]``."""
        if self._dense is not None:
            near = self._dense[source]
            return near if items is None else near[..., items]
        flat = source.flatten()
        whose, stored = self._expand(flat)
        item, width = self._neighbour[stored], self.n_items
        if items is not None:
            width, item = len(items), self._places(items)[item].clamp(min=0)
        near = self._value.new_zeros(len(flat) * width)
        near[whose * width + item] = self._value[stored]
        return near.view(*source.shape, width)

    def _own(self, whole: torch.Tensor) -> torch.Tensor:
        """What rows have added to the nearness of their items, ``[batch_size, width - 1, width]``."""
        place = torch.arange(whole.shape[1], device=whole.device)
        apart = (place - place.unsqueeze(1)).float()
        own = torch.where(apart > 0, DECAY ** (apart - 1), BACK * DECAY ** (-apart - 1))
        own = own * ((apart != 0) & (apart.abs() <= SPAN))
        real = whole > 0
        own = own * (real.unsqueeze(2) & real.unsqueeze(1))
        alike = (whole.unsqueeze(2) == whole.unsqueeze(1)) & real.unsqueeze(2)
        if alike.sum() > real.sum():  # somebody took an item twice
            alike = alike.to(own.dtype)
            own = alike @ own @ alike
        own = own * self._of_source[whole].unsqueeze(2) * self._of_item[whole].unsqueeze(1)
        # A little more than was added: what is left of it in float32 is nothing.
        return own[:, :-1] * (1.0 + 1e-5)


def likeness(vectors: np.ndarray, present: np.ndarray) -> sparse.csr_matrix:
    """How much alike items are described.

    Parameters
    ----------
    vectors : ndarray
        Of the items' texts, ``[n_items, width]``.
    present : ndarray of bool
        Which items have a text, ``[n_items]``.

    Returns
    -------
    scipy.sparse.csr_matrix
        ``[n_items, n_items]``: for each item the nearest others by the cosine of what sets their texts apart from the
        mean, as ``exp(5 (cosine - 1))``.
    """
    rows = np.flatnonzero(present)
    unit = nn.functional.normalize(torch.from_numpy(vectors[rows]).float(), dim=1)
    unit = nn.functional.normalize(unit - unit.mean(0), dim=1)
    n_best = min(_MOST_ALIKE, len(rows) - 1)
    values, places = [], []
    for begin in range(0, len(unit), 1024):
        part = unit[begin : begin + 1024] @ unit.T
        part[torch.arange(len(part)), torch.arange(begin, begin + len(part))] = -torch.inf
        best = part.topk(n_best, dim=1)
        values.append(best.values)
        places.append(best.indices)
    value = torch.exp(_SHARPNESS * (torch.cat(values) - 1.0)).double().numpy().ravel()
    pairs = (np.repeat(rows, n_best), rows[torch.cat(places).numpy().ravel()])
    return sparse.csr_matrix((value, pairs), shape=(len(present), len(present)))


def _largest(matrix: sparse.csr_matrix, n: int) -> sparse.csr_matrix:
    """The n largest entries of each row."""
    row = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    order = np.lexsort((-matrix.data, row))
    rank = np.arange(len(order)) - matrix.indptr[row[order]]
    kept = order[rank < n]
    return sparse.csr_matrix((matrix.data[kept], (row[kept], matrix.indices[kept])), shape=matrix.shape)
