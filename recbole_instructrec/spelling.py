"""A hint for names that are not known."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """The end of a message about an unknown name.

    Parameters
    ----------
    name : str
        What was given.
    known : iterable of str
        What there is; case does not count.
    cutoff : float
        Least likeness, 0 to 1 (:func:`difflib.get_close_matches`).

    Returns
    -------
    str
        ``"; did you mean X?"``, or nothing where nothing is like it.
    """
    by_lower = {one.lower(): one for one in known}
    close = nearest(name.lower(), by_lower, cutoff)
    return f"; did you mean {by_lower[close]}?" if close else ""


def nearest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """The name that is most like one, or nothing; arguments as of :func:`did_you_mean`, but case counts."""
    return next(iter(difflib.get_close_matches(name, known, 1, cutoff)), "")
