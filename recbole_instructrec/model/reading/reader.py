"""Reads what an instruction asks for from the states of its tokens.

Which attribute is wanted and which is avoided cannot be told from one vector of
a sentence ("a 90s thriller but not a war film"), so the reader attends to the
tokens of a frozen transformer. An attribute is known to it by the vector of its
name, so one reader serves attributes that it was not taught with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence

from recbole_instructrec.model.intent import N_DEGREES, Intent

TokenStates = Callable[[list[str]], list[torch.Tensor]]
TextVectors = Callable[[list[str]], np.ndarray]


class Shape(NamedTuple):
    """Size of a reader.

    Attributes
    ----------
    hidden_size, n_layers, n_heads : int
        Of the transformer layers over the frozen states.
    recurrent : bool
        Whether these read the tokens after a bidirectional GRU: for states that do not know of the words around them.
    """

    hidden_size: int = 128
    n_layers: int = 2
    n_heads: int = 4
    recurrent: bool = False


class IntentReader(nn.Module):
    """Attention of each attribute to the tokens of an instruction.

    Parameters
    ----------
    size : int
        Width of a token's state in one layer, and of a text's vector; a token has the states of two layers.
    shape : Shape
        Of the layers that are trained.
    dropout : float
        Of those layers.

    References
    ----------
    Mullenbach et al., Explainable Prediction of Medical Codes from Clinical Text,
    NAACL 2018, for attention with a query for each label; Wang et al., Joint
    Embedding of Words and Labels for Text Classification, ACL 2018, for labels
    that are known by the vectors of their names.
    """

    def __init__(self, size: int, shape: Shape | None = None, dropout: float = 0.2) -> None:
        super().__init__()
        self.size, self.shape = size, shape or Shape()
        hidden, n_layers, n_heads, recurrent = self.shape
        self.project = nn.Sequential(nn.LayerNorm(2 * size), nn.Linear(2 * size, hidden))
        self.recurrent = nn.GRU(hidden, hidden // 2, batch_first=True, bidirectional=True) if recurrent else None
        layer = nn.TransformerEncoderLayer(
            hidden, n_heads, 2 * hidden, dropout, "gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, n_layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(hidden)
        self.key = nn.Linear(hidden, hidden)
        # What an attribute looks for among the tokens, and what tells that it is there.
        self.attribute = nn.Sequential(nn.Linear(size, 2 * hidden), nn.GELU(), nn.Linear(2 * hidden, 2 * hidden))
        self.register_buffer("heads", torch.tensor(n_heads))  # what the other weights do not tell of the shape
        self.for_degree = nn.Parameter(torch.randn(hidden) * 0.05)
        self.whole = nn.Linear(size, size, bias=False)
        self.rarely = nn.Parameter(torch.tensor(-3.0))  # most attributes are not spoken of
        self.sign, self.degree = nn.Linear(hidden, 1), nn.Linear(hidden, N_DEGREES)
        self._sharpness = 4.0 / hidden**0.5

    def forward(self, states: torch.Tensor, mask: torch.Tensor, names: torch.Tensor) -> tuple[Intent, torch.Tensor]:
        """Read n texts.

        Parameters
        ----------
        states : Tensor
            Of the tokens, ``[n, n_tokens, 2 * size]``.
        mask : Tensor of bool
            Which are there, ``[n, n_tokens]``.
        names : Tensor
            Vectors of the attributes' names, ``[n_attributes, size]``.

        Returns
        -------
        tuple
            Their intents, and the attention of each attribute to the tokens,
            ``[n, n_tokens, n_attributes]``.
        """
        hidden = self.project(states)
        hidden = hidden + _positions(hidden.shape[1], hidden.shape[2]).to(hidden)
        if self.recurrent is not None:
            length = mask.sum(1).clamp(min=1).cpu()
            packed = pack_padded_sequence(hidden, length, batch_first=True, enforce_sorted=False)
            hidden = hidden + pad_packed_sequence(self.recurrent(packed)[0], True, 0.0, hidden.shape[1])[0]
        hidden = self.norm(self.layers(hidden, src_key_padding_mask=~mask))
        query, presence = self.attribute(4.0 * names).chunk(2, dim=1)
        query = torch.cat([query, self.for_degree.unsqueeze(0)])
        weight = self.key(hidden) @ query.T * self._sharpness
        weight = weight.masked_fill(~mask.unsqueeze(-1), -1e9).softmax(1)
        attention, for_degree = weight[..., :-1], weight[..., -1:]
        whole = F.normalize((states[..., -self.size :] * mask.unsqueeze(-1)).sum(1), dim=-1)
        spoken = (attention * (hidden @ presence.T)).sum(1) + 4.0 * self.whole(whole) @ names.T + self.rarely
        sign = (attention * self.sign(hidden)).sum(1)
        degree = (for_degree * self.degree(hidden)).sum(1)
        return Intent(spoken, sign, degree), attention

    def read(self, states: Sequence[torch.Tensor], names: torch.Tensor) -> tuple[Intent, torch.Tensor]:
        """As :meth:`forward`, of texts of any number of tokens, ``[n_tokens, 2 * size]`` each."""
        padded, mask = side_by_side(states)
        return self(padded.to(self.for_degree.device), mask.to(self.for_degree.device), names)


def side_by_side(states: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """States of several texts in one tensor.

    Parameters
    ----------
    states : sequence of Tensor
        ``[n_tokens, size]`` each.

    Returns
    -------
    tuple
        The states, zero behind the last token of each text, ``[n, most tokens, size]``, and where there are tokens,
        ``[n, most tokens]``.
    """
    padded = pad_sequence([state.float() for state in states], batch_first=True)
    length = torch.tensor([len(state) for state in states])
    return padded, torch.arange(padded.shape[1]) < length.unsqueeze(1)


def vectors_of_names(names: Sequence[str], encode: TextVectors) -> torch.Tensor:
    """How a reader knows attributes: the vectors of their names, float32, ``[n_attributes, size]``.

    Parameters
    ----------
    names : sequence of str
        As the data set writes them; hyphens and underscores become spaces.
    encode : callable
        Gives the vectors of texts, ``[n, size]``.
    """
    plain = [" ".join(name.replace("_", " ").replace("-", " ").lower().split()) or name for name in names]
    return torch.from_numpy(np.asarray(encode(plain), dtype=np.float32))


@lru_cache(maxsize=64)
def _positions(n: int, size: int) -> torch.Tensor:
    """Sines and cosines of the place of each token, ``[n, size]`` (Vaswani et al., 2017, section 3.5)."""
    angle = torch.arange(n).unsqueeze(1) / 10000.0 ** (torch.arange(0, size, 2) / size)
    return 0.3 * torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)[:, :size]


def shape_of(state: Mapping[str, torch.Tensor]) -> Shape:
    """The shape of the reader that some weights belong to, as ``state_dict`` gives them."""
    layers = {name.split(".")[2] for name in state if name.startswith("layers.layers.")}
    recurrent = any(name.startswith("recurrent.") for name in state)
    return Shape(len(state["for_degree"]), len(layers), int(state["heads"]), recurrent)
