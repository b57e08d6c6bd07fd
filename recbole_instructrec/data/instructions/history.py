"""Sentences about what the user did before."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix

from recbole_instructrec.data.history import History
from recbole_instructrec.data.instructions.bank import InstructionBank
from recbole_instructrec.data.instructions.source import FixedNumbers
from recbole_instructrec.data.instructions.wish import Wish
from recbole_instructrec.data.instructions.words import Templates
from recbole_instructrec.data.items import Attributes


class HistorySource:
    """Source ``history``: the two attributes that the user's last items had most often.

    Without attributes it names the last item by its text.

    Parameters
    ----------
    bank : InstructionBank
        Receives the texts.
    attributes : Attributes
        Of the items; may be empty.
    titles : list of str
        Item texts, for data without attributes.
    history : History
        All interactions.
    templates : Templates
        Words.
    seed : int
        Fixes the words used in evaluation.
    last : int
        How many of the user's last interactions are looked at.
    """

    def __init__(
        self,
        bank: InstructionBank,
        attributes: Attributes,
        titles: list[str],
        history: History,
        templates: Templates,
        seed: int,
        last: int,
    ) -> None:
        self._fixed = FixedNumbers(len(history), seed + 1)
        if attributes.n_main:
            first, second = favourites(attributes.matrix[:, : attributes.n_main], history, last)
            kinds, self._kind = np.unique(np.stack([first, second]), axis=1, return_inverse=True)
            self._kind = self._kind.reshape(-1)
            said = [
                ("history", [attributes.names[a], attributes.names[b]])
                if b >= 0
                else ("history_single", [attributes.names[a]])
                if a >= 0
                else None
                for a, b in kinds.T
            ]
        else:
            previous = np.where(history.user_start < np.arange(len(history)), np.r_[0, history.item[:-1]], 0)
            kinds, self._kind = np.unique(previous, return_inverse=True)
            said = [("history_title", [titles[item]]) if titles[item] else None for item in kinds]
        self._table = {}
        for part in ("train", "held_out"):
            texts = [[] if which is None else templates.texts(which[0], part, which[1]) for which in said]
            width = max(map(len, texts), default=0) or 1
            self._table[part] = np.array(
                [[bank.add(text, Wish()) for text in row] or [0] * width for row in texts], dtype=np.int64
            ).reshape(len(said), width)

    def numbers(self, positions: np.ndarray, rng: np.random.Generator | None, part: str = "held_out") -> np.ndarray:
        """As :meth:`Source.numbers`; validation has the words of training."""
        table = self._table["held_out" if rng is None and part == "held_out" else "train"]
        _, words = self._fixed.draw(positions, rng)
        return table[self._kind[positions], (words * table.shape[1]).astype(np.int64)]


def favourites(attributes: csr_matrix, history: History, last: int) -> tuple[np.ndarray, np.ndarray]:
    """The two most frequent attributes among the items *before* each position.

    Parameters
    ----------
    attributes : csr_matrix
        ``[n_items, n_attributes]``.
    history : History
        All interactions.
    last : int
        Number of the user's latest interactions that count.

    Returns
    -------
    tuple of ndarray
        First and second attribute, ``[n_interactions]``, -1 where there is none.
        Of equally frequent ones the commoner in the catalogue comes first.
    """
    n = len(history)
    first, second = np.full(n, -1), np.full(n, -1)
    per_chunk = 20_000
    for begin in range(0, n, per_chunk):
        rows = np.arange(begin, min(begin + per_chunk, n))
        low = np.maximum(history.user_start[rows], rows - last)
        count = rows - low
        indptr = np.r_[0, np.cumsum(count)]
        seen = np.repeat(low - indptr[:-1], count) + np.arange(indptr[-1])
        window = csr_matrix(
            (np.ones(len(seen), dtype=np.float32), history.item[seen], indptr), shape=(len(rows), attributes.shape[0])
        )
        counts = (window @ attributes).tocsr()
        row = np.repeat(np.arange(len(rows)), np.diff(counts.indptr))
        order = np.lexsort((counts.indices, -counts.data, row))
        row, column = row[order], counts.indices[order]
        rank = np.arange(len(row)) - counts.indptr[row]
        first[begin + row[rank == 0]] = column[rank == 0]
        second[begin + row[rank == 1]] = column[rank == 1]
    return first, second
