"""What can be recommended: ids, titles and attributes of the items."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from recbole_instructrec.data.words import ARTICLES
from recbole_instructrec.live.errors import NotFound
from recbole_instructrec.live.followups import bare_title
from recbole_instructrec.spelling import did_you_mean, nearest

_FEW_ENOUGH_TO_COMPARE = 20_000

# Of a title that is looked for, and of its words.
_LONGEST_NAMED, _BEGINNING = 60, 3

_TWO_NAMES = re.compile(r"([^()]+) \((?:a\.?k\.?a\.? )?([^()]+)\)")


class Catalogue:
    """Items as users know them.

    Parameters
    ----------
    dataset : InstructRecDataset
        For ids, titles and attributes.

    Attributes
    ----------
    tokens : list of str
        Item ids as in the atomic files, by internal id, ``[n_items]``.
    index : dict of str to int
        The way back.
    titles : list of str
        What to show, ``[n_items]``; the id where an item has no title.
    years : ndarray
        Of the items, ``[n_items]``; 0 where none is known.
    twin : ndarray or None
        For each item the first that is shown alike, which may be itself, ``[n_items]``: nobody could tell which of
        the two is meant. None where all differ.
    """

    def __init__(self, dataset: Any) -> None:
        self.tokens = [str(token) for token in dataset.field2id_token[dataset.iid_field]]
        self.index = {token: item for item, token in enumerate(self.tokens) if item}
        names = zip(dataset.item_names, self.tokens, strict=True)
        self.titles = [as_spoken(name) or token for name, token in names]
        self.attribute_names: list[str] = list(dataset.attributes.names)
        self._attributes = dataset.attributes.matrix.tocsr().sorted_indices()
        self.years: np.ndarray = dataset.attributes.years
        self.twin = self._first_alike()

    def _first_alike(self) -> np.ndarray | None:
        by_title: dict[str, list[int]] = {}
        for item, title in enumerate(self.titles[1:], 1):
            by_title.setdefault(title, []).append(item)
        if len(by_title) == len(self.index):
            return None
        own = np.arange(len(self.titles))
        twin = own.copy()
        for items in by_title.values():
            if len(items) > 1:
                first: dict[tuple[int, bytes], int] = {}
                for item in items:
                    twin[item] = first.setdefault((int(self.years[item]), self._columns_of(item).tobytes()), item)
        return twin if (twin != own).any() else None

    def _columns_of(self, item: int) -> np.ndarray:
        return self._attributes.indices[self._attributes.indptr[item] : self._attributes.indptr[item + 1]]

    @cached_property
    def dated(self) -> bool:
        """Whether the year of any item is known."""
        return bool(self.years.any())

    @cached_property
    def _alike(self) -> dict[int, list[int]]:
        """Items that are shown alike, by the first of them."""
        found: dict[int, list[int]] = {}
        if self.twin is not None:
            for item in np.flatnonzero(self.twin != np.arange(len(self.twin))).tolist():
                found.setdefault(int(self.twin[item]), []).append(item)
        return found

    def with_twins(self, items: Sequence[int]) -> list[int]:
        """Some items, and those that are shown alike."""
        if self.twin is None:
            return list(items)
        firsts = self.twin[list(items)].tolist() if len(items) else []
        return [*items, *firsts, *(other for first in firsts for other in self._alike.get(first, ()))]

    def item(self, token: object) -> int:
        """Internal id of an item.

        Raises
        ------
        NotFound
            When the catalogue has no such item.
        """
        found = self.index.get(str(token)) if isinstance(token, (str, int)) and not isinstance(token, bool) else None
        if found is None:
            few = len(self.index) <= _FEW_ENOUGH_TO_COMPARE and isinstance(token, str) and len(token) < 100
            hint = did_you_mean(str(token), self.index) if few else ""
            raise NotFound(f"item: the catalogue has no item {token!r:.80}{hint or '.'}")
        return found

    def titled(self, title: str) -> list[int]:
        """Items of a title, as :func:`~recbole_instructrec.live.followups.bare_title` leaves it."""
        return self._by_title.get(title, [])

    @cached_property
    def _by_title(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        parts: dict[str, list[int]] = {}  # of "The Big Blue (Le Grand bleu)"
        for item, title in enumerate(self.titles[1:], 1):
            found.setdefault(bare_title(title), []).append(item)
            if two := _TWO_NAMES.fullmatch(title):
                for part in {bare_title(name) for name in two.groups() if name[0].isalpha()}:
                    parts.setdefault(part, []).append(item)
        return {**parts, **found}

    def near_title(self, title: str, cutoff: float = 0.6) -> str:
        """The title that is most like one that no item has, of those with a word that begins alike; empty for none."""
        named = bare_title(title)[:_LONGEST_NAMED]
        if len(self.index) > _FEW_ENOUGH_TO_COMPARE or not named:
            return ""
        alike = {other for word in named.split() for other in self._by_beginning.get(word[:_BEGINNING], ())}
        close = nearest(named, sorted(alike), cutoff)
        return self.titles[self._by_title[close][0]] if close else ""

    @cached_property
    def _by_beginning(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for title in self._by_title:
            for word in title.split():
                found.setdefault(word[:_BEGINNING], []).append(title)
        return found

    def attributes_of(self, item: int) -> list[str]:
        """Names of an item's attributes."""
        return [self.attribute_names[column] for column in self._columns_of(item)]

    def __len__(self) -> int:
        return len(self.index)


def as_spoken(title: str) -> str:
    """From "Matrix, The" and "Big Blue, The (Grand bleu, Le)", as lists of titles are sorted, to what people say."""
    two = _TWO_NAMES.fullmatch(title)
    if two is None:
        return _article_first(title)
    first, second = two.span(1), two.span(2)
    return f"{_article_first(title[: first[1]])}{title[first[1] : second[0]]}{_article_first(two[2])})"


def _article_first(title: str) -> str:
    head, comma, article = title.rpartition(", ")
    return f"{article} {head}" if comma and article.lower() in ARTICLES else title
