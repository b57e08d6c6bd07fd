"""Years that a text speaks of: "before 1980", "from 1994". They bound a list; decades that the reader hears do not."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from recbole_instructrec.live.followups.patterns import (
    APOSTROPHES,
    LONGEST,
    any_of,
    bare,
    begins_with,
    content_of,
    languages,
    one_of,
    patterns,
)

FIRST, LAST = 1, 9999

_Bounds = tuple[int, int]

# Bounds that each kind of expression sets, from the first and the last year that it names. In this order: "not before
# 1980" is of the kind not_before, which takes its words before others see them.
_KINDS: dict[str, Callable[[int, int], _Bounds]] = {
    "between": lambda first, last: (first, last),
    "not_before": lambda first, last: (first, LAST),
    "not_after": lambda first, last: (FIRST, last),
    "not_since": lambda first, last: (FIRST, first - 1),
    "not_until": lambda first, last: (last + 1, LAST),
    "since": lambda first, last: (first, LAST),
    "until": lambda first, last: (FIRST, last),
    "after": lambda first, last: (last + 1, LAST),
    "before": lambda first, last: (FIRST, first - 1),
    "in": lambda first, last: (first, last),
}

_EMPTY = re.compile(r"[(（]\s*[)）]")

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
    rest: str = ""
    goes_on: bool = False

    @property
    def said(self) -> str:
        """Words that set the same bounds."""
        if self.first == FIRST:
            return f"until {self.last}"
        return f"since {self.first}" if self.last == LAST else f"between {self.first} and {self.last}"


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
    if len(text) > LONGEST:
        return None
    said = " ".join(APOSTROPHES.sub("'", text).split())
    for language in languages():
        try:
            found = _expressions(language).find(said)
        except _UnclearError:
            return None
        if found is not None:
            return found
    return None


class _UnclearError(ValueError):
    """Years are spoken of, but what is said of them cannot be told."""


class _Expressions:
    """Expressions of one language, compiled; texts have single spaces and straight apostrophes."""

    def __init__(self, language: str) -> None:
        content: dict[str, Any] = content_of(language)["years"]
        self._patterns = patterns(language)
        self._decades = {str(name): int(year) for name, year in content["decades"].items()}
        decade = content["decade"].replace("<named>", f"(?:{one_of(self._decades)})")
        decade = decade.replace("<decade>", r"(?<!\d)(?:1[89]|20)?\d0")
        year = rf"{content['before_year']}(?<!\d)(?:1[89]|20)\d\d(?!\d)"
        #: A date; in a span the sign of a year may be left out.
        date, within = f"(?:{decade}|{year}{content['year']})", f"(?:{decade}|{year}(?:{content['year']})?)"
        self._date, self._decade = self._compiled(within), self._compiled(decade)
        self._any_date = self._compiled(self._patterns.whole(within))

        def forms(kind: str) -> str:
            of = within if kind == "between" else year + content["year"] if kind == "in" else date
            return "|".join(f" ?{of} ?".join(map(re.escape, form.split("<year>"))) for form in content[kind])

        links = self._spaced(content["links"])
        negated = f"(?:{one_of(content['negations'])}){self._gap}{links}"
        made = {kind: forms(kind) for kind in _KINDS if kind in content}
        made |= {f"not_{kind}": f"{negated}(?:{made[kind]})" for kind in ("before", "after", "since", "until")}
        lead = self._spaced([*content["lead"], *content["links"]])
        self._kinds = [
            (kind, self._compiled(self._patterns.whole(f"{lead}(?:{made[kind]})") + content["tail"])) for kind in _KINDS
        ]
        self._unclear = self._compiled(self._patterns.whole(any_of(content["unclear"])))
        self._goes_further = self._compiled(f" ?(?:{content['goes_further']})")
        joins = one_of(content["joins"])
        self._another_behind = self._compiled(f" ?(?:{joins}) ?(?:{within})")
        self._another_before = self._compiled(f"(?:{within}) ?(?:{joins}) ?$")
        self._fill = self._compiled(begins_with([*content["fill"], *content["things"], *self._patterns.politeness]))
        self._things = self._compiled(self._patterns.whole(one_of(content["things"])))

    def find(self, text: str) -> Years | None:
        """What a text says of years.

        Raises
        ------
        _UnclearError
            Where that cannot be told.
        """
        if not self._date.search(text):  # most requests
            return None
        bounds: list[_Bounds] = []
        rest, tie = text, ""
        for kind, expression in self._kinds:
            for match in reversed([*expression.finditer(rest)]):
                before, behind = rest[: match.start()], rest[match.end() :]
                self._check(kind, before, behind)
                years = [self._years_of(date) for date in self._date.findall(match[0])]
                bounds.append(_KINDS[kind](years[0][0], years[-1][-1]))
                if not before.strip() and (begun := self._patterns.goes_on.match(bare(match[0]))):
                    tie = begun[0]
                rest = before + self._gap + behind
        if not bounds:
            return None
        first, last = max(one[0] for one in bounds), min(one[1] for one in bounds)
        rest = self._tidy(rest)
        if first > last or any(not self._decade.fullmatch(date[0]) for date in self._any_date.finditer(rest)):
            raise _UnclearError
        said = bare(rest)
        goes_on = bool(tie) or self._patterns.goes_on.match(said) is not None
        if self._only_fills(said):
            return Years(first, last, "", goes_on or not self._things.search(said))
        if tie and not self._patterns.goes_on.match(said):  # "but before 1980, funny"
            rest = f"{tie}{self._gap}{rest}"
        return Years(first, last, rest)

    def _check(self, kind: str, before: str, behind: str) -> None:
        """Refuse what stands beside words that may turn or shift their meaning, in the same clause."""
        begins, ends = self._patterns.clauses(before)[-1], self._patterns.clauses(behind)[0]
        turned = kind.startswith("not_") and not self._only_fills(bare(ends))  # "no films before 1980 with songs"
        further = self._goes_further.match(behind) or self._another_behind.match(behind)
        if turned or further or self._another_before.search(before):
            raise _UnclearError
        for clause in (begins, ends):
            if self._patterns.denies(clause) or self._unclear.search(clause):
                raise _UnclearError

    def _only_fills(self, said: str) -> bool:
        """Whether a bare text says nothing of its own: "films", "but only"."""
        while said and (match := self._fill.match(said)):
            said = said[match.end() :].lstrip()
        return not said

    def _years_of(self, date: str) -> list[int]:
        """The years of a date, one or ten."""
        digits = next(reversed(re.findall(r"\d+", date)), "")  # the last: "20世纪80年代"
        if not self._decade.fullmatch(date):
            return [int(digits)]
        if not digits:
            digits = next(str(year) for name, year in self._decades.items() if name in date.lower())
        if len(digits) < 4 and int(digits) < _CLEAR_FROM:
            raise _UnclearError
        first = int(digits) if len(digits) == 4 else _CENTURY + int(digits)
        return [*range(first, first + 10)]

    @property
    def _gap(self) -> str:
        return "" if self._patterns.dense else " "

    def _spaced(self, words: Iterable[str]) -> str:
        """Any number of some words."""
        return f"(?:(?:{one_of(words)}){self._gap})*"

    @staticmethod
    def _compiled(expression: str) -> re.Pattern[str]:
        return re.compile(expression, re.IGNORECASE)

    @staticmethod
    def _tidy(text: str) -> str:
        """A text without what is left where something was cut out."""
        text = _EMPTY.sub("", " ".join(text.split()))
        text = re.sub(r"\s+([,;.!?，。；！？])", r"\1", text)
        text = re.sub(r"([,，;；])(?:\s*[,，;；])+", r"\1", text)
        return text.strip(" ,，;；").lstrip(".!?。！？ ")


@lru_cache(maxsize=8)
def _expressions(language: str) -> _Expressions:
    return _Expressions(language)
