"""Lists whose items are not all alike."""

from __future__ import annotations

import torch

#: The most relevant items that a diverse list is chosen from, for each of its places.
CANDIDATES = 10


def diverse(scores: torch.Tensor, vectors: torch.Tensor, k: int, diversity: float) -> torch.Tensor:
    """Choose k of the candidates by maximal marginal relevance.

    Parameters
    ----------
    scores : Tensor
        Of the candidates, the best first, ``[n]``.
    vectors : Tensor
        Of the candidates, length 1, ``[n, d]``.
    k : int
        Places.
    diversity : float
        0 for relevance alone, up to 1 for likeness alone.

    Returns
    -------
    Tensor
        Places among the candidates, ``[min(k, n)]``.

    Notes
    -----
    The next item is the one with the highest

        (1 - diversity) relevance - diversity max over the chosen of cosine

    where relevance is the score, shifted and scaled to 0..1 over the candidates.

    References
    ----------
    Carbonell and Goldstein, The Use of MMR, Diversity-Based Reranking for Reordering Documents and Producing
    Summaries, SIGIR 1998.
    """
    n = min(k, len(scores))
    if n < 1:
        return torch.zeros(0, dtype=torch.long)
    spread = (scores[0] - scores[-1]).clamp(min=1e-6)
    relevance = (scores - scores[-1]) / spread
    likeness = vectors @ vectors.T
    chosen = [0]
    closest = likeness[0].clone()
    left = torch.ones(len(scores), dtype=torch.bool)
    left[0] = False
    while len(chosen) < n:
        value = (1.0 - diversity) * relevance - diversity * closest
        best = int(torch.where(left, value, torch.full_like(value, -torch.inf)).argmax())
        chosen.append(best)
        left[best] = False
        closest = torch.maximum(closest, likeness[best])
    return torch.tensor(chosen)
