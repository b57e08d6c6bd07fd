"""Items that a text names by their title."""

from __future__ import annotations

from collections.abc import Sequence

from recbole_instructrec.data.words import words_of

_ARTICLES = {"the", "a", "an", "la", "le", "les", "il", "el", "der", "die", "das"}

# Titles of one word are words of the language ("It", "Her"): they count only beside their year.
_FEWEST_WORDS = 2


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
    The longest title wins where several fit. A title of one word, or one that
    several items have, counts only where the item's year follows it.
    """

    def __init__(self, names: Sequence[str], texts: Sequence[str]) -> None:
        self._items: dict[tuple[str, ...], list[int]] = {}
        self._years: list[set[str]] = [set() for _ in names]
        for item, (name, text) in enumerate(zip(names, texts, strict=True)):
            title = words_of(name)
            if title and title[-1] in _ARTICLES:  # "Matrix, The"
                title = [title[-1], *title[:-1]]
            if title:
                self._items.setdefault(tuple(title), []).append(item)
                self._years[item] = {word for word in words_of(text) if len(word) == 4 and word.isdigit()}
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
        words, found, place = words_of(text), [], 0
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
        return items[0] if len(items) == 1 and len(title) >= _FEWEST_WORDS else 0
