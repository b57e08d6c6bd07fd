"""Several things said in one breath: "I've seen the first one, more like the second, but nothing scary"."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from recbole_instructrec.live.followups import OF_ANY_ITEM, FollowUp, another, follow_up
from recbole_instructrec.live.followups.patterns import LONGEST, OF_AN_ITEM, bare, languages, patterns

# Places at which a text is looked at for where the next thing begins, the first ones.
_MOST_PLACES = 12

_PUNCTUATION = re.compile(r"[,;.!，；。！、]+\s*")

# Where what is denied before does not reach.
_CLAUSE = re.compile(r"[,;.!?]|\bbut\b", re.IGNORECASE)


class Several(NamedTuple):
    """Several things, of which the first is understood.

    Attributes
    ----------
    before : str
        What is asked for before; empty for nothing.
    first : FollowUp
        What is said of an item first.
    said : str
        Its text.
    rest : str
        The text behind it.
    """

    first: FollowUp
    said: str
    rest: str
    before: str = ""


def first_of_several(
    text: str,
    shown: Sequence[int],
    titled: Callable[[str], Sequence[int]],
    latest: int | None = None,
    after: FollowUp | None = None,
) -> Several | None:
    """What a text says of an item first, before it goes on to something else.

    Parameters
    ----------
    text : str
        What the user says, which is no follow-up as a whole.
    shown, titled, latest
        As :func:`follow_up` has them.
    after : FollowUp, optional
        What was said of an item just before, which may go for others, too.

    Returns
    -------
    Several or None
        None for a text that does not begin so.
    """
    for place in _places(text) if len(text) <= LONGEST else ():
        said, rest = _parted(text, place)
        first = follow_up(said, "", shown, titled, latest) or follow_up(_untied(said), "", shown, titled, latest)
        if first is None and after is not None:
            first = another(said, after, shown, titled, latest)
        if first is None or first.kind not in OF_AN_ITEM or first.kind == "why" or not any(map(str.isalnum, rest)):
            continue
        apart = bool(_PUNCTUATION.match(said[-1])) or not _of_a_title(rest)
        if apart or any(another(one, first, shown, titled, latest) for one in (rest, _PUNCTUATION.split(rest)[0])):
            return Several(first, said, rest)
    return None


def item_within(
    text: str, shown: Sequence[int], titled: Callable[[str], Sequence[int]], latest: int | None = None
) -> Several | None:
    """An item that is named within a wish: "a comedy like Fargo, but not so dark".

    Parameters
    ----------
    text, shown, titled, latest
        As :func:`follow_up` has them.

    Returns
    -------
    Several or None
        None for a text that names none.
    """
    if len(text) > LONGEST:
        return None
    for known in map(patterns, languages()):
        for match in known.within.finditer(text.lower()) if len(text.lower()) == len(text) else ():
            before = text[: match.start()].strip()
            clause = bare(_CLAUSE.split(before)[-1])
            if not any(map(str.isalnum, before)) or known.verbs.search(clause) or known.denies.search(clause):
                continue
            for end in (len(text), *(place for place in _places(text) if place > match.end())):
                said, rest = _parted(text[match.start() :], end - match.start())
                first = follow_up(said, "", shown, titled, latest)
                if first is None or first.item is None or first.kind not in OF_ANY_ITEM:
                    continue
                if rest and not _PUNCTUATION.match(said[-1]) and _of_a_title(rest):
                    continue
                if _stands_out(text[match.end() : end].strip()):
                    return Several(first, said, rest, before)
    return None


def _stands_out(named: str) -> bool:
    """Whether words after "like" are a name, or several: "like home" is none."""
    return named[:1].isupper() or named[:1] in "\"'“" or len(bare(named).split()) > 1


def _places(text: str) -> Iterator[int]:
    """Where something new may begin in a text, in order."""
    found = {match.end() for match in _PUNCTUATION.finditer(text)}
    for known in map(patterns, languages()):
        found |= {match.start() for match in known.begins.finditer(text)}
        found |= {match.end() for match in known.closes.finditer(text)}
    yield from sorted(place for place in found if 0 < place < len(text))[:_MOST_PLACES]


def _parted(text: str, place: int) -> tuple[str, str]:
    """What stands before and behind a place, the latter without punctuation that it begins with."""
    behind = text[place:].strip()
    begins = _PUNCTUATION.match(behind)
    return text[:place].strip(), behind[begins.end() :] if begins else behind


def _untied(text: str) -> str:
    """A text without what ties it to the one before."""
    for language in languages():
        text = patterns(language).ties.sub("", text)
    return text


def _of_a_title(text: str) -> bool:
    """Whether what seems to go on is the end of a title that no item has: "Heat and Dust"."""
    behind = _untied(text)
    return behind != text and behind[:1].isupper() and not re.match(r"I\b", behind)
