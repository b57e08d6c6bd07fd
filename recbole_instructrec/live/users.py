"""What a user did: the data set's interactions, then the reactions of the feedback store."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from recbole_instructrec.live.catalogue import Catalogue
from recbole_instructrec.live.events import DISLIKE, TAKEN, UNDO, Event, joins, liking, standing
from recbole_instructrec.live.store import FeedbackStore

_KEPT = 10_000  # users whose state is held in memory


@dataclass
class UserState:
    """What is known of a user at one moment.

    Attributes
    ----------
    items : list of int
        Internal ids of what the user took, in order.
    disliked : list of int
        What the user did not like, in order.
    last_time : float or None
        When the user last did something.
    code : int
        RecBole's internal user id, 0 for somebody whom the data set does not know.
    reacted_to : set of int
        Items of reactions that were not taken back.
    """

    items: list[int] = field(default_factory=list)
    disliked: list[int] = field(default_factory=list)
    last_time: float | None = None
    code: int = 0
    reacted_to: set[int] = field(default_factory=set)

    def copy(self) -> UserState:
        """The same, to be changed."""
        return replace(self, items=[*self.items], disliked=[*self.disliked], reacted_to={*self.reacted_to})


class Users:
    """States of users, kept up to date with the store, also with what other processes write there.

    Parameters
    ----------
    dataset : InstructRecDataset
        Whole, not split.
    catalogue : Catalogue
        For the items of events.
    store : FeedbackStore
        For reactions.
    scale : tuple of float
        Lowest and highest rating.

    Attributes
    ----------
    codes : dict of str to int
        RecBole's internal ids of the data set's users.
    """

    def __init__(self, dataset: Any, catalogue: Catalogue, store: FeedbackStore, scale: tuple[float, float]) -> None:
        self._catalogue, self._store, self._scale = catalogue, store, scale
        tokens = dataset.field2id_token[dataset.uid_field]
        self.codes = {str(token): code for code, token in enumerate(tokens) if code}
        user = dataset.history.user.numpy()
        self._item, self._time = dataset.history.item, dataset.history.time
        # Rows of a data set with item lists are histories of their own; the longest is the user's.
        block = np.flatnonzero(np.r_[True, dataset.history.user_start[1:] != dataset.history.user_start[:-1]])
        length = np.diff(np.r_[block, len(user)])
        self._block: dict[int, tuple[int, int]] = {}
        for start, n in zip(block.tolist(), length.tolist(), strict=True):
            code = int(user[start])
            if n >= self._block.get(code, (0, 0))[1]:
                self._block[code] = (start, n)
        #: How often the user had been forgotten, number of the last event, what is known.
        self._states: OrderedDict[str, tuple[int, int, UserState]] = OrderedDict()
        self._lock = threading.Lock()

    def __contains__(self, user: str) -> bool:
        return user in self.codes and not self._store.times_forgotten(user)

    def state(self, user: str) -> UserState:
        """What is known of a user now; not to be changed by the caller."""
        with self._lock:
            times = self._store.times_forgotten(user)
            known, last, state = self._states.pop(user, (times, 0, None))
            if state is None or known != times:  # forgotten since, perhaps by another process
                last, state = 0, self._from_dataset(user)
            new = self._store.events(user, last, reactions_only=True)
            if any(event.kind == UNDO for event in new):  # what it takes back counts already
                new = self._store.events(user, reactions_only=True)
                state = self._from_dataset(user)
            last = new[-1].id if new else last
            self._replay(state, new)
            self._states[user] = (times, last, state)
            if len(self._states) > _KEPT:
                self._states.popitem(last=False)
            return state

    def reactions(self, user: str) -> list[Event]:
        """Reactions of a user that were not taken back, in their order."""
        return standing(self._store.events(user, reactions_only=True))

    def ever_reacted_to(self, user: str) -> set[str]:
        """Items (ids) that a user reacted to, also where that was taken back."""
        return {event.item for event in self._store.events(user, reactions_only=True) if event.item}

    def after(self, user: str, state: UserState, events: Sequence[Event]) -> UserState:
        """A user's state as it will be when some reactions are stored."""
        if any(event.kind == UNDO for event in events):
            return self._replay(self._from_dataset(user), [*self._store.events(user, reactions_only=True), *events])
        return self._replay(state.copy(), events)

    def before_feedback(self, user: str) -> UserState:
        """What the data set alone knows of a user; the caller's to change."""
        return self._from_dataset(user)

    def in_dataset(self, user: str) -> int:
        """Number of a user's interactions in the data set's own files."""
        return self._block.get(self.codes.get(user, 0), (0, 0))[1]

    def forget(self, user: str) -> None:
        """Drop what is held in memory of a user."""
        with self._lock:
            self._states.pop(user, None)

    def _from_dataset(self, user: str) -> UserState:
        code = self.codes.get(user, 0)
        if not code or code not in self._block or self._store.times_forgotten(user):
            return UserState()
        start, n = self._block[code]
        items = [item for item in self._item[start : start + n].tolist() if item]
        time = None if self._time is None else float(self._time[start + n - 1])
        return UserState(items, [], time, code)

    def _replay(self, state: UserState, events: Sequence[Event]) -> UserState:
        """A state, changed by what stands of some reactions."""
        for event in standing(events):
            self._add(state, event)
        return state

    def _add(self, state: UserState, event: Event) -> None:
        item = self._catalogue.index.get(event.item or "")
        if item is None:  # left the catalogue since
            return
        state.reacted_to.add(item)
        # A click, then a rating: taken once.
        if joins(event.kind, event.value, self._scale) and state.items[-1:] != [item]:
            state.items.append(item)
        likes = liking(event.kind, event.value, self._scale)
        if likes < 0 and item not in state.disliked:
            state.disliked.append(item)
        if likes > 0 and item in state.disliked:
            state.disliked.remove(item)
        if event.kind in TAKEN or event.kind == DISLIKE:
            state.last_time = event.time
