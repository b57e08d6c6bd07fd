"""What a service says of its own, in the language that it is spoken to in."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from recbole_instructrec.data.instructions.words import names_in
from recbole_instructrec.data.words import words_of

_FOLDER = Path(__file__).parent
DEFAULT = "en"


@lru_cache(maxsize=1)
def languages() -> list[str]:
    """Languages that there are phrases in."""
    return sorted(file.stem for file in _FOLDER.glob("*.yaml"))


def language_of(text: str) -> str | None:
    """Language of a text, of those that there are phrases in.

    Parameters
    ----------
    text : str
        What somebody said.

    Returns
    -------
    str or None
        That of most words; None where there is nothing to tell it by. Languages without phrases count as English.
    """
    words = words_of(text)
    if not any(word[0].isalpha() for word in words):
        return None
    own = {language: phrases(language).written_in(words) for language in languages()}
    return max(own, key=lambda language: (own[language], language == DEFAULT))


class Phrases:
    """Phrases of one language.

    Parameters
    ----------
    language : str
        One of :func:`languages`.
    """

    def __init__(self, language: str) -> None:
        content: dict[str, Any] = yaml.safe_load((_FOLDER / f"{language}.yaml").read_text(encoding="utf-8"))
        self._names, self._reasons, self._notes = content["names"], content["reasons"], content["notes"]
        self._chat: dict[str, str] = content["chat"]
        self._values = names_in(language)
        self._letters = re.compile(content["letters"])
        self._never_beside = re.compile(content.get("never_beside", r"(?!)"))

    def written_in(self, words: Sequence[str]) -> int:
        """How many of the words of a text may be of this language, by their letters."""
        if any(map(self._never_beside.search, words)):
            return 0
        return sum(self._letters.fullmatch(word) is not None for word in words)

    def attribute(self, name: str) -> str:
        """An attribute as it is called; one that has no name in this language stays as it is."""
        return self._values.get(name.lower(), name)

    def note(self, kind: str, **values: Any) -> str:
        """A note."""
        return str(self._notes[kind]).format(**values)

    def chat(self, kind: str, **values: Any) -> str:
        """What is said in a terminal."""
        return self._chat[kind].format(**values)

    def notes(self, *notes: str) -> str:
        """Several notes, of which some may be empty, as one."""
        return str(self._notes["between"]).join(note for note in notes if note)

    def because(
        self,
        fits: Sequence[tuple[str, str]],
        clear: Sequence[str],
        near: Sequence[str],
        history: Sequence[str],
        said: bool,
        known: bool,
    ) -> str:
        """One plain sentence why an item is in a list.

        Parameters
        ----------
        fits : sequence of tuple of str
            Attributes that were asked for, each with the word that it was heard in; that may be empty, and is not
            named where it is the attribute's own name.
        clear : sequence of str
            Attributes that were to be avoided.
        near : sequence of str
            Titles of items that more of was asked for.
        history : sequence of str
            Titles of earlier items that the item owes its place to.
        said, known : bool
            Whether anything was said, and whether anything is known of what the user took before.
        """
        say, names = self._reasons, self._names

        def quoted(titles: Sequence[str]) -> str:
            return str(names["and"].join(names["quoted"].format(name=title) for title in titles))

        parts = []
        if fits:
            heard = [
                say["heard"].format(name=self.attribute(name), word=word)
                if word and word.lower() != self.attribute(name).lower()
                else self.attribute(name)
                for name, word in fits
            ]
            parts.append(say["asked"].format(fits=names["and"].join(heard)))
        if clear:
            parts.append(say["clear"].format(names=names["or"].join(map(self.attribute, clear))))
        if near:
            parts.append(say["near"].format(titles=quoted(near)))
        if history:
            parts.append(say["history"].format(titles=quoted(history)))
        sentence = str(say["between"].join(parts or [say["whole"][(2 if said else 0) + known]]))
        return sentence[0].upper() + sentence[1:] + str(say["end"])


@lru_cache(maxsize=8)
def phrases(language: str) -> Phrases:
    """Phrases of a language."""
    return Phrases(language)
