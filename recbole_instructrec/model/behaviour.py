"""Causal encoder of what the user did (A in the notation of docs/architecture.md)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from recbole_instructrec.model.dropout import Dropout


class Block(nn.Module):
    """Self-attention and feed-forward, each with normalisation first and a residual.

    Parameters
    ----------
    size, inner_size : int
        Width of the block and of its feed-forward layer.
    n_heads : int
        Attention heads.
    dropout, attention_dropout : float
        Of the residuals and of the attention weights.
    """

    def __init__(self, size: int, inner_size: int, n_heads: int, dropout: float, attention_dropout: float) -> None:
        super().__init__()
        if size % n_heads:
            raise ValueError(f"hidden_size ({size}) must be a multiple of n_heads ({n_heads}).")
        self.n_heads, self.attention_dropout = n_heads, attention_dropout
        self.attention_norm, self.inner_norm = nn.LayerNorm(size), nn.LayerNorm(size)
        self.query_key_value = nn.Linear(size, 3 * size)
        self.out = nn.Linear(size, size)
        self.inner = nn.Sequential(nn.Linear(size, inner_size), nn.GELU(), nn.Linear(inner_size, size))
        self.dropout = Dropout(dropout)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """``[batch_size, length, size]`` to the same; a position sees itself and earlier ones."""
        return self.go_on(states)[0]

    def go_on(
        self,
        states: torch.Tensor,
        before: tuple[torch.Tensor, torch.Tensor] | None = None,
        mask: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        """As :meth:`forward`, of positions that follow others.

        Parameters
        ----------
        states : Tensor
            ``[batch_size, length, size]``.
        before : tuple of Tensor, optional
            Keys and values of the positions before, ``[batch_size, n_heads, n_before, size / n_heads]`` each.
        mask : Tensor of bool, optional
            What each position sees, with ``before``, ``[batch_size, 1, length, n_before + length]``.

        Returns
        -------
        tuple
            The states, and keys and values of these positions.
        """
        batch, length, size = states.shape
        mixed = self.query_key_value(self.attention_norm(states))
        query, key, value = mixed.view(batch, length, 3, self.n_heads, -1).permute(2, 0, 3, 1, 4)
        own = (key, value)
        if before is not None:
            key, value = (torch.cat(pair, dim=2) for pair in zip(before, own, strict=True))
        dropout = self.attention_dropout if self.training else 0.0
        attended = F.scaled_dot_product_attention(query, key, value, mask, dropout, is_causal=mask is None)
        states = states + self.dropout(self.out(attended.transpose(1, 2).reshape(batch, length, size)))
        return states + self.dropout(self.inner(self.inner_norm(states))), own


class BehaviourEncoder(nn.Module):
    """Transformer over the items of a history, after a start token.

    The start token stands for a user of whom nothing is known, so an empty
    history has a state too. Rows are left aligned: padding comes after every
    real item, and a causal position never sees it, so no padding mask is needed.

    Parameters
    ----------
    hidden_size, inner_size, n_layers, n_heads : int
        Shape of the transformer.
    max_length : int
        Longest history.
    dropout, attention_dropout, item_dropout : float
        ``item_dropout`` hides whole items of the history in training.

    References
    ----------
    Kang and McAuley, Self-Attentive Sequential Recommendation, ICDM 2018.
    """

    def __init__(
        self,
        hidden_size: int,
        inner_size: int,
        n_layers: int,
        n_heads: int,
        max_length: int,
        dropout: float,
        attention_dropout: float,
        item_dropout: float,
    ) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.randn(hidden_size) * 0.02)
        self.position = nn.Embedding(max_length + 1, hidden_size)
        nn.init.normal_(self.position.weight, std=0.02)
        self.norm, self.last_norm = nn.LayerNorm(hidden_size), nn.LayerNorm(hidden_size)
        self.dropout, self.item_dropout = Dropout(dropout), item_dropout
        self.blocks = nn.ModuleList(
            Block(hidden_size, inner_size, n_heads, dropout, attention_dropout) for _ in range(n_layers)
        )

    def forward(self, items: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
        """States after the start token and after each item.

        Parameters
        ----------
        items : Tensor
            Item ids, left aligned, ``[batch_size, length]``.
        table : Tensor
            Item vectors, ``[n_items, hidden_size]``.

        Returns
        -------
        Tensor
            ``[batch_size, length + 1, hidden_size]``; state t has seen the first t items.
        """
        vectors = F.embedding(items, table)
        if self.training and self.item_dropout:
            hidden = torch.rand(items.shape, device=items.device) < self.item_dropout
            vectors = vectors.masked_fill(hidden.unsqueeze(-1), 0.0)
        start = self.start.expand(len(items), 1, -1)
        states = torch.cat([start, vectors], dim=1) + self.position.weight[: items.shape[1] + 1]
        states = self.dropout(self.norm(states))
        for block in self.blocks:
            states = block(states)
        return self.last_norm(states)

    def without_each(self, histories: Sequence[torch.Tensor], table: torch.Tensor, n: int) -> torch.Tensor:
        """States after histories without each of their last items in turn.

        Parameters
        ----------
        histories : sequence of Tensor
            Item ids, ``[length]`` each, at least ``n`` long.
        table : Tensor
            Item vectors, ``[n_items, hidden_size]``.
        n : int
            How many of the last items, at least 1.

        Returns
        -------
        Tensor
            ``[n_histories, n + 1, hidden_size]``: without the first of them, ..., without the last, and the whole
            history. What comes before them is encoded once.
        """
        device = table.device
        n_before = torch.tensor([len(items) - n for items in histories], device=device)
        first = pad_sequence([items[: len(items) - n] for items in histories], batch_first=True)
        last = torch.stack([items[len(items) - n :] for items in histories])  # [n_histories, n]
        place = torch.arange(n, device=device)
        # Row g holds the last items without the g-th, and a padding item at the end that nobody sees.
        kept = place + (place >= place.unsqueeze(1)).long()  # [n, n]
        ends = torch.cat([F.pad(last, (0, 1))[:, kept], last.unsqueeze(1)], dim=1)  # [n_histories, n + 1, n]
        where = self.position(n_before.unsqueeze(1) + 1 + place).unsqueeze(1)  # [n_histories, 1, n, d]
        rows = self.norm(F.embedding(ends, table) + where).flatten(0, 1)
        start = self.start.expand(len(last), 1, -1)
        states = torch.cat([start, F.embedding(first, table)], dim=1) + self.position.weight[: first.shape[1] + 1]
        states = self.norm(states)
        known = torch.arange(states.shape[1], device=device) <= n_before.unsqueeze(1)  # [n_histories, n_first]
        sees = torch.cat(
            [known.unsqueeze(1).expand(-1, n, -1), (place <= place.unsqueeze(1)).expand(len(last), n, n)], 2
        )
        mask = sees.unsqueeze(1).repeat_interleave(n + 1, dim=0)
        for block in self.blocks:
            assert isinstance(block, Block)
            states, before = block.go_on(states)
            key, value = (part.repeat_interleave(n + 1, dim=0) for part in before)
            rows, _ = block.go_on(rows, (key, value), mask)
        rows = rows.unflatten(0, (len(last), n + 1))
        without = rows[:, :-1, n - 2] if n > 1 else states[torch.arange(len(last)), n_before].unsqueeze(1)
        return self.last_norm(torch.cat([without, rows[:, -1:, -1]], dim=1))
