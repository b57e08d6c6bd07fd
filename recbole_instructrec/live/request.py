"""What a conversation asks for at one moment, over all the steps in which it was said."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch

from recbole_instructrec.live.followups import FollowUp, open_ended
from recbole_instructrec.live.followups.years import FIRST, LAST
from recbole_instructrec.live.phrases import Phrases

#: Kind of the step that sets bounds of years, or lifts them.
YEARS = "years"


@dataclass
class Request:
    """A request, and what follow-ups made of it.

    Attributes
    ----------
    parts : list of str
        What is read, step by step.
    settled : dict
        What the steps asked for, as in :class:`~.ranking.Settled`.
    without : list of str
        Attributes that are left out.
    toward : list of int
        Item that more of is asked for.
    away : list of int
        Items that less of is asked for.
    passed : list of int
        Items of earlier pages.
    years : tuple of int or None
        The first and the last that are asked for.
    said_years : tuple of int or None
        Those that were said, which "older" and "newer" stay within.
    untaught : bool
        Whether the last words are of a language that the model was not taught.
    steps : list of tuple of str
        Kind (of a :class:`~.followups.FollowUp`, :data:`YEARS`, or empty for what it begins with) and text of what asks
        for the same in a new conversation, one after the other.
    unseen : bool
        Whether only what the user did not take is asked for; also of requests that follow.
    """

    parts: list[str] = field(default_factory=list)
    settled: dict[str, tuple[float, float]] = field(default_factory=dict)
    without: list[str] = field(default_factory=list)
    toward: list[int] = field(default_factory=list)
    away: list[int] = field(default_factory=list)
    passed: list[int] = field(default_factory=list)
    years: tuple[int, int] | None = None
    said_years: tuple[int, int] | None = None
    untaught: bool = False
    steps: list[tuple[str, str]] = field(default_factory=list)
    unseen: bool = False

    @property
    def heard(self) -> str:
        """The text that is read."""
        return "".join(self.parts)

    @property
    def asks(self) -> bool:
        """Whether it asks for something otherwise than in words that are read."""
        return self.years is not None or bool(self.toward or self.away)

    def copy(self) -> Request:
        """The same, to be changed."""
        return copy.deepcopy(self)

    def begun(self, text: str, said: str) -> Request:
        """Another request, by somebody who has made this one before.

        Parameters
        ----------
        text : str
            What is read.
        said : str
            What was said, which may have bounds of years in it, too.
        """
        return Request([text] if text else [], steps=[("", said)] if said else [], unseen=self.unseen)

    def go_on(self, spoken: FollowUp, fits: Callable[[str], bool]) -> bool:
        """Add what is said now.

        Parameters
        ----------
        spoken : FollowUp
            That goes on.
        fits : callable
            Whether a text is read to its end.

        Returns
        -------
        bool
            Whether the oldest words had to go for it; what they were understood to ask for stays.
        """
        before = open_ended(self.heard)
        self.passed = []
        if not self.parts:  # it asks for something without a word
            self.parts = [spoken.text]
            return False
        if spoken.text == self.heard:  # said twice
            return False
        self.parts[-1] = open_ended(self.parts[-1])
        self.parts.append(spoken.text[len(before) :])
        n = len(self.parts)
        while len(self.parts) > 1 and not fits(self.heard):
            self.parts = [self.parts[1].lstrip(" ,，"), *self.parts[2:]]
        return len(self.parts) < n

    def turned(self, kind: str, years: np.ndarray) -> tuple[int, int] | None:
        """The years that are older, or newer, than half of a list.

        Parameters
        ----------
        kind : {"older", "newer"}
            Which of the two.
        years : ndarray of int
            Of the list, 0 where none is known.

        Returns
        -------
        tuple of int or None
            The first and the last; None where no year is known.
        """
        if not years.any():
            return None
        middle = int(np.median(years[years > 0]))
        first, last = self.said_years or (FIRST, LAST)
        older, newer = (first, min(last, middle - 1)), (max(first, middle + 1), last)
        return older if kind == "older" else newer

    def turn(self, years: tuple[int, int], said: str) -> None:
        """Ask for years that are older or newer, as :meth:`turned` finds them; bounds that were said stay."""
        of_before = self.said_years
        self.bound(years, said)
        self.said_years = of_before

    def bound(self, years: tuple[int, int] | None, said: str) -> None:
        """Ask for some years alone, or for any; what was said of years before is dropped.

        What :meth:`turn` has set is dropped, too: between older than one list and newer than the next may be nothing.

        Parameters
        ----------
        years : tuple of int or None
            The first and the last.
        said : str
            Words that do so; empty where another step holds them.
        """
        self.years, self.said_years, self.passed = years, years, []
        self.steps = [step for step in self.steps if step[0] != YEARS]
        if said:
            self.steps.append((YEARS, said))

    def allowed(self, by_rules: torch.Tensor | None, years: np.ndarray) -> torch.Tensor | None:
        """What rules allow, and of that what is of the years that are asked for; bool, ``[n_items]``, None for all."""
        if self.years is None:
            return by_rules
        within = torch.from_numpy((years >= self.years[0]) & (years <= self.years[1]))
        return within if by_rules is None else within & by_rules

    def beyond(self, say: Phrases, years: np.ndarray) -> str:
        """A note where no item at all is of the years that are asked for; empty where some are."""
        known = years[years > 0]
        if self.years is None or not len(known) or ((known >= self.years[0]) & (known <= self.years[1])).any():
            return ""
        return say.note("beyond", first=known.min(), last=known.max())

    def notes(self, say: Phrases, titles: list[str]) -> list[str]:
        """What is to be known of every list that answers this, as long as it is so."""
        found = [say.note("more_like", title=titles[item]) for item in self.toward]
        if self.years is not None:
            first, last = self.years
            kind = "until" if first == FIRST else "since" if last == LAST else "within" if first < last else "in_year"
            found.append(say.note(kind, first=first, last=last))
        if self.untaught:
            found.append(say.note("untaught"))
        return found
