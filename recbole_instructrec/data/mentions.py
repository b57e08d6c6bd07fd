"""Items that a text names by their title."""

from __future__ import annotations

from collections.abc import Sequence

from recbole_instructrec.data.words import words_of

_ARTICLES = {"the", "a", "an", "la", "le", "les", "il", "el", "der", "die", "das"}

# "It", "The Other", "Anything Else" are words of the language: such titles count only beside their year.
_COMMON = _ARTICLES | set(
    """
    i me my you your he him his she her it its we us our they them their this that these those who what which
    where when why how all any anything anyone every everything everyone some something someone nothing no none
    one other others else another same first last next only and or but if so as at by for from in into of off on
    out over to up with without about after before is are was were be been do does did have has had can could
    will would should not more most much many very too here there now then good bad new old big little
    """.split()  # noqa: SIM905
)
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
    The longest title wins where several fit. A title that several items have, or
    that has less than two telling words (three characters of a script without
    spaces), counts only where the item's year follows it.
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
        return items[0] if len(items) == 1 and _tells(title) else 0


def _tells(title: tuple[str, ...]) -> bool:
    """Whether the words of a title alone say that the item is meant."""
    characters = sum(len(word) == 1 and ord(word) > 0x2E7F for word in title)
    words = sum(word not in _COMMON for word in title) - characters
    return words >= _FEWEST_WORDS or characters >= _FEWEST_CHARACTERS
