"""Years that a text speaks of: "before 1980", "from 1994". They bound a list; decades that the reader hears do not."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from recbole_instructrec.data.words import DENSE
from recbole_instructrec.live.followups.patterns import LONGEST, bare, begins_with, content_of, languages, patterns

FIRST, LAST = 1, 9999

# Bounds that each kind of expression sets, from the first and the last year that it names. In this order: "not before
# 1980" is of the kind since, which takes its words before others see them.
_KINDS: dict[str, Callable[[int, int], tuple[int, int]]] = {
    "between": lambda first, last: (first, last),
    "since": lambda first, last: (first, LAST),
    "until": lambda first, last: (FIRST, last),
    "after": lambda first, last: (last + 1, LAST),
    "before": lambda first, last: (FIRST, first - 1),
    "in": lambda first, last: (first, last),
}

_CLAUSE = re.compile(r"[,;:.!?，。；：！？、]")

# "The 90s"; "the 20s" may be of either century.
_CENTURY, _CLEAR_FROM = 1900, 30


@dataclass(frozen=True)
class Years:
    """What is said about years.

    Attributes
    ----------
    first, last : int
        Bounds, both included; :data:`FIRST` and :data:`LAST` where there is none.
    rest : str
        The text without it; empty where nothing else is said.
    goes_on : bool
        Whether nothing else is said, and so it is said of what was asked for before.
    """

    first: int
    last: int
    rest: str
    goes_on: bool


def years_in(text: str) -> Years | None:
    """Find years in a text, in any language there are patterns for.

    Parameters
    ----------
    text : str
        What the user says.

    Returns
    -------
    Years or None
        None where none are spoken of, or in words that only a reader could tell the meaning of ("no horror before
        1980" excludes some horror).
    """
    for language in languages() if len(text) <= LONGEST else ():
        found = _expressions(language).find(text)
        if found is not None:
            return found
    return None


class _Expressions:
    """Expressions of one language, compiled."""

    def __init__(self, language: str) -> None:
        content: dict[str, Any] = content_of(language)["years"]
        self._language = language
        self._gap = "" if DENSE.search("".join(content["fill"])) else " "
        self._decades = {str(name): int(year) for name, year in content["decades"].items()}
        named = "|".join(map(re.escape, self._decades))
        dense = bool(DENSE.search(named))
        begin, end = ("", "") if dense else (r"(?<!\w)", r"(?!\w)")
        year = rf"(?<!\d)(?:1[89]|20)\d\d(?!\d){content['year']}"
        decade = content["decade"].replace("<decade>", r"(?<!\d)(?:1[89]|20)?\d0").replace("<named>", f"(?:{named})")
        self._date = re.compile(rf"{decade}|{year}", re.IGNORECASE)
        self._decade = re.compile(decade, re.IGNORECASE)
        self._kinds = []
        for kind in _KINDS:
            date = year if kind == "in" else rf"(?:{decade}|{year})"
            forms = sorted(content[kind], key=len, reverse=True)
            one = "|".join(rf"\s*{date}\s*".join(map(_spaced, form.split("<year>"))) for form in forms)
            lead = "|".join(map(_spaced, content["lead"]))
            lead = f"(?:(?:{lead}){'' if dense else ' +'})*" if lead else ""
            self._kinds.append((kind, re.compile(f"{begin}{lead}(?:{one}){end}{content['tail']}", re.IGNORECASE)))
        words = "|".join(sorted(map(re.escape, content["unclear"]), key=len, reverse=True))
        self._unclear = re.compile(f"{begin}(?:{words}){end}", re.IGNORECASE)
        self._fill = re.compile(begins_with(content["fill"]), re.IGNORECASE)

    def find(self, text: str) -> Years | None:
        """What a text says of years."""
        bounds: list[tuple[int, int]] = []
        rest = text
        for kind, expression in self._kinds:
            for match in reversed([*expression.finditer(rest)]):
                clause = _CLAUSE.split(rest[: match.start()])[-1]
                if self._unclear.search(clause):
                    return None
                years = [self._years_of(date) for date in self._date.findall(match[0])]
                if not all(years):
                    return None
                bounds.append(_KINDS[kind](years[0][0], years[-1][-1]))
                rest = f"{rest[: match.start()]}{self._gap}{rest[match.end() :]}"
        if not bounds:
            return None
        first, last = max(one[0] for one in bounds), min(one[1] for one in bounds)
        if first > last:  # they exclude each other, so that it is not understood
            return None
        rest = _tidy(rest)
        said = patterns(self._language).without_politeness(bare(rest))
        filled = self._only_fills(said)
        goes_on = not said or (filled and patterns(self._language).goes_on.match(said) is not None)
        return Years(first, last, "" if filled else rest, goes_on)

    def _only_fills(self, said: str) -> bool:
        """Whether a text says nothing of its own: "films", "but only"."""
        while said and (match := self._fill.match(said)):
            said = said[match.end() :].lstrip(" ,，")
        return not said

    def _years_of(self, date: str) -> list[int]:
        """The years of a date, one or ten; none where the century is not clear."""
        digits = next(reversed(re.findall(r"\d+", date)), "")  # the last: "20世纪80年代"
        if not self._decade.fullmatch(date):
            return [int(digits)]
        if not digits:
            digits = next(str(year) for name, year in self._decades.items() if name in date.lower())
        first = int(digits) if len(digits) == 4 else _CENTURY + int(digits)
        return [*range(first, first + 10)] if len(digits) == 4 or int(digits) >= _CLEAR_FROM else []


def _spaced(words: str) -> str:
    """Words as a pattern, however many spaces there are between them."""
    return r"\s+".join(map(re.escape, words.split()))


def _tidy(text: str) -> str:
    """A text without what is left where something was cut out."""
    text = re.sub(r"\s+", " ", text)
    text = re.sub(r"\s+([,;.!?，。；！？])", r"\1", text)
    return re.sub(r"([,，;；])(?:\s*[,，;；])+", r"\1", text).strip(" ,，;；")


@lru_cache(maxsize=8)
def _expressions(language: str) -> _Expressions:
    return _Expressions(language)
