"""A softmax over part of the catalogue: the targets of a batch and items drawn at random."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from recbole_instructrec.model.losses import Scores


class SampledCatalogue(nn.Module):
    """Draws the items of a batch's softmax and corrects their scores for how likely they are to be among them.

    The sum of a row's softmax over the whole catalogue is estimated by ``exp(s_t) + sum_j exp(s_j) / q_j`` over its
    target t and all other items j that are there, where ``q_j`` is the chance that j is: that of being the target of
    another row of the batch, or drawn. The row's own target is always there, so that its score is not corrected.

    Parameters
    ----------
    counts : ndarray
        How often each item is a target in training, ``[n_items]``; item 0 is padding.
    n_drawn : int
        Items that are drawn for each batch, every one with equal chance, with replacement.

    References
    ----------
    Bengio and Senecal, Adaptive Importance Sampling to Accelerate Training of a Neural Probabilistic Language Model,
    IEEE Transactions on Neural Networks 2008; Yi et al., Sampling-Bias-Corrected Neural Modeling for Large Corpus Item
    Recommendations, RecSys 2019 (targets of the batch, logQ); Khrylchenko et al., Correcting the LogQ Correction:
    Revisiting Sampled Softmax for Large-Scale Retrieval, RecSys 2025 (the own target is not corrected).
    """

    _not_target: torch.Tensor

    def __init__(self, counts: np.ndarray, n_drawn: int) -> None:
        super().__init__()
        share = counts.astype(np.float64).clip(0)
        share[0] = 0.0
        # Of not being the target of one row, and of not being drawn once, as logarithms.
        never = np.log1p(-np.minimum(share / max(share.sum(), 1.0), 1.0 - 1e-9))
        self.register_buffer("_not_target", torch.from_numpy(never).float(), persistent=False)
        self._not_drawn = float(np.log1p(-1.0 / max(len(counts) - 1, 2)))
        self.n_drawn = n_drawn

    def log_chance(self, n_targets: int) -> torch.Tensor:
        """Logarithm of each item's chance to be there beside ``n_targets`` targets, ``[n_items]``."""
        absent = self._not_target * n_targets + self._not_drawn * self.n_drawn
        return torch.log(-torch.expm1(absent))

    def forward(
        self, scores: Scores, target: torch.Tensor, first_seen: torch.Tensor
    ) -> tuple[Scores, torch.Tensor, torch.Tensor, torch.Tensor]:
        """The same rows over the items of their softmax.

        Parameters
        ----------
        scores : Scores
            Of n rows over the catalogue.
        target : Tensor
            Item ids, ``[n]``.
        first_seen : Tensor
            As :func:`~recbole_instructrec.model.losses.softmax_cross_entropy` takes it, ``[n, n_seen]``.

        Returns
        -------
        tuple
            Scores over ``m`` items (the first is padding), the place of each target among them ``[n]``,
            ``first_seen`` for them, and what is added to the score of each row's own target, ``[n]``.
        """
        n_items, device = len(scores.table), target.device
        drawn = torch.randint(1, n_items, (self.n_drawn,), device=device)
        there = torch.unique(torch.cat([target.new_zeros(1), target, drawn]))
        place = target.new_zeros(n_items).index_copy(0, there, torch.arange(len(there), device=device))
        chance = self.log_chance(len(target) - 1).to(scores.bias.dtype)
        correction = chance[there].index_fill(0, place[:1], 0.0)  # padding stays out of reach
        seen = place[scores.seen]  # what is not there becomes padding
        part = scores._replace(
            table=scores.table[there],
            bias=scores.bias[there] - correction,
            extra=scores.extra[:, there],
            seen=seen,
        )
        return part, place[target], first_seen * (seen > 0), chance[target]
