"""What is compared: the model, and what a practitioner would otherwise do."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from scipy.stats import rankdata

from recbole_instructrec.model.losses import all_scores
from recbole_instructrec.steering.requests import Requests

# Cormack et al., Reciprocal Rank Fusion outperforms Condorcet and Individual Rank Learning Methods, SIGIR 2009.
_RRF_K = 60

_ROWS_AT_A_TIME = 512


class Ranker(Protocol):
    """Scores the catalogue for requests."""

    def __call__(self, requests: Requests) -> np.ndarray:
        """Scores, ``[n_requests, n_items]``; minus infinity for what must not appear."""


class Instructed:
    """The model, told what the user says.

    Parameters
    ----------
    model : InstructRec
        Trained.
    dataset : InstructRecDataset
        Test part.
    """

    def __init__(self, model: Any, dataset: Any) -> None:
        self._model, self._dataset = model.eval(), dataset

    @torch.no_grad()
    def __call__(self, requests: Requests) -> np.ndarray:
        """As :meth:`Ranker.__call__`; an empty text is the un-instructed model."""
        parts = []
        for begin in range(0, len(requests), _ROWS_AT_A_TIME):
            rows = requests.rows[begin : begin + _ROWS_AT_A_TIME]
            batch = self._dataset[rows].to(self._model.device)
            said = self._model.hear(requests.texts[begin : begin + _ROWS_AT_A_TIME])
            parts.append(all_scores(self._model.request(batch, said)).float().cpu().numpy())
        scores = np.concatenate(parts) if parts else np.zeros((0, self._model.n_items), dtype=np.float32)
        scores[:, 0] = -np.inf  # padding
        return scores


class Fixed:
    """Scores that are known for every test row, whatever is said: the un-instructed model."""

    def __init__(self, scores: np.ndarray) -> None:
        self._scores = scores

    def __call__(self, requests: Requests) -> np.ndarray:
        """As :meth:`Ranker.__call__`."""
        return self._scores[requests.rows]


class HardFilter:
    """Another ranker's list without the items that do not fit, by a parser that makes no mistake (an oracle)."""

    def __init__(self, ranker: Ranker, has: np.ndarray) -> None:
        self._ranker, self._has = ranker, has

    def __call__(self, requests: Requests) -> np.ndarray:
        """As :meth:`Ranker.__call__`."""
        scores = self._ranker(requests).copy()
        for row, wish in enumerate(requests.wishes):
            fits = self._has[:, list(wish.want)].all(1) & ~self._has[:, list(wish.avoid)].any(1)
            scores[row, ~fits] = -np.inf
        return scores


class PerfectReader:
    """What the best reader of a one-attribute request can do with another ranker's scores (an oracle).

    Who names one attribute of an item, each with equal chance, names a for item i
    with probability ``1 / |attributes of i|``; so the logarithm of that is added.
    """

    def __init__(self, ranker: Ranker, has: np.ndarray, n_main: int) -> None:
        count = np.maximum(has[:, :n_main].sum(1, keepdims=True), 1)
        with np.errstate(divide="ignore"):
            self._answer = np.log(has / count)  # [n_items, n_attributes]
        self._ranker = ranker

    def __call__(self, requests: Requests) -> np.ndarray:
        """As :meth:`Ranker.__call__`."""
        wanted = [wish.want[0] for wish in requests.wishes]
        return self._ranker(requests) + self._answer[:, wanted].T


class Bm25:
    """Words of the request against words of the item texts.

    References
    ----------
    Robertson and Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond, 2009; the library is bm25s.
    """

    def __init__(self, item_texts: list[str]) -> None:
        try:
            import bm25s
        except ImportError as error:
            raise ImportError(
                "instructrec steer needs the package bm25s: pip install -c constraints.txt -e '.[offline,steer]'"
            ) from error
        self._library = bm25s
        self._index = bm25s.BM25()
        words = bm25s.tokenize(item_texts, stopwords="en", show_progress=False)
        self._n_items, self._has_words = len(item_texts), bool(words.vocab)
        if self._has_words:  # the library indexes no empty vocabulary
            self._index.index(words, show_progress=False)

    def __call__(self, requests: Requests) -> np.ndarray:
        """As :meth:`Ranker.__call__`."""
        distinct = {text: place for place, text in enumerate(dict.fromkeys(requests.texts))}
        words = self._library.tokenize(list(distinct), stopwords="en", return_ids=False, show_progress=False)
        scores = np.zeros((len(distinct), self._n_items), dtype=np.float32)
        for place, query in enumerate(words):
            if query and self._has_words:
                scores[place] = self._index.get_scores(query)
        result = scores[np.array([distinct[text] for text in requests.texts], dtype=int)]
        result[:, 0] = -np.inf
        return result


class Dense:
    """Cosine of request and item text under the model's own text encoder."""

    def __init__(self, encoder: Any, item_texts: list[str]) -> None:
        self._encoder = encoder
        self._items = encoder(item_texts)
        self._items[[not text for text in item_texts]] = 0.0

    def __call__(self, requests: Requests) -> np.ndarray:
        """As :meth:`Ranker.__call__`."""
        scores = self._encoder(requests.texts) @ self._items.T
        scores[:, 0] = -np.inf
        return scores


class Fused:
    """Reciprocal rank fusion of rankers: ``sum 1 / (60 + rank)``; items with equal scores share their mean rank."""

    def __init__(self, *rankers: Ranker) -> None:
        self._rankers = rankers

    def __call__(self, requests: Requests) -> np.ndarray:
        """As :meth:`Ranker.__call__`."""
        total: np.ndarray | float = 0.0
        for ranker in self._rankers:
            total = total + 1.0 / (_RRF_K + rankdata(-ranker(requests), axis=1))
        result = np.asarray(total)
        result[:, 0] = -np.inf
        return result
