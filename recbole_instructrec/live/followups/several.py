"""Several things said in one breath: "a comedy like Fargo, but not the first one"."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from recbole_instructrec.live.followups import (
    OF_ANY_ITEM,
    OF_WHAT_WAS_TAKEN,
    FollowUp,
    another,
    follow_up,
    is_capitalised,
    stands_out,
    title_of,
)
from recbole_instructrec.live.followups.patterns import LONGEST, OF_AN_ITEM, RESET, Patterns, bare, languages, patterns

# What may be said of the list before something else, where punctuation stands between.
_MAY_BEGIN = (RESET, "undo", "unseen", "any_year")

# Whoever says more than this in one breath says something else; parts are looked at again and again.
_LONGEST = 250

# Places at which a text is looked at for where the next thing begins, the first ones.
_MOST_PLACES = 12

# Words that may stand before "like" and belong to it: "some more films like".
_MOST_WORDS = 5

# Neither within "20,000" nor behind the letters of "L.A.".
_PUNCTUATION = re.compile(r"(?:(?:(?<!\d)[,.]|[,.](?!\d)|[;!?()，；。！？、（）])(?<!\b[^\W\d_]\.)|\s[-–—]+\s)+\s*")


_MARKS = " ,;.!?()，；。！？、（）-–—"


class Several(NamedTuple):
    """Several things, of which one is understood.

    Attributes
    ----------
    before : str
        What is said before; empty for nothing.
    first : FollowUp
        What is said of an item, or of the list.
    said : str
        Its text.
    rest : str
        The text behind it.
    """

    before: str
    first: FollowUp
    said: str
    rest: str


class Finder:
    """Finds what is said of items in texts that say more.

    Parameters
    ----------
    shown, titled, latest
        As :func:`~recbole_instructrec.live.followups.follow_up` has them.
    """

    def __init__(self, shown: Sequence[int], titled: Callable[[str], Sequence[int]], latest: int | None = None) -> None:
        self._shown, self._of = shown, (shown, titled, latest)

    def find(self, text: str, after: FollowUp | None = None) -> Several | None:
        """Find what a text says of an item.

        Parameters
        ----------
        text : str
            What the user says, which is no follow-up as a whole.
        after : FollowUp, optional
            What was said of an item just before, which may go for others, too.

        Returns
        -------
        Several or None
            None for a text that speaks of none.
        """
        if len(text) > _LONGEST:
            return None
        found = self._at_the_beginning(text, after) or self._within(text) or self._at_the_end(text)
        if found is None:
            return None
        before = follow_up(found.before, "", *self._of)
        if before is not None and before.counts:  # "I saw one like Alien"
            return None
        return found._replace(before=_wish(found.before), rest="" if _says_nothing(found.rest) else found.rest)

    def spelled_out(self, text: str) -> str:
        """A text as it is, or with items one by one where it reacts to several: "I've seen the first two"."""
        for known in _all():
            parts = known.spelled_out(text, len(self._shown))
            if parts is None or len(parts[1] + parts[2]) > _LONGEST:
                continue
            first = follow_up(parts[0], "", *self._of)
            whole = first is not None and first.kind in (*OF_WHAT_WAS_TAKEN, "not_seen") and not first.denied
            if whole and not _says_otherwise(parts[2]):
                return parts[1] + parts[2]
        return text

    def _at_the_beginning(self, text: str, after: FollowUp | None) -> Several | None:
        """ "More like the second one, but nothing scary"."""
        for place in reversed([*_places(text)]):  # the longest title
            said, rest, apart = _parted(text, place)
            first = self._spoken(said)
            if first is None and after is not None:
                first = another(said, after, *self._of)
            if first is not None and self._begins(first, rest, apart):
                closed = patterns(first.language).closes.search(said[-1:]) and not apart
                if closed and first.kind in OF_ANY_ITEM and _untied(rest) == rest:  # 像第二部的喜剧
                    return Several(rest, first, said, "")
                return Several("", first, said, rest)
        return None

    def _within(self, text: str) -> Several | None:
        """ "A comedy like Fargo, but nothing scary"."""
        for known in _all():
            for match in known.within.finditer(text):
                if _PUNCTUATION.match(text, match.end()):
                    continue
                found = self._named_with(text, match, known)
                if found is not None:
                    return found
        return None

    def _named_with(self, text: str, match: re.Match[str], known: Patterns) -> Several | None:
        """An item that is named with the words of a match."""
        ends = [len(text), *reversed([place for place in _places(text) if place > match.end()])]
        for start in _starts(text, match.start()):
            for end in ends:
                said, rest, apart = _parted(text[start:], end - start)
                first = follow_up(said, "", *self._of)
                if first is None or first.item is None or first.kind not in OF_ANY_ITEM:
                    continue
                if not first.by_place and not stands_out(text[match.end() : end]):
                    continue
                if _tells(text[:start]) and not _can_stand_behind(first, text[:start]):
                    return None
                clause = _last_clause(text[:start], known)
                verb = start == match.start() and (known.verbs.search(clause) or known.ends_with_place(clause))
                refused = _says_nothing(text[:start]) and _PUNCTUATION.search(text[:start])  # "no, more like"
                if verb or (known.denies(clause) and not refused):
                    return None
                if not rest or self._begins(first, rest, apart):
                    return Several(text[:start], first, said, rest)
        return None

    def _at_the_end(self, text: str) -> Several | None:
        """ "Something funny, but not the first one"."""
        for place in _places(text):
            before, said, _ = _parted(text, place)
            first = self._spoken(said)
            if first is None or first.item is None or not _tells(before):
                continue
            if not _can_stand_behind(first):
                return None
            # "Nothing scary, like Alien", "anything but films like Alien"
            denied = any(known.denies(f"{_last_clause(before, known)} {said}") for known in _all())
            if first.kind in OF_ANY_ITEM and not first.by_place and denied:
                return None
            return Several(before, first, said, "")
        return None

    def _spoken(self, said: str) -> FollowUp | None:
        """What a part of a text says of an item, or of the list."""
        found = follow_up(said, "", *self._of) or follow_up(_untied(said), "", *self._of)
        if found is None or found.counts or found.kind == "why" or found.kind not in (*OF_AN_ITEM, *_MAY_BEGIN):
            return None
        return None if found.missing and (found.vague or not self._shown) else found

    def _begins(self, first: FollowUp, rest: str, apart: bool) -> bool:
        """Whether something else begins behind what is said of an item, and it is not the rest of a title."""
        if apart or not _tells(rest):
            return _tells(rest)
        if first.kind in _MAY_BEGIN:
            return False
        parts = (rest, *(rest[:place] for place in _places(rest)))
        if any(another(part, first, *self._of) for part in parts):
            return True
        joined = all(known.joins.match(rest) is None or known.goes_on.match(bare(rest)) for known in _all())
        return joined and (first.by_place or not _of_a_title(rest))


def title_sought(text: str) -> str:
    """What stands for a title in a text such as "films like Zorgon, but funny", as it was written, or nothing."""
    if len(text) > LONGEST:
        return ""
    whole = title_of(text)
    if whole:
        return next((title for place in _places(text) if (title := title_of(text[:place]))), whole)
    for known in _all():
        for match in known.within.finditer(text):
            behind = text[match.end() :].strip()
            behind = next((behind[:place] for place in _places(behind)), behind)
            clause = _last_clause(text[: match.start()], known)
            if behind[:1].isupper() and clause and not known.verbs.search(clause):
                return behind.strip(f"{_MARKS}?")
    return ""


def _all() -> Iterator[Patterns]:
    return map(patterns, languages())


def _starts(text: str, place: int) -> list[int]:
    """Where words begin that lead to a place: it, and some before it, the first first."""
    begins = [match.start() for match in re.finditer(r"\w+\W*", text[:place])]
    return [*begins[-_MOST_WORDS:], place]


def _places(text: str) -> Iterator[int]:
    """Where something new may begin in a text, in order."""
    found = {match.end() for match in _PUNCTUATION.finditer(text)}
    for known in _all():
        found |= {match.start() for match in known.begins.finditer(text)}
        found |= {match.end() for match in known.closes.finditer(text)}
    yield from sorted(place for place in found if 0 < place < len(text))[:_MOST_PLACES]


def _parted(text: str, place: int) -> tuple[str, str, bool]:
    """What stands before and behind a place, and whether there is punctuation between."""
    before, behind = text[:place].strip(), text[place:].strip()
    ended, begun = before.rstrip(_MARKS), behind.lstrip(_MARKS)
    if "(" not in begun and "（" not in begun:
        begun = begun.rstrip(")）")
    return ended, begun, ended != before or begun != behind


def _last_clause(text: str, known: Patterns) -> str:
    """The last part of a text that says anything."""
    return next((one.strip() for one in reversed(known.clauses(text)) if _tells(one)), "")


def _wish(text: str) -> str:
    """What is asked for in a text; empty for nothing."""
    said = text.strip().rstrip(_MARKS)
    for known in _all():
        said = known.closed(said).rstrip(_MARKS)
    return "" if _says_nothing(said) else said


def _tells(text: str) -> bool:
    """Whether there is anything but punctuation in a text."""
    return any(map(str.isalnum, text))


def _says_nothing(text: str) -> bool:
    """Whether a text asks for nothing; so does a year behind a title."""
    return re.fullmatch(r"(?:18|19|20)\d\d", text) is not None or any(known.says_nothing(text) for known in _all())


def _says_otherwise(rest: str) -> bool:
    """Whether what follows takes something back: "I've seen all of these, but not the first"."""
    said = rest.lstrip(_MARKS)
    return any(known.ties.match(said) or known.denies(said[:20]) for known in _all())


def _can_stand_behind(found: FollowUp, wish: str = "") -> bool:
    """Whether an item can be named so behind other words: "for 2 kids, not 3" speaks of no item of the list, and "I saw
    Heat, something like it" of none of those before."""
    if found.cardinal or found.named.isdigit():
        return False
    vague = patterns(found.language).place(found.named) == 0
    return not vague or (0 < len(wish.split()) <= _MOST_WORDS and not _PUNCTUATION.search(wish.strip()))


def _untied(text: str) -> str:
    """A text without what ties it to the one before."""
    for known in _all():
        text = known.ties.sub("", text)
    return text


def _of_a_title(text: str) -> bool:
    """Whether what seems to go on is the end of a title that no item has: "Heat and the Dust"."""
    behind = _untied(text)
    return behind != text and is_capitalised(behind) and not re.match(r"I\b", behind)
