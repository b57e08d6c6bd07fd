"""Which items of two catalogues are the same, told by their texts (record linkage)."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from typing import Any, NamedTuple

import numpy as np
import torch

from recbole_instructrec.data.words import plain_words

_YEAR = re.compile(r"\b(?:18|19|20)\d\d\b")
_YEAR_AFTER_NAME = re.compile(r"\s\(((?:18|19|20)\d\d)\)\s*$")

#: The same film is dated a year apart where one catalogue counts its festival and the other its release.
_YEARS_APART = 1


class ItemTexts(NamedTuple):
    """Texts of a catalogue, in the order of its items.

    Attributes
    ----------
    names : list of str
        The first text field, such as the title, ``[n_items]``; empty for none.
    others : list of str
        The other text fields, ``[n_items]``.
    """

    names: list[str]
    others: list[str]

    @staticmethod
    def of(dataset: Any) -> ItemTexts:
        """Those of an :class:`InstructRecDataset`."""
        names = list(dataset.item_names)
        others = [
            text.removeprefix(name).removeprefix(". ") for name, text in zip(names, dataset.item_texts, strict=True)
        ]
        return ItemTexts(names, others)

    def pack(self) -> torch.Tensor:
        """As a checkpoint holds them: JSON in UTF-8, uint8 ``[n_bytes]``."""
        return torch.from_numpy(np.frombuffer(json.dumps(self).encode(), dtype=np.uint8).copy())

    @staticmethod
    def unpack(packed: torch.Tensor) -> ItemTexts:
        """Counterpart of :meth:`pack`.

        Raises
        ------
        ValueError
            When the tensor holds something else.
        """
        lists = json.loads(bytes(packed.numpy().astype(np.uint8)))
        fits = isinstance(lists, list) and len(lists) == 2 and all(isinstance(texts, list) for texts in lists)
        if not fits or len(lists[0]) != len(lists[1]) or not all(isinstance(text, str) for text in lists[0] + lists[1]):
            raise ValueError("these are no item texts")
        return ItemTexts(*lists)


class _Item(NamedTuple):
    key: tuple[str, ...]
    words: frozenset[str]
    years: frozenset[int]


def _described(name: str, others: str) -> _Item:
    """A year in brackets after the name is no part of it; years of the other texts count where there is none."""
    stated = _YEAR_AFTER_NAME.findall(name)
    key = plain_words(_YEAR_AFTER_NAME.sub("", name))
    years = map(int, stated or _YEAR.findall(others))
    return _Item(tuple(sorted(key)), frozenset([*plain_words(others), *stated]), frozenset(years))


def _may_be_same(one: _Item, other: _Item) -> bool:
    if not one.years or not other.years:
        return True
    return min(abs(a - b) for a in one.years for b in other.years) <= _YEARS_APART


def match_items(source: ItemTexts, target: ItemTexts) -> np.ndarray:
    """Find the items of one catalogue in another, one to one.

    Two items may be the same when their names have the same words, in any order
    and without regard to case, accents and punctuation, and when their years
    are at most one apart, if both have one. Of several such pairs those whose
    other texts share the most words go first, then those that differ in the fewest.

    Parameters
    ----------
    source, target : ItemTexts
        Of ``n_source`` and ``n_target`` items.

    Returns
    -------
    ndarray of int
        For each item of ``target`` its number in ``source``, -1 for none, ``[n_target]``.
    """
    found = np.full(len(target.names), -1, dtype=np.int64)
    by_key = _by_key(source)
    for key, wanted in _by_key(target).items():
        pairs = [
            (-len(mine.words & theirs.words), len(mine.words ^ theirs.words), old, new)
            for new, mine in wanted
            for old, theirs in by_key.get(key, ())
            if _may_be_same(mine, theirs)
        ]
        used: set[int] = set()
        for _, _, old, new in sorted(pairs):
            if old not in used and found[new] < 0:
                used.add(old)
                found[new] = old
    return found


def _by_key(texts: ItemTexts) -> dict[tuple[str, ...], list[tuple[int, _Item]]]:
    """Items with their numbers by the words of their names; a name without words is no key."""
    found: dict[tuple[str, ...], list[tuple[int, _Item]]] = defaultdict(list)
    for number, (name, others) in enumerate(zip(*texts, strict=True)):
        item = _described(name, others)
        if item.key:
            found[item.key].append((number, item))
    return found
