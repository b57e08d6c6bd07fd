"""What an instruction asks for, ŷ = f(h(x)), and how well each item answers it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import nn
from torch.nn import functional as F

from recbole_instructrec.data.instructions.wish import Wish

N_DEGREES = 3

# A wish that is read without doubt has a weight near 10: let it get there in a few epochs.
_SPEED = 5.0


# Logit of what is known.
_SURE = 10.0


class Intent(NamedTuple):
    """What instructions ask for, as logits.

    Attributes
    ----------
    presence : Tensor
        Whether an attribute is spoken of, ``[n, n_attributes]``.
    sign : Tensor
        Whether it is wanted (above 0) or avoided, if it is spoken of, ``[n, n_attributes]``.
    degree : Tensor
        A leaning, a wish, or that and nothing else, ``[n, 3]``.
    """

    presence: torch.Tensor
    sign: torch.Tensor
    degree: torch.Tensor

    @property
    def wanted(self) -> torch.Tensor:
        """Probability that each attribute is wanted, ``[n, n_attributes]``."""
        return torch.sigmoid(self.presence) * torch.sigmoid(self.sign)

    @property
    def avoided(self) -> torch.Tensor:
        """Probability that each attribute is avoided, ``[n, n_attributes]``."""
        return torch.sigmoid(self.presence) * torch.sigmoid(-self.sign)

    def flat(self) -> torch.Tensor:
        """One row an instruction, ``[n, 2 * n_attributes + 3]``."""
        return torch.cat(self, dim=1)

    @staticmethod
    def of(flat: torch.Tensor) -> Intent:
        """From rows as :meth:`flat` makes them."""
        n = (flat.shape[1] - N_DEGREES) // 2
        return Intent(flat[:, :n], flat[:, n : 2 * n], flat[:, 2 * n :])


class Wishes(NamedTuple):
    """What texts are known to ask for, as targets of :func:`intent_loss`.

    Attributes
    ----------
    known : Tensor of bool
        Texts of which it is known, ``[n]``.
    present, wanted : Tensor of float
        0 or 1, ``[n, n_attributes]``.
    degree : Tensor of int
        ``[n]``.
    """

    known: torch.Tensor
    present: torch.Tensor
    wanted: torch.Tensor
    degree: torch.Tensor

    @staticmethod
    def of(wishes: Sequence[Wish | None], n_attributes: int) -> Wishes:
        """From the wishes of ``n`` texts, None where it is not known."""
        present, wanted = np.zeros((2, len(wishes), n_attributes), dtype=np.float32)
        for row, wish in enumerate(wishes):
            if wish is not None:
                present[row, list(wish.want + wish.avoid)] = 1.0
                wanted[row, list(wish.want)] = 1.0
        return Wishes(
            torch.tensor([wish is not None for wish in wishes], dtype=torch.bool),
            torch.from_numpy(present),
            torch.from_numpy(wanted),
            torch.tensor([0 if wish is None else wish.degree for wish in wishes], dtype=torch.long),
        )

    def take(self, rows: torch.Tensor) -> Wishes:
        """Those of some texts."""
        return Wishes(*[values[rows] for values in self])

    def read_without_error(self) -> Intent:
        """The intents that a reader without doubt would give."""
        degree = F.one_hot(self.degree, N_DEGREES).float()
        return Intent(*(_SURE * (2.0 * part - 1.0) for part in (self.present, self.wanted, degree)))


def intent_loss(intent: Intent, wishes: Wishes, counts: torch.Tensor | None = None) -> torch.Tensor:
    """Cross-entropy of presence, of the sign of what is present, and of the degree.

    Parameters
    ----------
    intent : Intent
        Of n texts.
    wishes : Wishes
        Of the same texts.
    counts : Tensor, optional
        Whether presence counts, 1.0 or 0.0, ``[n, n_attributes]``; everywhere by default.

    Returns
    -------
    Tensor
        Mean over the texts that are known of the sum over attributes; 0 when none is known.
    """
    rows = torch.nonzero(wishes.known).flatten()
    if not len(rows):
        return intent.flat().sum() * 0.0
    wishes, intent = wishes.take(rows), Intent(*[logits[rows].float() for logits in intent])
    spoken, weight = wishes.present > 0, None if counts is None else counts[rows]
    loss = F.binary_cross_entropy_with_logits(intent.presence, wishes.present, weight, reduction="sum")
    loss = loss + F.binary_cross_entropy_with_logits(intent.sign[spoken], wishes.wanted[spoken], reduction="sum")
    return (loss + F.cross_entropy(intent.degree, wishes.degree, reduction="sum")) / len(rows)


class SentenceIntent(nn.Module):
    """Intent read from one vector a text; trained with the recommender.

    Parameters
    ----------
    size : int
        Width of h(x).
    n_attributes : int
        Attributes that can be asked for.
    hidden_size : int
        Width of the hidden layer.
    """

    def __init__(self, size: int, n_attributes: int, hidden_size: int) -> None:
        super().__init__()
        out = nn.Linear(hidden_size, 2 * n_attributes + N_DEGREES)
        with torch.no_grad():
            out.bias[:n_attributes] = -3.0  # most attributes are not spoken of
            out.bias[n_attributes:] = 0.0
        self.layers = nn.Sequential(nn.Linear(size, hidden_size), nn.GELU(), out)

    def forward(self, vectors: torch.Tensor) -> Intent:
        """``[n, size]`` to the intents of n texts."""
        return Intent.of(self.layers(vectors))


class IntentScores(nn.Module):
    """How well each item answers an intent.

    Parameters
    ----------
    attributes : scipy.sparse.csr_matrix
        ``[n_items, n_attributes]``.
    n_main : int
        The first so many attributes are of one kind (``intent_field``), the others of another.

    Notes
    -----
    A user who names one attribute of a wanted item, each with equal chance, asks
    for attribute a of item i with probability ``[i has a] / |attributes of i|``.
    So an item's score rises with the logarithm of that for each attribute that is
    wanted, and falls for each that is avoided:

        sum_a wanted_a [i has a] (b_g - c_g log |i|) - d sum_a avoided_a [i has a]

    with b and c learned for each degree g, and d. Sums of logarithms make two
    wishes a conjunction.
    """

    has: torch.Tensor
    log_count: torch.Tensor

    def __init__(self, attributes: csr_matrix, n_main: int) -> None:
        super().__init__()
        has = torch.from_numpy(attributes.toarray()).float()  # [n_items, n_attributes]
        groups = (has[:, :n_main], has[:, n_main:])
        counts = [group * torch.log(group.sum(1, keepdim=True).clamp(min=1.0)) for group in groups]
        self.register_buffer("has", has, persistent=False)
        self.register_buffer("log_count", torch.cat(counts, dim=1), persistent=False)
        self.wish = nn.Parameter(torch.tensor([1.0, 5.0, 6.0]) / _SPEED)
        self.purity = nn.Parameter(torch.ones(N_DEGREES))
        self.avoidance = nn.Parameter(torch.tensor(5.0 / _SPEED))

    def forward(self, intent: Intent, items: torch.Tensor | None = None) -> torch.Tensor:
        """Scores of all items, or of some, ``[n, n_items]``."""
        wish, purity = self.weights(intent)
        has, log_count = (self.has, self.log_count) if items is None else (self.has[items], self.log_count[items])
        return wish @ has.T - purity @ log_count.T

    def weights(self, intent: Intent) -> tuple[torch.Tensor, torch.Tensor]:
        """What having an attribute adds, and what it takes off for each ``log |i|``, ``[n, n_attributes]`` each."""
        degree = torch.softmax(intent.degree, dim=1)
        wanted, avoided = intent.wanted, intent.avoided
        wish = _SPEED * (wanted * (degree @ self.wish).unsqueeze(1) - self.avoidance * avoided)
        return wish, wanted * (degree @ self.purity).unsqueeze(1)
