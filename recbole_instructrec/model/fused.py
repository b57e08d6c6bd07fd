"""Layers of a BERT as torch's own, which are one operation each where nothing is trained."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn


class FusedBert(nn.Module):
    """A copy of a BERT for reading few texts at a time, where calling its many small modules takes as long as they do.

    Parameters
    ----------
    model : BertModel
        Of transformers; see :meth:`can_copy`.

    References
    ----------
    Vaswani et al., Attention Is All You Need, NeurIPS 2017, whose encoder both are.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.embeddings = copy.deepcopy(model.embeddings)
        self.layers = nn.ModuleList(_as_torch_has_it(layer, model.config) for layer in model.encoder.layer)
        self.eval()

    @staticmethod
    def can_copy(model: Any) -> bool:
        """Whether a transformer computes what torch's layers compute."""
        from transformers import BertModel

        if type(model) is not BertModel:
            return False
        config = model.config
        absolute = getattr(config, "position_embedding_type", "absolute") == "absolute"
        return config.hidden_act == "gelu" and absolute and not config.is_decoder

    @torch.no_grad()
    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, output_hidden_states: bool = True) -> Any:
        """States of the tokens, as transformers gives them.

        Parameters
        ----------
        input_ids, attention_mask : Tensor of int
            ``[n_texts, n_tokens]``.
        output_hidden_states : bool
            They come with all layers in any case.

        Returns
        -------
        BaseModelOutput
            ``last_hidden_state``, ``[n_texts, n_tokens, hidden_size]``, and ``hidden_states``, of the embeddings and
            of each layer. What stands at places that the mask leaves out is of no meaning.
        """
        from transformers.modeling_outputs import BaseModelOutput

        states = [self.embeddings(input_ids=input_ids)]
        missing = attention_mask == 0  # also where nothing is: texts read alone and together go through the same
        for layer in self.layers:
            states.append(layer(states[-1], src_key_padding_mask=missing))
        return BaseModelOutput(last_hidden_state=states[-1], hidden_states=tuple(states))


@torch.no_grad()
def _as_torch_has_it(layer: Any, config: Any) -> nn.TransformerEncoderLayer:
    """A layer of BERT with its weights where torch's has them."""
    attention, attended = layer.attention.self, layer.attention.output
    made = nn.TransformerEncoderLayer(
        config.hidden_size,
        config.num_attention_heads,
        config.intermediate_size,
        dropout=0.0,
        activation="gelu",
        layer_norm_eps=config.layer_norm_eps,
        batch_first=True,
        device="meta",
    )
    three = (attention.query, attention.key, attention.value)
    state = {f"self_attn.in_proj_{kind}": torch.cat([getattr(one, kind) for one in three]) for kind in _KINDS}
    for name, part in (
        ("self_attn.out_proj", attended.dense),
        ("norm1", attended.LayerNorm),
        ("linear1", layer.intermediate.dense),
        ("linear2", layer.output.dense),
        ("norm2", layer.output.LayerNorm),
    ):
        state |= {f"{name}.{kind}": getattr(part, kind).clone() for kind in _KINDS}
    made.load_state_dict(state, assign=True)
    return made


_KINDS = ("weight", "bias")
