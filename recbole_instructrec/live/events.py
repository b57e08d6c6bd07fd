"""What users say and do: the events that are kept."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from recbole_instructrec.data.words import legible
from recbole_instructrec.live.errors import LiveError

ASK, CLICK, LIKE, DISLIKE, SEEN, SKIP, RATING = "ask", "click", "like", "dislike", "seen", "skip", "rating"

#: Takes back all reactions of the user to an item.
UNDO = "undo"

#: What a user can do with an item.
REACTIONS = (CLICK, LIKE, DISLIKE, SEEN, SKIP, RATING, UNDO)

#: Reactions of somebody who took the item: it joins the behaviour sequence, see :func:`joins`.
TAKEN = (CLICK, LIKE, SEEN, RATING)

#: Ratings from here on are as good as a like, and up to here as a dislike, as shares of the scale.
_GOOD, _BAD = 0.75, 0.25

_TURNING = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"

_LONGEST_NAME, _LONGEST_SAID = 200, 20_000


@dataclass(frozen=True)
class Event:
    """One line of the feedback store.

    Attributes
    ----------
    user, session : str
        Who, and in which conversation.
    kind : str
        ``ask`` or one of :data:`REACTIONS`.
    item : str or None
        The item's id as in the atomic files, for reactions.
    value : float or None
        The rating, for ratings.
    instruction : str
        What was said before (or, for ``ask``, is said now).
    shown : tuple of str
        Items of the list that is asked for or reacted to, the best first.
    version : int
        Of the model that made the list.
    time : float
        Seconds since 1970.
    id : int
        Number in the store, 0 before it is there.
    forgotten : int or None
        How often the user had been forgotten when this was said: once more since, and it is not stored.
    """

    user: str
    session: str
    kind: str
    item: str | None = None
    value: float | None = None
    instruction: str = ""
    shown: tuple[str, ...] = ()
    version: int = 0
    time: float = 0.0
    id: int = 0
    forgotten: int | None = None


def liking(kind: str, value: float | None, scale: tuple[float, float]) -> int:
    """Whether a reaction speaks for its item (1), against it (-1) or neither (0).

    Parameters
    ----------
    kind : str
        One of :data:`REACTIONS`.
    value : float or None
        The rating, for ratings.
    scale : tuple of float
        Lowest and highest rating.
    """
    if kind == RATING and value is not None:
        share = (value - scale[0]) / (scale[1] - scale[0])
        return 1 if share >= _GOOD else -1 if share <= _BAD else 0
    return {CLICK: 1, LIKE: 1, DISLIKE: -1}.get(kind, 0)


def joins(kind: str, value: float | None, scale: tuple[float, float]) -> bool:
    """Whether the item of a reaction joins the behaviour sequence: it was taken, and not rated badly.

    Parameters
    ----------
    kind, value, scale
        As :func:`liking` has them.
    """
    return kind in TAKEN and liking(kind, value, scale) >= 0


def standing(events: Iterable[Event]) -> list[Event]:
    """Reactions that were not taken back, in their order.

    Parameters
    ----------
    events : iterable of Event
        All reactions of some users, in their order.
    """
    kept: dict[int, Event] = {}
    of_item: dict[tuple[str, str | None], list[int]] = {}  # of each user to each
    for place, event in enumerate(events):
        own = of_item.setdefault((event.user, event.item), [])
        if event.kind != UNDO:
            kept[place] = event
            own.append(place)
            continue
        for earlier in own:
            del kept[earlier]
        own.clear()
    return list(kept.values())


def check_name(name: object, what: str) -> str:
    """A user's or session's name that can be stored and shown.

    Raises
    ------
    LiveError
        When it is no text, empty, too long, or holds control characters.
    """
    if not isinstance(name, str):
        raise LiveError(f"{what}: a text is expected, not {type(name).__name__}.")
    if not name.strip() or len(name) > _LONGEST_NAME:
        raise LiveError(f"{what}: 1 to {_LONGEST_NAME} characters are expected, not {len(name)}.")
    if legible_name(name) != name:
        raise LiveError(f"{what}: control characters cannot stand in a name. Leave them out.")
    return name


def legible_name(name: str) -> str:
    """A name without control characters, lone surrogates, and what turns the direction of the text around it."""
    return "".join(c for c in name if unicodedata.category(c) not in ("Cc", "Cs", "Zl", "Zp") and c not in _TURNING)


def check_said(text: object) -> str:
    """What a user says, as it is read and stored.

    Raises
    ------
    LiveError
        When it is no text, or far longer than anything that is read.
    """
    if not isinstance(text, str):
        raise LiveError(f"text: a text is expected, not {type(text).__name__}.")
    if len(text) > _LONGEST_SAID:
        raise LiveError(
            f"text: at most {_LONGEST_SAID:,} characters are taken, not {len(text):,}. Say it in a sentence or two."
        )
    return legible(text)


def check_rating(kind: str, rating: object, scale: tuple[float, float]) -> float | None:
    """The rating that belongs to a reaction.

    Raises
    ------
    LiveError
        When it is missing, out of the scale, or given to another reaction.
    """
    if kind not in REACTIONS:
        raise LiveError(f"event: one of {', '.join(REACTIONS)} is expected, not {kind!r:.60}.")
    if kind != RATING:
        if rating is not None:
            raise LiveError(f"rating: a {kind} has none. Send event=rating, or leave the rating out.")
        return None
    low, high = scale
    number = isinstance(rating, (int, float)) and not isinstance(rating, bool)
    if not number or not low <= rating <= high:  # type: ignore[operator]
        raise LiveError(f"rating: a number from {low:g} to {high:g} is expected, not {rating!r:.60}.")
    return float(rating)  # type: ignore[arg-type]
