"""Requests made from what the target is."""

from __future__ import annotations

import numpy as np

from recbole_instructrec.data.history import History
from recbole_instructrec.data.instructions.bank import InstructionBank
from recbole_instructrec.data.instructions.source import Fixed
from recbole_instructrec.data.instructions.words import Templates
from recbole_instructrec.data.items import Attributes


class IntentSource:
    """Source ``intent``: asks for one attribute of the target, drawn among those it has."""

    def __init__(
        self, bank: InstructionBank, attributes: Attributes, history: History, templates: Templates, seed: int
    ) -> None:
        self._matrix = attributes.matrix
        self._item = history.item
        self._fixed = Fixed(len(history), seed)
        self._table = {
            part: np.array(
                [
                    [bank.add(text, (code,)) for text in templates.texts("intent", part, [name])]
                    for code, name in enumerate(attributes.names)
                ],
                dtype=np.int64,
            )
            for part in ("train", "held_out")
        }  # [n_attributes, n_templates]

    def numbers(self, positions: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        """As :meth:`Source.numbers`."""
        table = self._table["held_out" if rng is None else "train"]
        which, words = self._fixed.draw(positions, rng)
        items = self._item[positions]
        begin, end = self._matrix.indptr[items], self._matrix.indptr[items + 1]
        has = end > begin
        result = np.zeros(len(positions), dtype=np.int64)
        if has.any():
            pick = begin[has] + (which[has] * (end - begin)[has]).astype(np.int64)
            template = (words[has] * table.shape[1]).astype(np.int64)
            result[has] = table[self._matrix.indices[pick], template]
        return result
