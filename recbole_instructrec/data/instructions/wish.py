"""What a request asks for."""

from __future__ import annotations

from typing import NamedTuple

LITTLE, NORMAL, ONLY = range(3)  # degrees


class Wish(NamedTuple):
    """Attributes that are wanted and avoided.

    Attributes
    ----------
    want, avoid : tuple of int
        Attribute numbers.
    degree : int
        ``LITTLE`` (a leaning), ``NORMAL``, or ``ONLY`` (and nothing else).
    """

    want: tuple[int, ...] = ()
    avoid: tuple[int, ...] = ()
    degree: int = NORMAL


#: Kinds of requests: how many of their values are wanted, how many (the last ones) avoided, and the degree.
KINDS: dict[str, tuple[int, int, int]] = {
    "intent": (1, 0, NORMAL),
    "both": (2, 0, NORMAL),
    "avoid": (0, 1, NORMAL),
    "but_not": (1, 1, NORMAL),
    "both_but_not": (2, 1, NORMAL),
    "neither": (0, 2, NORMAL),
    "little": (1, 0, LITTLE),
    "only": (1, 0, ONLY),
}


def wish_of(kind: str, values: tuple[int, ...]) -> Wish:
    """The wish that a request of a kind speaks of, with its values in the order {a}, {b}, {c}."""
    want, avoid, degree = KINDS[kind]
    if len(values) != want + avoid:
        raise ValueError(f"a request of kind {kind} has {want + avoid} values, not {len(values)}.")
    return Wish(tuple(values[:want]), tuple(values[want:]), degree)
