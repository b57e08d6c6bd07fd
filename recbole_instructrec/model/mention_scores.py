"""How near every item is to those that an instruction names."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.sparse import coo_matrix, csr_matrix
from torch import nn
from torch.nn import functional as F

# Weights near 5 decide: let them get there in a few epochs.
_SPEED = 5.0


class MentionScores(nn.Module):
    """Score of items that are like what an instruction names, and of what it names itself.

    Parameters
    ----------
    mentions : sequence of list of int
        Items that each instruction text names, by the text's number.
    told : tuple of ndarray
        Numbers of the texts, and the items, of the training targets that a text led to, ``[n_targets]`` each.
    vectors : ndarray
        Vectors of the item texts, ``[n_items, size]``; zero without text.

    Notes
    -----
    For an instruction that names the items M, item i has

        b log(1 + sum_{a in M} c_ai / sqrt(1 + c_a)) + d max_{a in M} cos(a, i) + e [i in M]

    with c_ai the number of training targets i after a text that named a, or the
    other way round, c_a their sum over i, the cosine of centred text vectors, and
    learned b, d and e. In training a text's own targets are not counted, or b
    would be learned from what it is to predict.

    References
    ----------
    Deshpande and Karypis, Item-Based Top-N Recommendation Algorithms, ACM
    Transactions on Information Systems 2004, for counts over roots.
    """

    vectors: torch.Tensor

    def __init__(self, mentions: Sequence[list[int]], told: tuple[np.ndarray, np.ndarray], vectors: np.ndarray) -> None:
        super().__init__()
        n_items = len(vectors)
        self.mentions = list(mentions)
        numbers, targets = told
        named = [self.mentions[number] for number in numbers]
        left = np.array([item for items in named for item in items], dtype=np.int64)
        right = np.repeat(targets, [len(items) for items in named]).astype(np.int64)
        ones = np.ones(len(left), dtype=np.float32)
        one_way = coo_matrix((ones, (left, right)), shape=(n_items, n_items)).tocsr()
        counts = (one_way + one_way.T).tocsr()
        root = 1.0 / np.sqrt(1.0 + np.asarray(counts.sum(1)).ravel())
        self._near: csr_matrix = counts.multiply(root[:, None]).tocsr().astype(np.float32)
        self._root = root.astype(np.float32)
        # What each text's own targets have added.
        self._own: dict[int, list[int]] = {}
        for number, target in zip(numbers.tolist(), targets.tolist(), strict=True):
            self._own.setdefault(number, []).append(target)
        centred = vectors - vectors[(vectors != 0).any(1)].mean(0, keepdims=True) * (vectors != 0).any(1)[:, None]
        self.register_buffer("vectors", F.normalize(torch.from_numpy(centred).float(), dim=-1), persistent=False)
        self.together = nn.Parameter(torch.tensor(1.0 / _SPEED))
        self.alike = nn.Parameter(torch.tensor(2.0 / _SPEED))
        self.named = nn.Parameter(torch.tensor(-2.0 / _SPEED))

    def forward(self, mentions: Sequence[list[int]], numbers: Sequence[int] | None = None) -> torch.Tensor:
        """Scores of all items for n instructions.

        Parameters
        ----------
        mentions : sequence of list of int
            Items that each one names.
        numbers : sequence of int, optional
            Their numbers, where they are texts of the data set: in training their own targets are left out.

        Returns
        -------
        Tensor
            ``[n, n_items]``; zero for an instruction that names nothing.
        """
        device, n_items = self.vectors.device, len(self.vectors)
        together = np.zeros((len(mentions), n_items), dtype=np.float32)
        alike = torch.zeros(len(mentions), n_items, device=device)
        named = torch.zeros(len(mentions), n_items, device=device)
        for row, items in enumerate(mentions):
            if not items:
                continue
            together[row] = np.asarray(self._near[items].sum(0)).ravel()
            if self.training and numbers is not None:
                own = self._own.get(numbers[row], [])
                np.subtract.at(together[row], own, float(self._root[items].sum()))
                twice = [target for target in own if target in items]  # both ways: counted once more
                np.subtract.at(together[row], twice, self._root[twice])
            alike[row] = (self.vectors[items] @ self.vectors.T).amax(0)
            named[row, items] = 1.0
        near = torch.from_numpy(np.log1p(together.clip(min=0.0))).to(device)
        return _SPEED * (self.together * near + self.alike * alike + self.named * named)
