"""Requests that were taught, remembered: what a new one asks for is told from those that mean nearly the same.

A reader that attends to tokens is sure of requests that name what they ask for. One that
names nothing ("two hours of laughing tears, please") means something as a
whole, and is better told from remembered requests that are near it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from recbole_instructrec.data.words import plain
from recbole_instructrec.model.intent import Intent

#: So many of the nearest remembered requests vote; their weight falls by e for a cosine that is lower by 1 / SHARPNESS.
NEAREST, SHARPNESS = 10, 20.0

#: Added to shares of votes: a request may ask for two things, and the nearest ones speak of one of them.
LEAST = 0.05


def plain_name(name: str) -> str:
    """A name of an attribute whatever its capitals, hyphens, underscores and apostrophes."""
    return " ".join(plain(name.replace("_", " ").replace("-", " ")).split())


class Judgement(NamedTuple):
    """How votes are weighed against the reader, by two logistic regressions.

    The logit of an attribute's presence is ``presence`` times the reader's + ``vote`` times the logarithm of its share
    of the votes + ``nearness`` times the highest cosine + ``bias``; that of its sign is ``sign`` times the reader's +
    ``tone`` times the tone of the text as a whole + ``leaning``.

    Attributes
    ----------
    presence, vote, nearness, bias, sign, tone, leaning : float
        Of the regressions.
    sure : float
        Above this logit of its presence the reader is believed without a vote.
    """

    presence: float
    vote: float
    nearness: float
    bias: float
    sign: float
    tone: float
    leaning: float
    sure: float


class RequestMemory(nn.Module):
    """Remembered requests, and what they ask for.

    Parameters
    ----------
    vectors : Tensor
        Of the requests under the reader's encoder, ``[n, size]``.
    about : Tensor of int
        Which value each speaks of, ``[n]``.
    values : sequence of str
        The values, in lower case.
    tone : Tensor
        Weights of the logit that a text wants what it speaks of, for its vector and 1, ``[size + 1]``.
    judgement : Judgement
        How it is weighed.
    names : sequence of str
        Attributes of a data set.

    References
    ----------
    Khandelwal et al., Generalization through Memorization, ICLR 2020, for a model beside its nearest neighbours.
    """

    vectors: torch.Tensor
    columns: torch.Tensor
    about: torch.Tensor
    tone: torch.Tensor

    def __init__(
        self,
        vectors: torch.Tensor,
        about: torch.Tensor,
        values: Sequence[str],
        tone: torch.Tensor,
        judgement: Judgement,
        names: Sequence[str],
    ) -> None:
        super().__init__()
        self.judgement = judgement
        parts = [part.numpy().tobytes() for part in (vectors.half(), about.to(torch.int16), tone.float())]
        #: Hash of what is remembered and how it is weighed.
        self.fingerprint = hashlib.sha256(b"".join([*parts, repr([*values, *judgement]).encode()])).hexdigest()
        self.register_buffer("vectors", F.normalize(vectors.float(), dim=-1), persistent=False)
        self.register_buffer("about", about.long(), persistent=False)
        self.register_buffer("tone", tone.float(), persistent=False)
        places = {plain_name(value): place for place, value in enumerate(values)}
        # The value of each attribute, and one behind the last for attributes that no request is remembered of.
        columns = [places.get(plain_name(name), len(values)) for name in names]
        self.register_buffer("columns", torch.tensor(columns, dtype=torch.long), persistent=False)
        self._n = len(values)

    @property
    def is_remembered(self) -> torch.Tensor:
        """Attributes that requests are remembered of, bool, ``[n_attributes]``."""
        return self.columns < self._n

    @classmethod
    def of(cls, stored: Mapping[str, Any], names: Sequence[str]) -> RequestMemory:
        """From what :meth:`plain` gives, for a data set's attributes."""
        judgement = Judgement(**stored["judgement"])
        return cls(stored["vectors"], stored["about"], stored["values"], stored["tone"], judgement, names)

    @staticmethod
    def plain(
        vectors: torch.Tensor, about: torch.Tensor, values: Sequence[str], tone: torch.Tensor, judgement: Judgement
    ) -> dict[str, Any]:
        """Tensors and plain values to be stored."""
        return {
            "vectors": vectors.half(),
            "about": about.to(torch.int16),
            "values": list(values),
            "tone": tone.float(),
            "judgement": judgement._asdict(),
        }

    def votes(self, whole: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Votes of the nearest remembered requests.

        Parameters
        ----------
        whole : Tensor
            Vectors of n texts, length 1, ``[n, size]``.

        Returns
        -------
        tuple of Tensor
            Share of the votes for each value, ``[n, n_values + 1]`` (0 in the last column), and the highest cosine,
            ``[n]``.
        """
        near, place = (whole @ self.vectors.T).topk(min(NEAREST, len(self.vectors)), dim=1)
        weight = torch.softmax(SHARPNESS * near, dim=1)
        share = whole.new_zeros(len(whole), self._n + 1).scatter_add_(1, self.about[place], weight)
        return share, near[:, 0]

    def evidence(self, whole: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """What is weighed beside the reader's logits.

        Parameters
        ----------
        whole : Tensor
            Vectors of n texts, length 1, ``[n, size]``.

        Returns
        -------
        tuple of Tensor
            Logarithms of the shares of the votes, ``[n, n_attributes]``; the highest cosine and the tone, ``[n, 1]``
            each.
        """
        share, near = self.votes(whole)
        tone = whole @ self.tone[:-1] + self.tone[-1]
        return torch.log(share[:, self.columns] + LEAST), near.unsqueeze(1), tone.unsqueeze(1)

    def forward(self, intent: Intent, whole: torch.Tensor) -> Intent:
        """The intents of n texts, as the reader has them, with the votes.

        Parameters
        ----------
        intent : Intent
            As the reader has read them, ``[n, n_attributes]`` each.
        whole : Tensor
            Vectors of the texts, length 1, ``[n, size]``.

        Returns
        -------
        Intent
            With presence and sign of attributes that requests are remembered of weighed anew; the degree stays.
        """
        if not len(whole) or not self.columns.numel():
            return intent
        j, others = self.judgement, ~self.is_remembered
        # Whatever the precision of the recommender: cosines that are rounded would change who is near.
        with torch.autocast(whole.device.type, enabled=False):
            whole = whole.float()
            presence, sign = intent.presence.float(), intent.sign.float()
            votes, near, tone = self.evidence(whole)
            weighed = j.presence * presence + j.vote * votes + j.nearness * near + j.bias
            return intent._replace(
                presence=torch.where((presence > j.sure) | others, presence, weighed),
                sign=torch.where(others, sign, j.sign * sign + j.tone * tone + j.leaning),
            )


def whole_of(states: Sequence[torch.Tensor]) -> torch.Tensor:
    """Vectors of texts from the states of their tokens: the mean of the last layer, length 1.

    Parameters
    ----------
    states : sequence of Tensor
        ``[n_tokens, 2 * size]`` each, the last layer second.

    Returns
    -------
    Tensor
        ``[n, size]``, float32.
    """
    means = [state[:, state.shape[1] // 2 :].float().mean(0) for state in states]
    return F.normalize(torch.stack(means), dim=-1)
