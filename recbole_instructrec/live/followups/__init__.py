"""What a text says about the list before it: "more like the second one"."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from recbole_instructrec.data.words import ARTICLES, DENSE, plain

_FOLDER = Path(__file__).parent

#: Kinds that speak of an item, and those that speak of the whole list.
OF_AN_ITEM = ("more_like", "less_like", "like", "dislike", "seen", "why")
RESET = "reset"
OF_THE_LIST = ("more", RESET, "unseen")

#: Of the whole list, too, but only where there is one: "older films" may be what somebody begins with.
OF_A_LIST_THERE_IS = ("older", "newer")

#: Of those that speak of an item, the ones that may name any of the catalogue by its title.
OF_ANY_ITEM = ("more_like", "less_like")

# Whoever says more than this says something new; the time that the patterns take grows with the square of the length.
_LONGEST = 500

_APOSTROPHES = re.compile(r"['’‘`´]")
_PUNCTUATION = re.compile(r"[^\w\s#'-]+")


@dataclass(frozen=True)
class FollowUp:
    """What is said about a list.

    Attributes
    ----------
    kind : str
        One of :data:`OF_AN_ITEM`, :data:`OF_THE_LIST`, :data:`OF_A_LIST_THERE_IS`, or ``goes_on``.
    item : int or None
        Internal id of the item that is spoken of.
    missing : str
        How an item was named that is not in the list; empty else.
    text : str
        For ``goes_on``: what was asked before and now, as one text.
    alone : str
        For ``goes_on``: what is said now, without what ties it to the text before.
    language : str
        That it was said in.
    """

    kind: str
    item: int | None = None
    missing: str = ""
    text: str = ""
    alone: str = ""
    language: str = field(default="", compare=False)


@lru_cache(maxsize=1)
def languages() -> list[str]:
    """Languages that follow-ups are known in."""
    return sorted(file.stem for file in _FOLDER.glob("*.yaml"))


def follow_up(text: str, before: str, shown: Sequence[int], titled: Callable[[str], Sequence[int]]) -> FollowUp | None:
    """Read a text as a follow-up, in any language there are patterns for.

    Parameters
    ----------
    text : str
        What the user says.
    before : str
        What the list before was asked for with; empty where there was nothing.
    shown : sequence of int
        The list before, the best first.
    titled : callable
        Items of a title, as :func:`bare_title` leaves it.

    Returns
    -------
    FollowUp or None
        None for a request of its own.
    """
    said = _bare(text[:_LONGEST])
    if not said:
        return None
    for language in languages() if len(text) <= _LONGEST else ():
        patterns = _patterns(language)
        short = patterns.without_politeness(said)
        for kind, expression in patterns.kinds:
            match = expression.fullmatch(short)
            if match is None:
                continue
            if kind in OF_A_LIST_THERE_IS and not shown:
                continue
            if kind in (*OF_THE_LIST, *OF_A_LIST_THERE_IS):
                return FollowUp(kind, language=language)
            item, missing = _item(match["place"], patterns, shown, titled)
            # "more like a western" speaks of no item.
            if item is not None and item not in shown and kind not in OF_ANY_ITEM:
                item = None  # "I love kids" is no word on a film that nobody has spoken of
            if item is not None or missing:
                return FollowUp(kind, item, missing, language=language)
    if before:
        for language in languages():
            patterns = _patterns(language)
            if patterns.goes_on.match(patterns.without_politeness(said)):
                alone = patterns.ties.sub("", text) or text
                if _bare(before).endswith(said):  # said twice
                    return FollowUp("goes_on", text=before, alone=alone, language=language)
                joined = f"{open_ended(before)}{patterns.between}{text}"
                return FollowUp("goes_on", text=joined, alone=alone, language=language)
    return None


def open_ended(text: str) -> str:
    """A text without what ends a sentence, so that it can go on."""
    return text.rstrip(" .!?。！？")


def _item(
    named: str, patterns: _Patterns, shown: Sequence[int], titled: Callable[[str], Sequence[int]]
) -> tuple[int | None, str]:
    """The item that is meant, or how a place was named that the list does not have."""
    place = patterns.place(named)
    items = titled(bare_title(named))
    in_list = [item for item in shown if item in items]
    if place is not None and not in_list:  # "Seven" is a film of some lists
        if shown and (place == -1 or 0 < place <= len(shown)):
            return shown[place if place < 0 else place - 1], ""
        if len(items) != 1:  # and of some catalogues
            return None, named
    # A title that several items have means one of the list, or nothing.
    return (in_list[0] if in_list else items[0] if len(items) == 1 else None), ""


def bare_title(title: str) -> str:
    """A title in lower case, without punctuation and without its article, wherever that stands."""
    words = _bare(title).split()
    while len(words) > 1 and words[0] in ARTICLES:
        words = words[1:]
    if len(words) > 1 and words[-1] in ARTICLES:
        words = words[:-1]
    return " ".join(words)


def _bare(text: str) -> str:
    """Lower case and without accents and punctuation; apostrophes are of one kind, spaces single."""
    plain_text = "'".join(plain(part) for part in _APOSTROPHES.split(text))
    return " ".join(_PUNCTUATION.sub(" ", plain_text).split())


class _Patterns:
    """The patterns of one language, compiled."""

    def __init__(self, content: dict[str, Any]) -> None:
        self._places = {_bare(str(name)): int(place) for place, names in content["places"].items() for name in names}
        forms = "|".join(r"\d{1,3}".join(map(re.escape, one.split("<n>"))) for one in content["numbered"])
        self._numbered = re.compile(forms)
        articles = "".join(f"(?:{re.escape(word)} )?" for word in content["articles"])
        things = "|".join(map(re.escape, content["things"]))
        behind = f"(?: (?:{things}))?" if things else ""
        self.kinds: list[tuple[str, re.Pattern[str]]] = []
        for kind in (*OF_AN_ITEM, *OF_THE_LIST, *OF_A_LIST_THERE_IS):
            for pattern in content[kind]:
                parts = [re.escape(part) for part in _bare(pattern.replace("<place>", "0PLACE0")).split("0place0")]
                expression = f"{articles}(?P<place>.+?){behind}".join(parts) if len(parts) > 1 else parts[0]
                self.kinds.append((kind, re.compile(expression)))
        polite = "|".join(sorted((re.escape(_bare(word)) for word in content["politeness"]), key=len, reverse=True))
        self._polite = re.compile(rf"^(?:(?:{polite})(?!\w) ?)+|(?: ?(?<!\w)(?:{polite}))+$")
        if DENSE.search(polite):  # no spaces between words
            self._polite = re.compile(rf"^(?:(?:{polite}) ?)+|(?: ?(?:{polite}))+$")
        self.goes_on = re.compile(_begins_with(map(_bare, content["goes_on"])))
        self.ties = re.compile(rf"^\s*{_begins_with(content['ties'])}[\s,，:：]*", re.IGNORECASE)
        self.between: str = content["between"]

    def place(self, named: str) -> int | None:
        """The place that a name stands for: 1 for the first, -1 for the last."""
        if self._numbered.fullmatch(named):
            return int("".join(filter(str.isdigit, named)))
        return self._places.get(named)

    def without_politeness(self, said: str) -> str:
        """A bare text without "please" and the like at its ends, unless that is all there is."""
        return self._polite.sub("", said).strip() or said


def _begins_with(words: Iterable[str]) -> str:
    """One of some words, whole where there are spaces between words; of several the longest."""
    one = "|".join(sorted(map(re.escape, words), key=len, reverse=True))
    return rf"(?:{one})" + ("" if DENSE.search(one) else r"(?!\w)")


@lru_cache(maxsize=8)
def _patterns(language: str) -> _Patterns:
    return _Patterns(yaml.safe_load((_FOLDER / f"{language}.yaml").read_text(encoding="utf-8")))
