"""Affine maps of pretrained vectors into fewer dimensions, and how they are fitted to a catalogue."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

#: Vectors that a projection is fitted to, and projected at a time.
MOST_VECTORS = 100_000


class Projection(nn.Module):
    """``(v - mean) @ basis``, fitted once and kept with the weights that were trained on its output.

    Parameters
    ----------
    mean : ndarray
        ``[width]``.
    basis : ndarray
        ``[width, size]``.

    Notes
    -----
    Double precision: whitening divides by the spread of weak directions, and what is
    read back must give the vectors that the weights were trained on.
    """

    mean: torch.Tensor
    basis: torch.Tensor

    def __init__(self, mean: np.ndarray, basis: np.ndarray) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float64))
        self.register_buffer("basis", torch.tensor(basis, dtype=torch.float64))

    @property
    def width(self) -> int:
        """Width of the vectors that are projected."""
        return len(self.mean)

    def project(self, vectors: np.ndarray, present: np.ndarray) -> np.ndarray:
        """Vectors of items in the space of this projection.

        Parameters
        ----------
        vectors : ndarray
            ``[n_items, width]``.
        present : ndarray of bool
            Items that have a vector, ``[n_items]``.

        Returns
        -------
        ndarray
            float32, ``[n_items, size]``; zero where absent.
        """
        mean, basis = self.mean.cpu().numpy(), self.basis.cpu().numpy()
        result = np.zeros((len(vectors), basis.shape[1]), dtype=np.float32)
        known = np.flatnonzero(present)
        for begin in range(0, len(known), MOST_VECTORS):
            rows = known[begin : begin + MOST_VECTORS]
            result[rows] = (vectors[rows].astype(np.float64) - mean) @ basis
        return result

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # Checkpoints of former versions have none; for the catalogue they are loaded for it is fitted anew.
        for name, value in self.named_buffers():
            state_dict.setdefault(prefix + name, value)
        super()._load_from_state_dict(state_dict, prefix, *args)


def fit_whitening(vectors: np.ndarray, present: np.ndarray, size: int) -> Projection:
    """Centre, decorrelate and scale to unit variance, keeping the strongest directions.

    Parameters
    ----------
    vectors : ndarray
        ``[n_items, width]``.
    present : ndarray of bool
        Items that have a vector, ``[n_items]``; of more than :data:`MOST_VECTORS`, as many are drawn.
    size : int
        Directions to keep; fewer when there are fewer items or dimensions.

    Returns
    -------
    Projection
        To ``min(size, width, n_present - 1)`` dimensions.

    References
    ----------
    Su et al., Whitening Sentence Representations for Better Semantics and Faster
    Retrieval, 2021 (arXiv:2103.15316).
    """
    known = _some(vectors, present).astype(np.float64)
    mean = known.mean(0) if len(known) else np.zeros(vectors.shape[1])
    _, strength, directions = np.linalg.svd(known - mean, full_matrices=False)
    keep = min(size, int((strength > 1e-6 * max(strength.max(initial=0.0), 1e-12)).sum()))
    return Projection(mean, directions[:keep].T / strength[:keep] * np.sqrt(max(len(known), 1)))


def fit_principal_components(vectors: np.ndarray, present: np.ndarray, size: int) -> Projection:
    """The directions along which vectors vary most; lengths stay as they are.

    Parameters
    ----------
    vectors, present, size
        As in :func:`fit_whitening`.

    Returns
    -------
    Projection
        To ``min(size, width, n_present)`` dimensions.
    """
    known = _some(vectors, present)
    mean = known.mean(0)
    _, _, directions = np.linalg.svd(known - mean, full_matrices=False)
    return Projection(mean, directions[:size].T)


def _some(vectors: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Vectors that are there, or as many of them as are enough to fit a projection to, the same each time."""
    known = np.flatnonzero(present)
    if len(known) > MOST_VECTORS:
        known = np.sort(np.random.default_rng(0).choice(known, MOST_VECTORS, replace=False))
    return vectors[known]


def given_or_fitted(
    given: Projection | None,
    fit: Callable[[np.ndarray, np.ndarray, int], Projection],
    vectors: np.ndarray,
    present: np.ndarray,
    size: int,
) -> Projection:
    """A projection that belongs to given weights, unless it is for vectors of another width; else a new one.

    Parameters
    ----------
    given : Projection or None
        From a checkpoint.
    fit : callable
        :func:`fit_whitening` or :func:`fit_principal_components`.
    vectors, present, size
        As in :func:`fit_whitening`.

    Returns
    -------
    Projection
    """
    return given if given is not None and given.width == vectors.shape[1] else fit(vectors, present, size)


def projections_in(weights: dict[str, Any]) -> dict[str, Projection]:
    """All projections of a state dict by their place in the model, such as ``match.projection``."""
    found = {}
    for name, basis in weights.items():
        place, _, last = name.rpartition(".")
        mean = weights.get(f"{place}.mean")
        if last != "basis" or not isinstance(basis, torch.Tensor) or not isinstance(mean, torch.Tensor):
            continue
        if basis.dim() == 2 and mean.shape == basis.shape[:1]:
            found[place] = Projection(mean.numpy(), basis.numpy())
    return found


def projection_names(model: nn.Module) -> set[str]:
    """Names of all projections' tensors in a model's state dict."""
    return {
        f"{place}.{name}"
        for place, module in model.named_modules()
        if isinstance(module, Projection)
        for name, _ in module.named_buffers()
    }
