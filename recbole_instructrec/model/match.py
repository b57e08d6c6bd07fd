"""A direct score between an instruction and an item's text, also for what was never seen in training."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

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
    keep : int
        Dimensions kept (principal components of the item texts).
    same_space : bool
        Whether instructions come from the same encoder; then the match starts
        as dense retrieval, else from a random map.
    learned : bool
        Whether each item may move away from its text: where many instructions
        lead to an item, as in a catalogue of actions, they tell more of it.
    """

    items: torch.Tensor

    def __init__(
        self, size: int, item_vectors: np.ndarray, present: np.ndarray, keep: int, same_space: bool, learned: bool
    ) -> None:
        super().__init__()
        known = item_vectors[present]
        mean = known.mean(0)
        _, _, directions = np.linalg.svd(known - mean, full_matrices=False)
        basis = directions[:keep].T.astype(np.float32)  # [text width, keep]
        items = np.zeros((len(item_vectors), basis.shape[1]), dtype=np.float32)
        items[present] = (known - mean) @ basis
        self.register_buffer("items", F.normalize(torch.from_numpy(items), dim=-1))
        self.query = nn.Linear(size, basis.shape[1])
        if same_space:
            with torch.no_grad():
                self.query.weight.copy_(torch.from_numpy(basis.T))
                self.query.bias.copy_(torch.from_numpy(-mean @ basis))
        self.gate = nn.Parameter(torch.tensor(1.0 / _SPEED))
        self.moved = nn.Parameter(torch.zeros_like(self.items)) if learned else None

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """Scores of all items: ``[n, size]`` to ``[n, n_items]``."""
        items = self.items if self.moved is None else F.normalize(self.items + self.moved, dim=-1)
        return _SPEED * self.gate * F.normalize(self.query(vectors), dim=-1) @ items.T
