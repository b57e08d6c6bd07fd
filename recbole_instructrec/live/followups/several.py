"""Several things said in one breath: "I've seen the first one, more like the second, but nothing scary"."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from recbole_instructrec.live.followups import FollowUp, another, follow_up
from recbole_instructrec.live.followups.patterns import LONGEST, OF_AN_ITEM, languages, patterns

# Places at which a text is looked at for where the next thing begins, the first ones.
_MOST_PLACES = 12

_PUNCTUATION = re.compile(r"[,;.!，；。！、]+\s*")


class Several(NamedTuple):
    """Several things, of which the first is understood.

    Attributes
    ----------
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
        said, rest = text[:place].strip(), text[place:].strip()
        first = follow_up(said, "", shown, titled, latest) or follow_up(_untied(said), "", shown, titled, latest)
        if first is None and after is not None:
            first = another(said, after, shown, titled, latest)
        if first is None or first.kind not in OF_AN_ITEM or first.kind == "why" or not any(map(str.isalnum, rest)):
            continue
        apart = bool(_PUNCTUATION.match(said[-1])) or not _of_a_title(rest)
        if apart or any(another(one, first, shown, titled, latest) for one in (rest, _PUNCTUATION.split(rest)[0])):
            return Several(first, said, rest)
    return None


def _places(text: str) -> Iterator[int]:
    """Where something new may begin in a text, in order."""
    found = {match.end() for match in _PUNCTUATION.finditer(text)}
    for language in languages():
        found |= {match.start() for match in patterns(language).begins.finditer(text)}
    yield from sorted(place for place in found if 0 < place < len(text))[:_MOST_PLACES]


def _untied(text: str) -> str:
    """A text without what ties it to the one before."""
    for language in languages():
        text = patterns(language).ties.sub("", text)
    return text


def _of_a_title(text: str) -> bool:
    """Whether what seems to go on is the end of a title that no item has: "Heat and Dust"."""
    behind = _untied(text)
    return behind != text and behind[:1].isupper() and not re.match(r"I\b", behind)
