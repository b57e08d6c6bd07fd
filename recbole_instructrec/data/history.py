"""The interactions of all users, one after the other: every row is a pair of positions in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch


@dataclass
class History:
    """Interactions sorted by user and time.

    Attributes
    ----------
    columns : dict of str to Tensor
        Every interaction field but the user's, each ``[n_interactions, ...]``.
    user : Tensor
        Internal user ids, ``[n_interactions]``.
    user_start : ndarray
        Position of the same user's first interaction, ``[n_interactions]``.
    item : ndarray
        Internal item ids, ``[n_interactions]``.
    time : ndarray or None
        Timestamps as they stand in the file (int64), before RecBole normalises them.
    """

    columns: dict[str, torch.Tensor]
    user: torch.Tensor
    user_start: np.ndarray
    item: np.ndarray
    time: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.item)

    @staticmethod
    def starts(user: np.ndarray) -> np.ndarray:
        """Position of each interaction's user's first interaction, for users in one block each.

        Parameters
        ----------
        user : ndarray
            ``[n_interactions]``, equal ids adjacent.

        Returns
        -------
        ndarray
            int64, ``[n_interactions]``.
        """
        first = np.r_[True, user[1:] != user[:-1]] if len(user) else np.zeros(0, dtype=bool)
        return np.maximum.accumulate(np.where(first, np.arange(len(user)), 0))

    def gather(self, field: str, start: torch.Tensor, length: torch.Tensor, width: int) -> torch.Tensor:
        """Slices of one column, left aligned and padded with zeros.

        Parameters
        ----------
        field : str
            Column name.
        start, length : Tensor
            First position and number of positions of each row, ``[batch_size]``.
        width : int
            Width of the result.

        Returns
        -------
        Tensor
            ``[batch_size, width, ...]``.
        """
        column = self.columns[field]
        offset = torch.arange(width)
        inside = offset < length[:, None]  # [batch_size, width]
        position = torch.where(inside, start[:, None] + offset, torch.zeros_like(offset))
        values = column.index_select(0, position.flatten()).view(*position.shape, *column.shape[1:])
        return values.masked_fill_(~inside.view(*inside.shape, *[1] * (values.dim() - 2)), 0)
