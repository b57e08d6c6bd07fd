"""The attention of RecBole's LightSANs without the projections that its interests make unnecessary."""

from __future__ import annotations

import math

import torch
from recbole.model.layers import ItemToInterestAggregation, LightMultiHeadAttention
from torch import nn


def _pooled(pooling: ItemToInterestAggregation, projection: nn.Linear, hidden: torch.Tensor) -> torch.Tensor:
    """Interests of projected items, (batch, interests, hidden_size), by projecting the interests instead."""
    # The projection's bias adds the same at every position, and the weights of an interest sum to 1.
    weights = (hidden @ (projection.weight.T @ pooling.theta)).softmax(1)
    found: torch.Tensor = projection(weights.transpose(1, 2) @ hidden)
    return found


def _to_items(attention: LightMultiHeadAttention, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights (batch, length, heads, interests) and values (batch, interests, heads, size of a head) of interests."""
    heads, size = attention.num_attention_heads, attention.attention_head_size
    key = _pooled(attention.attpooling_key, attention.key, hidden).unflatten(-1, (heads, size))
    value = _pooled(attention.attpooling_value, attention.value, hidden).unflatten(-1, (heads, size))
    # The query's bias, too, adds the same at every position, and RecBole's softmax is over these.
    query = attention.query.weight.view(heads, size, -1)
    asked = torch.einsum("bkhe,hed->bdhk", key, query).flatten(2) / math.sqrt(size)
    return (hidden @ asked).softmax(1).unflatten(-1, (heads, -1)), value


def _to_positions(attention: LightMultiHeadAttention, positions: torch.Tensor) -> torch.Tensor:
    """Weights of positions, (heads, length, length)."""
    heads, size = attention.num_attention_heads, attention.attention_head_size
    positions = attention.pos_ln(positions)
    query = attention.pos_q_linear(positions).unflatten(-1, (heads, size)).transpose(0, 1) * attention.pos_scaling
    key = attention.pos_k_linear(positions).unflatten(-1, (heads, size)).transpose(0, 1)
    return (query @ key.transpose(-1, -2) / math.sqrt(size)).softmax(-2)


def attend(attention: LightMultiHeadAttention, hidden: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """What RecBole's ``LightMultiHeadAttention.forward`` computes.

    Keys and values of interests, and queries, do not need the projection of every item: an interest is a weighted mean
    of items, so the mean is projected instead (Fan et al., "Lighter and better: low-rank decomposed self-attention
    networks for next-item recommendation", SIGIR 2021, section 3.2).

    Parameters
    ----------
    attention : LightMultiHeadAttention
        RecBole's layer.
    hidden : torch.Tensor, shape (batch, length, hidden_size)
        Items.
    positions : torch.Tensor, shape (length, hidden_size)
        Embeddings of positions.

    Returns
    -------
    torch.Tensor, shape (batch, length, hidden_size)
        Up to rounding the same.
    """
    heads, size = attention.num_attention_heads, attention.attention_head_size
    weights, value = _to_items(attention, hidden)
    of_items = torch.einsum("blhk,bkhe->bhle", attention.attn_dropout(weights), value)
    items = attention.value(hidden).unflatten(-1, (heads, size)).transpose(1, 2)
    of_positions = _to_positions(attention, positions) @ items
    found = attention.dense((of_items + of_positions).transpose(1, 2).flatten(2))
    attended: torch.Tensor = attention.LayerNorm(attention.out_dropout(found) + hidden)
    return attended


def attend_at(
    attention: LightMultiHeadAttention, hidden: torch.Tensor, positions: torch.Tensor, index: torch.Tensor
) -> torch.Tensor:
    """The same at one position of each sequence.

    Parameters
    ----------
    attention, hidden, positions
        As of :func:`attend`.
    index : torch.Tensor, shape (batch,)
        The positions.

    Returns
    -------
    torch.Tensor, shape (batch, hidden_size)
        Outputs there.
    """
    heads, size = attention.num_attention_heads, attention.attention_head_size
    rows = torch.arange(len(index), device=index.device)
    weights, value = _to_items(attention, hidden)
    of_items = torch.einsum("bhk,bkhe->bhe", attention.attn_dropout(weights[rows, index]), value)
    near = _to_positions(attention, positions)[:, index].transpose(0, 1)
    # Weights of positions do not sum to 1 over these, as RecBole's softmax is over the positions that ask.
    bias = attention.value.bias.view(heads, size) * near.sum(-1, keepdim=True)
    of_positions = torch.einsum("bhd,hed->bhe", near @ hidden, attention.value.weight.view(heads, size, -1)) + bias
    found = attention.dense((of_items + of_positions).flatten(1))
    attended: torch.Tensor = attention.LayerNorm(attention.out_dropout(found) + hidden[rows, index])
    return attended
