"""Behaviour, context and instruction become one situation: h = g(A, B, h(x))."""

from __future__ import annotations

import torch
from torch import nn

from recbole_instructrec.model.dropout import Dropout


class Fusion(nn.Module):
    """Attention from the behaviour state to behaviour, context and instruction, with a gated residual.

    Where a row has neither context nor instruction its state passes unchanged,
    so that saying nothing costs nothing.

    Parameters
    ----------
    hidden_size : int
        Width d.
    n_heads : int
        Attention heads.
    dropout : float
        Of what is added to the state.
    """

    def __init__(self, hidden_size: int, n_heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(hidden_size, n_heads, batch_first=True)
        self.gate = nn.Linear(2 * hidden_size, hidden_size)
        self.norm = nn.LayerNorm(hidden_size)
        self.dropout = Dropout(dropout)

    def forward(
        self, behaviour: torch.Tensor, tokens: torch.Tensor, present: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Fuse rows that have something to fuse.

        Parameters
        ----------
        behaviour : Tensor
            States A, ``[n, d]``.
        tokens : Tensor
            Context and instruction tokens, ``[n, n_tokens, d]``.
        present : Tensor
            Which tokens are there, ``[n, n_tokens]``.

        Returns
        -------
        tuple of Tensor
            Situation h ``[n, d]``, and attention weights ``[n, 1 + n_tokens]``
            over the behaviour state and the tokens.
        """
        query = behaviour.unsqueeze(1)
        keys = torch.cat([query, tokens], dim=1)
        absent = torch.cat([torch.zeros_like(present[:, :1]), ~present], dim=1)
        attended, weights = self.attention(query, keys, keys, key_padding_mask=absent)
        attended = attended.squeeze(1)
        gate = torch.sigmoid(self.gate(torch.cat([behaviour, attended], dim=-1)))
        added = gate * self.dropout(self.norm(attended))
        return behaviour + added * present.any(1, keepdim=True), weights.squeeze(1)


class ContextEncoder(nn.Module):
    """One token for each request-time field (B in the notation of docs/architecture.md).

    Parameters
    ----------
    sizes : list of int
        Number of codes of each field; code 0 means that it is not known.
    hidden_size : int
        Width d.
    """

    def __init__(self, sizes: list[int], hidden_size: int) -> None:
        super().__init__()
        self.fields = nn.ModuleList(nn.Embedding(size, hidden_size, padding_idx=0) for size in sizes)

    def forward(self, codes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Codes ``[n, n_fields]`` to tokens ``[n, n_fields, d]`` and which are known ``[n, n_fields]``."""
        tokens = [field(codes[:, index]) for index, field in enumerate(self.fields)]
        return torch.stack(tokens, dim=1), codes > 0
