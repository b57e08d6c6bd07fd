"""A direct score between an instruction and an item's text, also for what was never seen in training."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from recbole_instructrec.model.projection import Projection

# A match that decides alone has a gate above 10: let it get there in a few epochs.
_SPEED = 10.0


class TextMatch(nn.Module):
    """Cosine of instruction and item text in a space of fewer dimensions, times a learned gate.

    Parameters
    ----------
    size : int
        Width of h(x).
    item_vectors : ndarray
        Vectors of the item texts under the same encoder, ``[n_items, size]``.
    present : ndarray of bool
        Items with a text, ``[n_items]``.
    projection : Projection
        From the text encoder's space to the one in which texts are compared
        (principal components of item texts).
    same_space : bool
        Whether instructions come from the same encoder; then the match starts
        as dense retrieval, else from a random map.
    learned : bool
        Whether each item may move away from its text: where many instructions
        lead to an item, as in a catalogue of actions, they tell more of it.
    """

    items: torch.Tensor

    def __init__(
        self,
        size: int,
        item_vectors: np.ndarray,
        present: np.ndarray,
        projection: Projection,
        same_space: bool,
        learned: bool,
    ) -> None:
        super().__init__()
        self.projection = projection
        items = torch.from_numpy(projection.project(item_vectors, present))
        self.register_buffer("items", F.normalize(items, dim=-1))
        self.query = nn.Linear(size, items.shape[1])
        if same_space:
            with torch.no_grad():
                self.query.weight.copy_(projection.basis.T)
                self.query.bias.copy_(-projection.mean @ projection.basis)
        self.gate = nn.Parameter(torch.tensor(1.0 / _SPEED))
        self.moved = nn.Parameter(torch.zeros_like(self.items)) if learned else None

    def forward(self, vectors: torch.Tensor, items: torch.Tensor | None = None) -> torch.Tensor:
        """Scores of all items, or of some: ``[n, size]`` to ``[n, n_items]``."""
        return self.queries(vectors) @ self.directions(items).T

    def queries(self, vectors: torch.Tensor) -> torch.Tensor:
        """Where instructions point to, times the gate: ``[n, size]`` to ``[n, width]``."""
        return _SPEED * self.gate * F.normalize(self.query(vectors), dim=-1)

    def directions(self, items: torch.Tensor | None = None) -> torch.Tensor:
        """Vectors of length 1 of all items, or of some, ``[n_items, width]``."""
        texts = self.items if items is None else self.items[items]
        if self.moved is None:
            return texts
        return F.normalize(texts + (self.moved if items is None else self.moved[items]), dim=-1)
