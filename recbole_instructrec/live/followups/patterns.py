"""What people say about lists, by language, as patterns."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from recbole_instructrec.data.words import ARTICLES, DENSE, plain

_FOLDER = Path(__file__).parent

#: Kinds that speak of an item, and those that speak of the whole list.
OF_AN_ITEM = ("more_like", "less_like", "like", "dislike", "seen", "why")
RESET = "reset"
OF_THE_LIST = ("more", RESET, "unseen", "any_year", "undo")

#: Of the whole list, too, but only where there is one: "older films" may be what somebody begins with.
OF_A_LIST_THERE_IS = ("older", "newer")

#: Whoever says more than this says something new; the time that the patterns take grows with the square of the length.
LONGEST = 500

APOSTROPHES = re.compile(r"['’‘`´]")
_PUNCTUATION = re.compile(r"[^\w\s#'-]+")


@lru_cache(maxsize=1)
def languages() -> list[str]:
    """Languages that follow-ups are known in."""
    return sorted(file.stem for file in _FOLDER.glob("*.yaml"))


@lru_cache(maxsize=8)
def content_of(language: str) -> dict[str, Any]:
    """What stands in the file of a language."""
    found: dict[str, Any] = yaml.safe_load((_FOLDER / f"{language}.yaml").read_text(encoding="utf-8"))
    return found


@lru_cache(maxsize=8)
def patterns(language: str) -> Patterns:
    """The patterns of a language."""
    return Patterns(content_of(language))


class Patterns:
    """The patterns of one language, compiled."""

    def __init__(self, content: dict[str, Any]) -> None:
        self._places = {bare(str(name)): int(place) for place, names in content["places"].items() for name in names}
        forms = "|".join(r"\d{1,3}".join(map(re.escape, one.split("<n>"))) for one in content["numbered"])
        self._numbered = re.compile(forms)
        articles = "".join(f"(?:{re.escape(word)} )?" for word in content["articles"])
        things = one_of(content["things"])
        behind = f"(?: (?:{things}))?" if things else ""
        self.item = re.compile(f"{articles}(?P<place>.+?){behind}")
        self.kinds: list[tuple[str, re.Pattern[str]]] = []
        for kind in (*OF_AN_ITEM, *OF_THE_LIST, *OF_A_LIST_THERE_IS):
            for pattern in content[kind]:
                parts = [re.escape(part) for part in bare(pattern.replace("<place>", "0PLACE0")).split("0place0")]
                expression = f"{articles}(?P<place>.+?){behind}".join(parts) if len(parts) > 1 else parts[0]
                self.kinds.append((kind, re.compile(expression)))
        self.politeness = [bare(word) for word in content["politeness"]]
        polite = one_of(self.politeness)
        self._polite = re.compile(rf"^(?:(?:{polite})(?!\w) ?)+|(?: ?(?<!\w)(?:{polite}))+$")
        if DENSE.search(polite):  # no spaces between words
            self._polite = re.compile(rf"^(?:(?:{polite}) ?)+|(?: ?(?:{polite}))+$")
        self.goes_on = re.compile(begins_with(map(bare, content["goes_on"])))
        self.begins = re.compile(
            ("" if DENSE.search(polite) else r"\b") + begins_with(content["goes_on"]), re.IGNORECASE
        )
        self.ties = re.compile(rf"^\s*{begins_with(content['ties'])}[\s,，:：]*", re.IGNORECASE)
        self.closes = re.compile(one_of(content["closes"]) or r"(?!)")
        self.within = re.compile(rf"(?<!\w)(?:{one_of(content['within'])})(?!\w)" if content["within"] else r"(?!)")
        self.verbs = re.compile(rf"(?:^|\s)(?:{one_of(map(bare, content['verbs']))})$")
        self.denies = re.compile(
            rf"(?<!\w)(?:{one_of(map(bare, content['denies']))})(?!\w)" if content["denies"] else r"(?!)"
        )
        self.tie = str(content["ties"][0])
        self.between: str = content["between"]

    def place(self, named: str) -> int | None:
        """The place that a name stands for: 1 for the first, -1 for the last."""
        if self._numbered.fullmatch(named):
            return int("".join(filter(str.isdigit, named)))
        return self._places.get(named)

    def without_politeness(self, said: str) -> str:
        """A bare text without "please" and the like at its ends, unless that is all there is."""
        return self._polite.sub("", said).strip() or said


def one_of(words: Iterable[str]) -> str:
    """A pattern for one of some words; the longest that there is."""
    return "|".join(sorted(map(re.escape, words), key=len, reverse=True))


def begins_with(words: Iterable[str]) -> str:
    """One of some words, whole where there are spaces between words; of several the longest."""
    one = one_of(words)
    return rf"(?:{one})" + ("" if DENSE.search(one) else r"(?!\w)")


def bare_title(title: str) -> str:
    """A title in lower case, without punctuation and without its article, wherever that stands."""
    words = bare(title).split()
    while len(words) > 1 and words[0] in ARTICLES:
        words = words[1:]
    if len(words) > 1 and words[-1] in ARTICLES:
        words = words[:-1]
    return " ".join(words)


def bare(text: str) -> str:
    """Lower case and without accents and punctuation; apostrophes are of one kind, spaces single."""
    plain_text = "'".join(plain(part) for part in APOSTROPHES.split(text))
    return " ".join(_PUNCTUATION.sub(" ", plain_text).split())
