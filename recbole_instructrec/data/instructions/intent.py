"""Requests made from what the target is and is not."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.sparse import csr_matrix

from recbole_instructrec.data.history import History
from recbole_instructrec.data.instructions.bank import InstructionBank
from recbole_instructrec.data.instructions.source import FixedNumbers
from recbole_instructrec.data.instructions.wish import KINDS, Wish, wish_of
from recbole_instructrec.data.instructions.words import Templates
from recbole_instructrec.data.items import Attributes

# Training wordings of each kind, spread over the attributes; and pairs of attributes that are spoken of, the most
# frequent ones.
_TEXTS = {"intent": 400, "avoid": 300, "little": 120, "only": 120, "both": 600, "but_not": 400, "neither": 400}
_TEXTS["both_but_not"] = 600
_PAIRS = 300

#: A bit more of something: how often the target has it. Less often than always, or it would be a demand.
_LITTLE_IS_TRUE = 0.5

# Times that an attribute to avoid is drawn again when the target has it.
_TRIES = 4


class IntentSource:
    """Source ``intent``: requests that the target answers.

    Evaluation asks for one attribute of the target (of ``intent_field``), drawn among those it has. Training draws
    requests of every kind in :data:`~recbole_instructrec.data.instructions.wish.KINDS`: what is wanted is drawn among
    the target's attributes, what is avoided among those that it lacks, the more often the more frequent they are.

    Parameters
    ----------
    bank : InstructionBank
        Receives the texts.
    attributes : Attributes
        Of the items.
    history : History
        All interactions.
    templates : Templates
        Words.
    seed : int
        Fixes the words and the attributes of evaluation, and the training wordings that are made.
    kinds : mapping of str to float
        Shares of the kinds in training (``instruction_kinds``).
    """

    def __init__(
        self,
        bank: InstructionBank,
        attributes: Attributes,
        history: History,
        templates: Templates,
        seed: int,
        kinds: Mapping[str, float],
    ) -> None:
        self._matrix = attributes.matrix
        self._main = attributes.matrix[:, : attributes.n_main]
        self._has = attributes.matrix.toarray() > 0
        self._item = history.item
        self._fixed = FixedNumbers(len(history), seed)
        names = attributes.names[: attributes.n_main]

        def wordings(part: str, at_most: int | None = None) -> np.ndarray:
            texts = [templates.texts("intent", part, [name])[:at_most] for name in names]
            numbers = [[bank.add(text, Wish((code,))) for text in options] for code, options in enumerate(texts)]
            return np.array(numbers, dtype=np.int64)  # [n_main, n_templates]

        measured = wordings("held_out")
        self._wordings = {"held_out": measured, "dev": wordings("dev", measured.shape[1])}  # no longer first start
        self._kinds = [kind for kind, share in kinds.items() if share > 0]
        self._shares = np.cumsum([kinds[kind] for kind in self._kinds]) / sum(kinds[kind] for kind in self._kinds)
        counts = (
            np.asarray(attributes.matrix.sum(0)).ravel() + 1.0
        )  # of the catalogue: interactions hold the test targets
        self._frequency = np.cumsum(counts) / counts.sum()
        rng = np.random.default_rng([seed, 1])
        self._tables = {
            kind: _Table(kind, attributes, counts, templates, bank, rng)
            for kind in dict.fromkeys(["intent", "avoid", *self._kinds])  # rarer ones fall back to the first two
        }

    def numbers(self, positions: np.ndarray, rng: np.random.Generator | None, part: str = "held_out") -> np.ndarray:
        """As :meth:`Source.numbers`."""
        if rng is None:
            return self._one_attribute(positions, self._wordings[part])
        result = np.zeros(len(positions), dtype=np.int64)
        items = self._item[positions]
        which = np.searchsorted(self._shares, rng.random(len(positions)), side="right").clip(max=len(self._kinds) - 1)
        first, second = self._wanted(items, rng)
        avoided = self._avoided(items, rng)
        anything = np.searchsorted(self._frequency, rng.random(len(positions)), side="right").clip(
            max=len(self._has[0]) - 1
        )
        first_or_any = np.where(rng.random(len(positions)) < _LITTLE_IS_TRUE, first, anything)
        values = {
            "intent": (first,),
            "only": (first,),
            "little": (first_or_any,),
            "but_not": (first,),
            "both": (first, second),
            "both_but_not": (first, second),
            "avoid": (avoided[0],),
            "neither": (avoided[0], avoided[1]),
        }
        words = rng.random(len(positions))
        for code, kind in enumerate(self._kinds):
            rows = np.flatnonzero(which == code)
            text, avoid = self._tables[kind].draw([value[rows] for value in values[kind]], words[rows])
            # What is avoided besides a wish comes with the wording; the target may have it.
            fits = (avoid < 0) | ~self._has[items[rows], avoid]
            result[rows] = np.where(fits, text, 0)
            missed = rows[result[rows] == 0]
            simpler = "avoid" if KINDS[kind][0] == 0 else "intent"
            result[missed] = self._tables[simpler].draw([values[simpler][0][missed]], words[missed])[0]
        return result

    def _one_attribute(self, positions: np.ndarray, wordings: np.ndarray) -> np.ndarray:
        which, words = self._fixed.draw(positions, None)
        items = self._item[positions]
        begin, end = self._main.indptr[items], self._main.indptr[items + 1]
        has = end > begin
        result = np.zeros(len(positions), dtype=np.int64)
        if has.any():
            pick = begin[has] + (which[has] * (end - begin)[has]).astype(np.int64)
            template = (words[has] * wordings.shape[1]).astype(np.int64)
            result[has] = wordings[self._main.indices[pick], template]
        return result

    def _wanted(self, items: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Two different attributes of each target, -1 where it has none or no second."""
        begin = self._matrix.indptr[items]
        count = self._matrix.indptr[items + 1] - begin
        draw = rng.random((2, len(items)))
        nth = (draw[0] * count).astype(np.int64)
        other = (nth + 1 + (draw[1] * (count - 1).clip(min=0)).astype(np.int64)) % count.clip(min=1)
        indices = np.r_[self._matrix.indices, -1]  # a place to point at for items at the end that have none
        first = np.where(count > 0, indices[np.minimum(begin + nth, len(indices) - 1)], -1)
        second = np.where(count > 1, indices[np.minimum(begin + other, len(indices) - 1)], -1)
        return first, second

    def _avoided(self, items: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
        """Two different attributes that each target lacks, -1 where none was found."""
        found = np.full((2, len(items)), -1)
        draws = np.searchsorted(self._frequency, rng.random((2, _TRIES, len(items))), side="right")
        draws = draws.clip(max=self._has.shape[1] - 1)
        for which in range(2):
            for candidate in draws[which]:
                fits = (found[which] < 0) & ~self._has[items, candidate] & (candidate != found[1 - which])
                found[which] = np.where(fits, candidate, found[which])
        return list(found)


class _Table:
    """Training wordings of one kind, by the attributes that are wanted or, without any, by those that are avoided."""

    def __init__(
        self,
        kind: str,
        attributes: Attributes,
        counts: np.ndarray,
        templates: Templates,
        bank: InstructionBank,
        rng: np.random.Generator,
    ) -> None:
        want, avoid, _ = KINDS[kind]
        self._base = len(attributes) + 1
        keys = _combinations(want or avoid, attributes.matrix, counts, together=want == 2)
        wordings = max(1, min(16, _TEXTS[kind] // max(1, len(keys))))
        self._texts = np.zeros((len(keys), wordings), dtype=np.int64)
        self._avoid = np.full((len(keys), wordings), -1)
        for row, key in enumerate(keys):
            for column in range(wordings):
                values = key
                if want and avoid:
                    chance = np.where(np.isin(np.arange(len(counts)), key), 0.0, counts)
                    if not chance.any():
                        continue
                    other = int(rng.choice(len(counts), p=chance / chance.sum()))
                    values, self._avoid[row, column] = (*key, other), other
                text = templates.compose(kind, [attributes.names[value] for value in values], rng)
                self._texts[row, column] = bank.add(text, wish_of(kind, values))
        number = np.array([self._key(np.array(key)) for key in keys], dtype=np.int64)
        order = np.argsort(number)
        self._keys, self._texts, self._avoid = number[order], self._texts[order], self._avoid[order]

    def _key(self, values: np.ndarray) -> np.ndarray:
        """One number for the values along the first axis."""
        key = np.zeros(values.shape[1:], dtype=np.int64)
        for value in values:
            key = key * self._base + value + 1
        return key

    def draw(self, values: list[np.ndarray], words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A wording of each row's values, ``words`` in [0, 1) picks it.

        Returns the number of the text, 0 where there is none, and what it avoids besides the values, -1 for nothing.
        """
        if not len(self._keys) or not len(words):
            return np.zeros(len(words), dtype=np.int64), np.full(len(words), -1)
        key = self._key(np.stack(values))
        place = np.searchsorted(self._keys, key).clip(max=len(self._keys) - 1)
        column = (words * self._texts.shape[1]).astype(np.int64)
        there = self._keys[place] == key
        return np.where(there, self._texts[place, column], 0), np.where(there, self._avoid[place, column], -1)


def _combinations(size: int, matrix: csr_matrix, counts: np.ndarray, together: bool) -> list[tuple[int, ...]]:
    """Attributes that requests speak of: each one, or the most frequent pairs (that items have together)."""
    n = len(counts)
    if size == 1:
        return [(value,) for value in range(n)]
    weight = (matrix.T @ matrix).toarray() if together else np.sqrt(np.outer(counts, counts))
    np.fill_diagonal(weight, 0)
    order = np.argsort(-weight, axis=None, kind="stable")[:_PAIRS]
    first, second = np.unravel_index(order, weight.shape)
    return [(int(a), int(b)) for a, b in zip(first, second, strict=True) if weight[a, b] > 0]
