"""What an instruction asks for: ŷ = f(h(x)), and how well each item answers it."""

from __future__ import annotations

import torch
from scipy.sparse import csr_matrix
from torch import nn
from torch.nn import functional as F


class IntentHead(nn.Module):
    """Recognises which item attributes an instruction asks for, and scores items by them.

    Parameters
    ----------
    size : int
        Width of h(x).
    attributes : scipy.sparse.csr_matrix
        ``[n_items, n_attributes]``.
    hidden_size : int
        Width of the hidden layer.

    Notes
    -----
    A user who names one attribute of a wanted item, each with equal chance, asks
    for attribute a of item i with probability ``[i has a] / |attributes of i|``.
    With ``p(a | x)`` from the head, item i answers x with

        m(i, x) = sum_a p(a | x) [i has a] / |attributes of i|

    and ``w log(1 + m / eps)`` enters the scores; w and eps are learned.
    """

    share: torch.Tensor

    def __init__(self, size: int, attributes: csr_matrix, hidden_size: int) -> None:
        super().__init__()
        self.n_attributes = attributes.shape[1]
        share = attributes.multiply(1.0 / attributes.sum(1).clip(min=1)).tocoo()
        index = torch.stack([torch.from_numpy(share.row).long(), torch.from_numpy(share.col).long()])
        dense = torch.zeros(attributes.shape)
        dense[index[0], index[1]] = torch.from_numpy(share.data).float()
        self.register_buffer("share", dense, persistent=False)  # [n_items, n_attributes]
        out = nn.Linear(hidden_size, self.n_attributes)
        nn.init.constant_(out.bias, -3.0)  # most attributes are not asked for
        self.layers = nn.Sequential(nn.Linear(size, hidden_size), nn.GELU(), out)
        self.weight = nn.Parameter(torch.tensor(1.0))
        self.log_floor = nn.Parameter(torch.tensor(-3.0))

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """Logits of the attributes asked for: ``[n, size]`` to ``[n, n_attributes]``."""
        return self.layers(vectors)

    def item_scores(self, logits: torch.Tensor) -> torch.Tensor:
        """How well each item answers: ``[n, n_attributes]`` to ``[n, n_items]``."""
        matched = torch.sigmoid(logits) @ self.share.T
        floor = self.log_floor.exp()
        # Relative to the floor, so that an instruction with no recognised intent adds nothing.
        return self.weight * torch.log1p(matched / floor)

    def loss(self, logits: torch.Tensor, asked: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
        """Binary cross-entropy over the attributes.

        Parameters
        ----------
        logits, asked : Tensor
            ``[n, n_attributes]``; asked is 0 or 1.
        known : Tensor
            Texts of which it is known what they ask for, ``[n]``.

        Returns
        -------
        Tensor
            Mean over known texts of the sum over attributes; 0 when none is known.
        """
        if not known.any():
            return logits.sum() * 0.0
        return F.binary_cross_entropy_with_logits(logits[known], asked[known], reduction="sum") / known.sum()
