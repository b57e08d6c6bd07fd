"""The item table: id, text and any other modality as one vector an item."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from recbole_instructrec.model.dropout import Dropout
from recbole_instructrec.model.projection import Projection, fit_whitening, given_or_fitted

FUSIONS = ("none", "add", "multiply", "start")


class ItemVectorError(ValueError):
    """A file of item vectors cannot be used."""


def read_item_vectors(file: str, item_tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Read one modality from an ``.npz`` file.

    Parameters
    ----------
    file : str
        Holds ``item_id`` (as in the atomic files) and ``vector`` ``[n, width]``.
    item_tokens : ndarray of str
        RecBole's item tokens by internal id.

    Returns
    -------
    tuple of ndarray
        Vectors ``[n_items, width]`` and which items have one ``[n_items]``.

    Raises
    ------
    ItemVectorError
        When the file is missing, misses an array, or holds NaN or infinite numbers.
    """
    if not Path(file).is_file():
        raise ItemVectorError(f"item_vectors: there is no file {file}.")
    try:
        with np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError) as error:
        raise ItemVectorError(
            f"item_vectors: {file} cannot be read ({error}). "
            "Write it with numpy.savez(file, item_id=strings, vector=floats)."
        ) from error
    if not {"item_id", "vector"} <= set(arrays):
        raise ItemVectorError(
            f"item_vectors: {file} must hold the arrays item_id and vector, it holds {sorted(arrays)}."
        )
    ids, vectors = arrays["item_id"].astype(str), np.atleast_2d(arrays["vector"])
    if len(ids) != len(vectors):
        raise ItemVectorError(f"item_vectors: {file} has {len(ids)} item ids but {len(vectors)} vectors.")
    bad = ~np.isfinite(vectors).all(1)
    if bad.any():
        raise ItemVectorError(
            f"item_vectors: {int(bad.sum())} vectors of {file} hold NaN or infinite numbers (such as item "
            f"{ids[bad][0]}). Leave such items out of the file; an item may lack a vector."
        )
    place = {token: index for index, token in enumerate(item_tokens.astype(str))}
    result = np.zeros((len(item_tokens), vectors.shape[1]), dtype=np.float32)
    present = np.zeros(len(item_tokens), dtype=bool)
    for token, vector in zip(ids, vectors, strict=True):
        index = place.get(token)
        if index:
            result[index], present[index] = vector, True
    if not present.any():
        raise ItemVectorError(
            f"item_vectors: no item_id of {file} is an item of this data set (such as {ids[0]!r} there, "
            f"{item_tokens[1]!r} here). Use the ids of the .item and .inter files."
        )
    return result, present


def whitened_modalities(
    config: Any, item_tokens: np.ndarray, texts: np.ndarray, has_text: np.ndarray, given: Mapping[str, Projection]
) -> tuple[dict[str, np.ndarray], nn.ModuleDict]:
    """Whitened vectors of the item texts and of every other modality.

    Parameters
    ----------
    config : recbole.config.Config
        For ``item_fusion``, ``item_text_size`` and ``item_vectors``.
    item_tokens : ndarray of str
        RecBole's item tokens by internal id.
    texts : ndarray
        Vectors of the item texts, ``[n_items, text width]``.
    has_text : ndarray of bool
        ``[n_items]``.
    given : mapping of str to Projection
        Whitening of a checkpoint, as ``whitening.<name>``; the others are fitted.

    Returns
    -------
    tuple
        Vectors ``[n_items, width]`` by name, and the :class:`Projection` of each.
    """
    vectors = {}
    if has_text.any() and config["item_fusion"] != "none":
        vectors["text"] = (texts, has_text)
    for name, file in (config["item_vectors"] or {}).items():
        if name == "text":
            raise ValueError("item_vectors: the name text is taken by item_text_fields; choose another.")
        vectors[name] = read_item_vectors(file, item_tokens)
    whitening, modalities = nn.ModuleDict(), {}
    for name, (values, present) in vectors.items():
        projection = given_or_fitted(
            given.get(f"whitening.{name}"), fit_whitening, values, present, config["item_text_size"]
        )
        whitening[name], modalities[name] = projection, projection.project(values, present)
    return modalities, whitening


class ExpertAdaptor(nn.Module):
    """A mixture of linear experts from one modality's space to the model's.

    Parameters
    ----------
    size : int
        Width of the modality's vectors.
    hidden_size : int
        Width of the model.
    n_experts : int
        Number of experts.
    dropout : float
        Of the modality's vectors.

    References
    ----------
    Hou et al., Towards Universal Sequence Representation Learning for
    Recommender Systems (UniSRec), KDD 2022, section 2.2.
    """

    def __init__(self, size: int, hidden_size: int, n_experts: int, dropout: float) -> None:
        super().__init__()
        self.experts = nn.Linear(size, n_experts * hidden_size, bias=False)
        self.gate = nn.Linear(size, n_experts)
        self.dropout = Dropout(dropout)
        self.n_experts = n_experts
        nn.init.normal_(self.experts.weight, std=0.02)
        nn.init.zeros_(self.gate.weight)

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """``[n_items, size]`` to ``[n_items, hidden_size]``."""
        vectors = self.dropout(vectors)
        share = torch.softmax(self.gate(vectors), dim=-1)  # [n_items, n_experts]
        mapped = self.experts(vectors).view(len(vectors), self.n_experts, -1)
        return torch.einsum("ne,ned->nd", share, mapped)


class ItemTable(nn.Module):
    """One vector an item, from its id and its modalities.

    Parameters
    ----------
    n_items : int
        With the padding item 0.
    hidden_size : int
        Width d.
    modalities : mapping of str to ndarray
        Whitened vectors, ``[n_items, width]`` each, zero where an item lacks one.
    fusion : {"none", "add", "multiply", "start"}
        How modalities join the id: not at all; ``id + m``; ``id * (1 + m)``; or
        the id vectors start from the first modality and are trained from there.
    n_experts : int
        Experts of each modality's adaptor.
    dropout : float
        Of the modalities' vectors.
    """

    def __init__(
        self,
        n_items: int,
        hidden_size: int,
        modalities: Mapping[str, np.ndarray],
        fusion: str,
        n_experts: int,
        dropout: float,
    ) -> None:
        super().__init__()
        if fusion not in FUSIONS:
            raise ValueError(f"item_fusion must be one of {', '.join(FUSIONS)}, not {fusion!r}.")
        self.fusion = fusion if modalities else "none"
        self.id = nn.Embedding(n_items, hidden_size, padding_idx=0)
        nn.init.normal_(self.id.weight, std=0.02)
        self.adaptors = nn.ModuleDict()
        if self.fusion == "start":
            start = torch.from_numpy(next(iter(modalities.values())))[:, :hidden_size]
            with torch.no_grad():
                self.id.weight[:, : start.shape[1]] += 0.02 * start
        elif self.fusion != "none":
            for name, vectors in modalities.items():
                self.register_buffer(f"{name}_vectors", torch.from_numpy(vectors))
                self.adaptors[name] = ExpertAdaptor(vectors.shape[1], hidden_size, n_experts, dropout)
        with torch.no_grad():
            self.id.weight[0] = 0

    def forward(self) -> torch.Tensor:
        """The whole table, ``[n_items, hidden_size]``."""
        table = self.id.weight
        for name, adaptor in self.adaptors.items():
            mapped = adaptor(getattr(self, f"{name}_vectors"))
            table = table + (mapped if self.fusion == "add" else self.id.weight * mapped)
        return table
