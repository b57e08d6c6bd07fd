"""Rank of each test target, as RecBole's metrics see it."""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_matrix

from recbole_instructrec.steering.measures import ndcg


class Ranks:
    """Gathers the ranks of an evaluation, in the order of its rows.

    Attributes
    ----------
    rank, user, target : list of ndarray
        Of each batch: rank from 1, user id and item id, ``[n]``.
    """

    def __init__(self) -> None:
        self.rank: list[np.ndarray] = []
        self.user: list[np.ndarray] = []
        self.target: list[np.ndarray] = []

    def add(self, scores: torch.Tensor, user: torch.Tensor, row: torch.Tensor, target: torch.Tensor, k: int) -> None:
        """Add a batch.

        Up to k the rank is the place in the same ``torch.topk`` that RecBole's metrics are made from, so that equal
        scores fall as they do there; beyond, it is one more than the number of items with a higher score.

        Parameters
        ----------
        scores : Tensor
            Of all items, ``[n_rows, n_items]``.
        user : Tensor
            Of each row, ``[n_rows]``.
        row, target : Tensor
            Row and item of each target, ``[n]``.
        k : int
            Length of RecBole's longest list.
        """
        top = torch.topk(scores, k, dim=-1).indices[row]
        inside = top == target.unsqueeze(1)
        above = (scores[row] > scores[row, target].unsqueeze(1)).sum(1)
        place = torch.where(inside.any(1), inside.int().argmax(1), above.clamp(min=k)) + 1
        self.rank.append(place.cpu().numpy())
        self.user.append(user[row].cpu().numpy())
        self.target.append(target.cpu().numpy())

    def sorted(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Ranks, users and targets ordered by user, rows of one user in their own order, ``[n]`` each."""
        rank, user, target = (np.concatenate(parts) for parts in (self.rank, self.user, self.target))
        order = np.argsort(user, kind="stable")
        return rank[order], user[order], target[order]


class Gathered(NamedTuple):
    """Ranks of an evaluation.

    Attributes
    ----------
    ranks : Ranks
        As RecBole evaluates.
    unseen : Ranks
        With everything that a user took before the target left out of the list; empty where that is not asked for.
    """

    ranks: Ranks
    unseen: Ranks


@contextmanager
def ranks_of(trainer: Any, taken: csr_matrix | None = None) -> Iterator[Gathered]:
    """Gather the ranks of what a RecBole trainer evaluates meanwhile.

    Parameters
    ----------
    trainer : recbole.trainer.Trainer
        Any.
    taken : csr_matrix of int, optional
        How often each user took each item, the target included, ``[n_users, n_items]``.

    Yields
    ------
    Gathered
    """
    found, collector = Gathered(Ranks(), Ranks()), trainer.eval_collector
    inner = collector.eval_batch_collect

    def collect(scores: torch.Tensor, interaction: Any, row: torch.Tensor, target: torch.Tensor) -> None:
        inner(scores, interaction, row, target)
        row, target = torch.as_tensor(row).to(scores.device), torch.as_tensor(target).to(scores.device)
        user = interaction[trainer.config["USER_ID_FIELD"]].to(scores.device)
        k = max(collector.topk)
        found.ranks.add(scores, user, row, target, k)
        if taken is not None:
            before = torch.from_numpy(taken[user.cpu().numpy()].toarray()).to(scores.device)
            before[row, target] -= 1
            found.unseen.add(scores.masked_fill(before > 0, -torch.inf), user, row, target, k)

    collector.eval_batch_collect = collect
    try:
        yield found
    finally:
        del collector.eval_batch_collect


def asked(users: Sequence[str], targets: Sequence[str]) -> str:
    """Hash of who was asked for what: two models are compared by user only where it is the same.

    Parameters
    ----------
    users, targets : sequence of str
        Original ids in the order of the ranks.

    Returns
    -------
    str
        Sixteen digits.
    """
    text = "\n".join(f"{user}\t{target}" for user, target in zip(users, targets, strict=True))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def packed(rank: np.ndarray) -> str:
    """Ranks as text: int32, little endian, compressed, base64."""
    return base64.b64encode(zlib.compress(rank.astype("<i4").tobytes(), 9)).decode("ascii")


def unpacked(text: str) -> np.ndarray:
    """Counterpart of :func:`packed`.

    Raises
    ------
    ValueError
        When the text is damaged.
    """
    try:
        return np.frombuffer(zlib.decompress(base64.b64decode(text, validate=True)), "<i4").astype(np.int64)
    except (zlib.error, ValueError) as error:
        raise ValueError(f"the ranks are damaged ({error})") from None


#: Metrics that follow from the rank of one target.
KNOWN = {"hit", "map", "mrr", "ndcg", "precision", "recall"}


def per_user(rank: np.ndarray, metric: str) -> np.ndarray:
    """A metric of lists with one target each.

    Parameters
    ----------
    rank : ndarray of int
        From 1, ``[n]``.
    metric : str
        Of :data:`KNOWN`, such as ``ndcg@10``.

    Returns
    -------
    ndarray
        ``[n]``.

    Raises
    ------
    ValueError
        For another metric.
    """
    name, _, k = metric.lower().partition("@")
    inside = rank <= int(k)
    if name in ("recall", "hit"):
        return inside.astype(float)
    if name == "ndcg":
        return ndcg(rank, int(k))
    if name in ("mrr", "map"):
        return np.where(inside, 1.0 / rank, 0.0)
    if name == "precision":
        return inside / int(k)
    raise ValueError(f"{metric} cannot be computed from the rank of one target; {', '.join(sorted(KNOWN))} can.")
