"""How near the wordings that steering is measured with come to those that training has."""

from __future__ import annotations

import re

from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from recbole_instructrec.data.instructions.words import Templates, plain_form

# Words that are about any film, and those of politeness; how many letters of a word tell it from others, whatever its
# ending.
_OF_ANY_FILM = {"film", "films", "movie", "movies", "story", "stories", "watch", "tonight", "good", "great"}
_FILLERS = {*_OF_ANY_FILM, "please", "stuff", "thing", "things", "one", "ones", "thanks", "pls"}
_STEM = 5

# Two texts are near that have so many content words in common, and this share of those of the shorter one; two
# wordings with places for values that have this share of all their words in common.
_COMMON, _OF_THE_SHORTER, _OF_ALL = 3, 0.4, 0.6

# Patterns of the grammar have names of lists in them, such as <want>.
_LIST = re.compile(r"<\w+>")


def content_words(text: str) -> set[str]:
    """Beginnings (five letters) of the words of a text that say what it is about."""
    words = re.findall(r"[a-z]{3,}", text.lower())
    return {word[:_STEM] for word in words if word not in ENGLISH_STOP_WORDS and word not in _OF_ANY_FILM}


def _words(template: str) -> frozenset[str]:
    return frozenset(plain_form(template).split()) - _FILLERS


class NearTraining:
    """Tells wordings that come near one of training.

    Parameters
    ----------
    templates : Templates
        Words of training, English.
    """

    def __init__(self, templates: Templates) -> None:
        self._templates = templates
        self._unnamed: dict[str, list[set[str]]] = {}  # content words of what training says of an attribute
        self._sentences = {_words(text) for text in templates.sentences() if not _LIST.search(text)}

    def unnamed(self, text: str, attribute: str) -> bool:
        """Whether a request without the attribute's name has content words in common with one of training.

        Parameters
        ----------
        text : str
            The request.
        attribute : str
            What it wants.

        Returns
        -------
        bool
            Three content words or more that are also in one phrase or request that training has for that attribute,
            wanted or avoided, and at least 40 % of those of the shorter of the two.
        """
        if attribute not in self._unnamed:
            self._unnamed[attribute] = [*map(content_words, self._templates.phrases(attribute, ("want", "avoid")))]
        own = content_words(text)
        for other in self._unnamed[attribute]:
            common = len(own & other)
            if common >= _COMMON and common >= _OF_THE_SHORTER * min(len(own), len(other)):
                return True
        return False

    def template(self, text: str) -> bool:
        """Whether a wording with places for values is near a sentence of training.

        Parameters
        ----------
        text : str
            With ``{a}``, ``{b}`` and ``{c}``.

        Returns
        -------
        bool
            Words for films, politeness and values aside, 60 % of all words of the two are in both; the sentences that
            the grammar puts together from lists of words are not compared.
        """
        own = _words(text)
        return any(len(own & other) >= _OF_ALL * max(1, len(own | other)) for other in self._sentences)
