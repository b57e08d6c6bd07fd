"""RecBole's sequential models without what no score depends on: padding, and a last layer's earlier positions."""

from __future__ import annotations

from types import MethodType

import torch
from recbole.data.interaction import Interaction
from recbole.model.layers import TransformerEncoder
from recbole.model.sequential_recommender import FDSA, BERT4Rec, GRU4Rec, LightSANs, SASRec, SASRecF
from torch import nn
from torch.nn import functional as F

from recbole_instructrec.leaderboard.light_attention import attend, attend_at

#: Models whose score comes from the position of the last item alone.
_LAST_ITEM = (SASRec, SASRecF, FDSA)
#: Models in which padding changes no output that is used. In LightSANs it does.
_PADDED = (*_LAST_ITEM, GRU4Rec, BERT4Rec)
# Parts of a batch, each as long as its longest sequence.
_PARTS = 8


class LastItemEncoder(nn.Module):
    """RecBole's causal ``TransformerEncoder``, whose last layer is computed at the position of the last item only.

    Parameters
    ----------
    encoder : TransformerEncoder
        Its layers (and the names of their parameters) are kept.
    """

    def __init__(self, encoder: TransformerEncoder) -> None:
        super().__init__()
        self.layer = encoder.layer

    def forward(
        self, hidden_states: torch.Tensor, attention_mask: torch.Tensor, output_all_encoded_layers: bool = True
    ) -> list[torch.Tensor]:
        """Encode.

        Parameters
        ----------
        hidden_states : torch.Tensor, shape (batch, length, hidden_size)
            What comes in; padding follows the items.
        attention_mask : torch.Tensor, shape (batch, 1, length, length)
            Added to attention scores: 0 up to each position, of no weight after it and at padding.
        output_all_encoded_layers : bool
            There is one output in any case.

        Returns
        -------
        list of torch.Tensor, shape (batch, length, hidden_size)
            The last layer's output for the last item, the same at every position.
        """
        *before, last = self.layer
        for layer in before:
            hidden_states = layer(hidden_states, attention_mask)
        # The bottom row of a causal mask leaves out padding alone.
        mask = attention_mask[:, :, -1:]
        position = (mask[:, 0, 0] == 0).sum(1) - 1
        attention = last.multi_head_attention
        own = hidden_states.gather(1, position.view(-1, 1, 1).expand(-1, 1, hidden_states.shape[-1]))
        query, key, value = (
            attention.transpose_for_scores(part(x)).transpose(1, 2)
            for part, x in (
                (attention.query, own),
                (attention.key, hidden_states),
                (attention.value, hidden_states),
            )
        )
        scores = query @ key.transpose(-1, -2) / attention.sqrt_attention_head_size + mask
        context = attention.attn_dropout(attention.softmax(scores)) @ value
        attended = attention.out_dropout(attention.dense(context.transpose(1, 2).flatten(2)))
        found = last.feed_forward(attention.LayerNorm(attended + own))
        return [found.expand_as(hidden_states)]


def _by_length(model: nn.Module, item_seq: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
    """A model's forward pass in parts of about equal length, in the order that the sequences were given in."""
    lengths = (item_seq != 0).sum(1)
    order = lengths.argsort(stable=True)
    found = []
    for rows in order.chunk(_PARTS):
        longest = int(lengths[rows[-1]])
        part = type(model).forward(model, item_seq[rows, :longest], *(other[rows] for other in others))
        if part.dim() == 3:  # an output at every position
            part = F.pad(part, (0, 0, 0, item_seq.shape[1] - longest))
        found.append(part)
    return torch.cat(found)[order.argsort()]


def _light_sans(model: LightSANs, item_seq: torch.Tensor, item_seq_len: torch.Tensor) -> torch.Tensor:
    """LightSANs' forward pass, with the last layer at the position of the last item only."""
    items, positions = model.embedding_layer(item_seq)
    hidden = model.dropout(model.LayerNorm(items))
    *before, last = model.trm_encoder.layer
    for layer in before:
        hidden = layer.feed_forward(attend(layer.multi_head_attention, hidden, positions))
    found: torch.Tensor = last.feed_forward(attend_at(last.multi_head_attention, hidden, positions, item_seq_len - 1))
    return found


def _loss_of_masked(model: BERT4Rec, interaction: Interaction) -> torch.Tensor:
    """BERT4Rec's cross-entropy without the logits of the places that fill up a row's masked items."""
    index = interaction[model.MASK_INDEX]
    rows, places = torch.nonzero(index, as_tuple=True)  # as RecBole, which does not count the first position
    found = model.forward(interaction[model.MASK_ITEM_SEQ])[rows, index[rows, places]]
    logits = F.linear(found, model.item_embedding.weight[: model.n_items], model.output_bias)
    return F.cross_entropy(logits, interaction[model.POS_ITEMS][rows, places])


def leave_out_padding(model: nn.Module) -> None:
    """Let one of RecBole's models skip what changes neither its loss nor its scores; other models stay as they are.

    Parameters
    ----------
    model : nn.Module
        Changed in place; its parameters and their names stay.
    """
    if type(model) in _LAST_ITEM:
        for name, child in list(model.named_children()):
            if type(child) is TransformerEncoder:
                setattr(model, name, LastItemEncoder(child))
    if type(model) in _PADDED:
        model.forward = MethodType(_by_length, model)  # bound methods are copied with their model
    if type(model) is LightSANs:
        model.forward = MethodType(_light_sans, model)
    if type(model) is BERT4Rec and model.loss_type == "CE":
        model.calculate_loss = MethodType(_loss_of_masked, model)  # type: ignore[assignment]
