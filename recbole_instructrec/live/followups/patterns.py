"""What people say about lists, by language, as patterns."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from recbole_instructrec.data.words import ARTICLES, DENSE, plain

_FOLDER = Path(__file__).parent

#: Kinds that speak of an item, and those that speak of the whole list.
OF_AN_ITEM = ("more_like", "less_like", "like", "dislike", "seen", "not_seen", "why")
RESET = "reset"
OF_THE_LIST = ("more", RESET, "unseen", "any_year", "undo")

#: Of the whole list, too, but only where there is one: "older films" may be what somebody begins with.
OF_A_LIST_THERE_IS = ("older", "newer")

#: Whoever says more than this says something new; the time that the patterns take grows with the square of the length.
LONGEST = 500

# A place of a list.
_NUMBER = r"[1-9]\d{0,2}"

APOSTROPHES = re.compile(r"['’‘`´]")
_PUNCTUATION = re.compile(r"[^\w\s#'-]+")
_QUOTES = re.compile(r"(?<!\w)'+|'+(?!\w)")
_END = re.compile(r"[,;:.!?，。；：！？、()（）]")


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
        self._groups = {name.lower(): int(n) for n, names in content["groups"].items() for name in names}
        self._spelled: list[str] = content["spelled"]
        self._numbered = re.compile("|".join(_NUMBER.join(map(re.escape, f.split("<n>"))) for f in content["numbered"]))
        articles = "".join(f"(?:{re.escape(word)} )?" for word in content["articles"])
        things = one_of(content["things"])
        behind = f"(?: (?P<thing>{things}))?"
        self.item = re.compile(f"{articles}(?P<place>.+?){behind}")
        self.kinds: list[tuple[str, re.Pattern[str]]] = []
        for kind in (*OF_AN_ITEM, "not", *OF_THE_LIST, *OF_A_LIST_THERE_IS):
            for pattern in content[kind]:
                parts = [
                    _apostrophes_or_not(re.escape(part))
                    for part in bare(pattern.replace("<place>", "0PLACE0")).split("0place0")
                ]
                expression = f"{articles}(?P<place>.+?){behind}".join(parts) if len(parts) > 1 else parts[0]
                self.kinds.append((kind, re.compile(expression)))
        # Most texts are none of them.
        self.any = re.compile("|".join(re.sub(r"\?P<\w+>", "?:", one.pattern) for _, one in self.kinds))
        self.politeness = [bare(word) for word in content["politeness"]]
        #: Whether there are no spaces between words.
        self.dense = bool(DENSE.search("".join(self.politeness)))
        openers, endings = [bare(word) for word in content.get("openers", [])], content.get("endings", [])
        ends = rf"(?:\s+(?:{one_of(content.get('plurals', []))}))?(?:\s+(?:{one_of(endings)}))*"
        rest = r"\s*(?P<rest>$|[,;.!，；。！].*)"
        groups = f"(?P<before>.*?)(?P<group>{one_of(self._groups)}){ends}{rest}"
        self._group = re.compile(groups, re.IGNORECASE | re.DOTALL)
        self._polite = self._at_the_ends(self.politeness)
        self._open = self._at_the_ends([*self.politeness, *openers], [*self.politeness, *map(bare, endings)])
        self.goes_on = re.compile(begins_with(map(bare, content["goes_on"])))
        self.begins = self._words([*content["begins"], *content["joins"]])
        self.joins = re.compile(rf"^\s*{begins_with(content['joins'])}[\s,，]*", re.IGNORECASE)
        self.closes = self._words(content.get("closes", []))
        self.within = self._words(content.get("within", []))
        self.cardinals = {bare(word) for word in content.get("cardinals", [])}
        listed = [name for name in self._places if " " in name or self.dense]
        self._of_the_list_ends = re.compile(rf"(?:{one_of(listed)})$", re.IGNORECASE)
        self.verbs = re.compile(rf"(?:^|\s)(?:{any_of(content.get('verbs', []))})$", re.IGNORECASE)
        self.remarks = re.compile(begins_with(content["remarks"]), re.IGNORECASE)
        years = content["years"]
        self._denials = re.compile(self.whole(any_of(content.get("denials", []))), re.IGNORECASE)
        self._turns = re.compile(self.whole(any_of(years["turns"])), re.IGNORECASE)
        fill = [*years["fill"], *years["things"], *content.get("fill", [])]
        self._fill = re.compile(begins_with([*map(bare, fill), *openers, *self.politeness]))
        self._begins_behind = re.compile(
            rf"\W*(?<!\w)(?:{one_of([*content['begins'], *content['joins']])})$", re.IGNORECASE
        )
        self.ties = re.compile(rf"^\s*{begins_with(content['ties'])}[\s,，:：]*", re.IGNORECASE)
        self.tie: str = content["tie"]
        self.between: str = content["between"]

    def place(self, named: str) -> int | None:
        """The place that a name stands for: 1 for the first, -1 for the last."""
        if self._numbered.fullmatch(named):
            return int("".join(filter(str.isdigit, named)))
        return self._places.get(named)

    def spelled_out(self, text: str, n: int) -> tuple[str, str, str] | None:
        """Of a text that speaks of several items of a list of n at once, as in "I've seen the first two, a comedy":
        what it says of the first, the same of all of them, and the rest; None for others."""
        match = self._group.match(text) if n else None
        if match is None:
            return None
        form, joint = self._spelled
        most = min(self._groups[match["group"].lower()] or n, n)
        places = [form.replace("<n>", str(place)) for place in range(1, most + 1)]
        return match["before"] + places[0], match["before"] + joint.join(places), match["rest"]

    def _at_the_ends(self, first: Sequence[str], last: Sequence[str] = ()) -> re.Pattern[str]:
        """Some words at the beginning and, the same or others, at the end of a bare text."""
        begin, end = (_apostrophes_or_not(one_of(words)) for words in (first, last or first))
        if self.dense:  # no spaces between words
            return re.compile(rf"^(?:(?:{begin}) ?)+|(?: ?(?:{end}))+$")
        return re.compile(rf"^(?:(?:{begin})(?!\w) ?)+|(?: ?(?<!\w)(?:{end}))+$")

    def _words(self, words: Sequence[str]) -> re.Pattern[str]:
        """One of some words, anywhere in a text."""
        return re.compile(self.whole(one_of(words)), re.IGNORECASE)

    def whole(self, expression: str) -> str:
        """An expression of whole words, where there are spaces between words."""
        return f"(?:{expression})" if self.dense else rf"(?<!\w)(?:{expression})(?!\w)"

    def clauses(self, text: str) -> list[str]:
        """Parts of a text that words such as "no" reach over."""
        said = APOSTROPHES.sub("'", text)
        return [clause for part in _END.split(said) for clause in self._turns.split(part)]

    def ends_with_place(self, text: str) -> bool:
        """Whether a text ends with an item of the list, by its place."""
        return self._of_the_list_ends.search(bare(text)) is not None

    def denies(self, text: str) -> bool:
        """Whether words in a text deny something, or turn it away."""
        return self._denials.search(APOSTROPHES.sub("'", text)) is not None

    def says_nothing(self, text: str) -> bool:
        """Whether a text asks for nothing of its own: "I'm looking for something"."""
        said = bare(text)
        while said and (match := self._fill.match(said)):
            said = said[match.end() :].lstrip()
        return not said

    def closed(self, text: str) -> str:
        """A text without words behind it with which something else would begin."""
        return self._begins_behind.sub("", text)

    def opened(self, said: str) -> str:
        """A bare text without politeness, and what else stands at the ends: "I'm looking for", "from your list"."""
        return self._open.sub("", said).strip() or said

    def without_politeness(self, said: str) -> str:
        """A bare text without "please" and the like at its ends, unless that is all there is."""
        return self._polite.sub("", said).strip() or said


def one_of(words: Iterable[str]) -> str:
    """A pattern for one of some words; the longest that there is. Without words it fits nothing."""
    return any_of(sorted(map(re.escape, words), key=len, reverse=True))


def any_of(expressions: Sequence[str]) -> str:
    """A pattern for any of some; of none it fits nothing."""
    return "|".join(expressions) or "(?!)"


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
    return " ".join(words).replace("'", "")


def bare(text: str) -> str:
    """Lower case and without accents and punctuation; apostrophes are of one kind, spaces single."""
    plain_text = "'".join(plain(part) for part in APOSTROPHES.split(text))
    return " ".join(_QUOTES.sub(" ", _PUNCTUATION.sub(" ", plain_text)).split())


def _apostrophes_or_not(expression: str) -> str:
    """A pattern that also fits where apostrophes are left out: "ive seen"."""
    return expression.replace("'", "'?")
