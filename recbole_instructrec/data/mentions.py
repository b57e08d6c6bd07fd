"""Items that a text names by their title."""

from __future__ import annotations

from collections.abc import Sequence

from recbole_instructrec.data.words import ARTICLES, COMMON, plain, words_of

_FEWEST_WORDS, _FEWEST_CHARACTERS = 2, 3


class ItemMentions:
    """Finds items in texts by their titles.

    Parameters
    ----------
    names : sequence of str
        Title of each item, empty for none, ``[n_items]``.
    texts : sequence of str
        Whole text of each item; a year in it tells apart items of one title.

    Notes
    -----
    Capitals, accents and apostrophes do not matter. The longest title wins where
    several fit. A title that several items have, or that has less than two
    telling words (three characters of a script without spaces), counts only
    where the item's year follows it.
    """

    def __init__(self, names: Sequence[str], texts: Sequence[str]) -> None:
        self._items: dict[tuple[str, ...], list[int]] = {}
        self._years: list[set[str]] = [set() for _ in names]
        self._tells = [_tells(words_of(name)) for name in names]  # "We're" tells, "were" does not
        for item, (name, text) in enumerate(zip(names, texts, strict=True)):
            title = words_of(plain(name))
            if title and title[-1] in ARTICLES:  # "Matrix, The"
                title = [title[-1], *title[:-1]]
            if title:
                self._items.setdefault(tuple(title), []).append(item)
                self._years[item] = {word for word in words_of(plain(text)) if len(word) == 4 and word.isdigit()}
        self._longest = max(map(len, self._items), default=0)

    def find(self, text: str) -> list[int]:
        """Items that a text names, in their order in the text, each once.

        Parameters
        ----------
        text : str
            Any text.

        Returns
        -------
        list of int
            Item ids.
        """
        words, found, place = words_of(plain(text)), [], 0
        while place < len(words):
            for length in range(min(self._longest, len(words) - place), 0, -1):
                following = words[place + length] if place + length < len(words) else ""
                item = self._chosen(tuple(words[place : place + length]), following)
                if item:
                    found.append(item)
                    place += length - 1
                    break
            place += 1
        return list(dict.fromkeys(found))

    def _chosen(self, title: tuple[str, ...], following: str) -> int:
        """The item of a title before a word, 0 for none."""
        items = self._items.get(title, [])
        of_the_year = [item for item in items if following in self._years[item]]
        if of_the_year:
            return of_the_year[0]
        return items[0] if len(items) == 1 and self._tells[items[0]] else 0


def _tells(title: list[str]) -> bool:
    """Whether the words of a title alone say that the item is meant."""
    characters = sum(len(word) == 1 and ord(word) > 0x2E7F for word in title)
    words = sum(word not in COMMON for word in title) - characters
    return words >= _FEWEST_WORDS or characters >= _FEWEST_CHARACTERS
