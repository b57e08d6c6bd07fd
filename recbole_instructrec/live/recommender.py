"""A trained checkpoint that answers, remembers and learns."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recbole_instructrec.live.catalogue import Catalogue
from recbole_instructrec.live.errors import LiveError, StoreError
from recbole_instructrec.live.events import Event, check_name
from recbole_instructrec.live.export import export
from recbole_instructrec.live.learning import Learner, safe_parts
from recbole_instructrec.live.listening import Listener
from recbole_instructrec.live.loading import load
from recbole_instructrec.live.phrases import languages, phrases
from recbole_instructrec.live.ranking import Ranker, Want
from recbole_instructrec.live.reasons import Explainer
from recbole_instructrec.live.rules import Rules
from recbole_instructrec.live.session import Answer, Asked, Session
from recbole_instructrec.live.store import FeedbackStore
from recbole_instructrec.live.traces import traces_in
from recbole_instructrec.live.users import Users, UserState
from recbole_instructrec.live.versions import Versions
from recbole_instructrec.model.threads import in_threads

#: Ratings of feedback, unless told otherwise.
RATING_SCALE = (1.0, 5.0)


@dataclass
class Forgotten:
    """What was erased about a user.

    Attributes
    ----------
    events : int
        Lines of the feedback store.
    versions : list of int
        Versions of the model that had learned from them.
    traces : list of str
        Files in which a byte-wise scan still finds what the user said, or the user's name where that is long enough
        to tell; empty, unless something went wrong.
    in_dataset : int
        Interactions in the data set's own files, which are the operator's: they are not used any more.
    """

    events: int
    versions: list[int]
    traces: list[str]
    in_dataset: int


class Recommender:
    """Answers requests with a trained model.

    Parameters
    ----------
    model : InstructRec
        Trained.
    dataset : InstructRecDataset
        Whole, as it was loaded for the model.
    store : path or FeedbackStore
        Where feedback is kept.
    rating_scale : tuple of float
        Lowest and highest rating of feedback.
    parts : sequence of InstructRecDataset, optional
        Training and validation part, which learning needs; what follows is not used.
    low_precision : bool
        Whether what is said is read in bfloat16, where the processor multiplies that.

    Attributes
    ----------
    working : RLock
        Held while the model is in use.

    Notes
    -----
    Safe to be used by several threads: answers are made one batch at a time.
    """

    def __init__(
        self,
        model: Any,
        dataset: Any,
        store: str | Path | FeedbackStore,
        rating_scale: tuple[float, float] = RATING_SCALE,
        parts: Sequence[Any] | None = None,
        low_precision: bool = True,
    ) -> None:
        if not rating_scale[0] < rating_scale[1]:
            raise LiveError(f"rating_scale: the lowest rating comes first, not {rating_scale}.")
        self.model, self.dataset, self.rating_scale = model.eval(), dataset, rating_scale
        self.catalogue = Catalogue(dataset)
        self.store = (
            store if isinstance(store, FeedbackStore) else FeedbackStore(store, model.made_for.get("catalogue", ""))
        )
        self.parts = parts
        model.low_precision = low_precision
        self.users = Users(dataset, self.catalogue, self.store, rating_scale)
        self.rules = Rules(dataset)
        self.explainer = Explainer(model, self.catalogue)
        #: Languages that requests are understood in.
        self.languages: list[str] = list(dataset.templates.languages)
        self.listener = Listener(self.catalogue, model.reads_whole, self.languages)
        self._ranker = Ranker(model, dataset, self.catalogue.twin)
        self.versions = Versions(model, self.store, safe_parts(model))
        self.working = threading.RLock()
        #: Whether the model has learned that users do not take an item twice.
        self.never_twice = model.repeat is not None and model.repeat.item() < 0.0

    @classmethod
    def load(
        cls,
        checkpoint: str | Path,
        store: str | Path | None = None,
        rating_scale: tuple[float, float] = RATING_SCALE,
        data_path: str | Path | None = None,
    ) -> Recommender:
        """Open a checkpoint.

        Parameters
        ----------
        checkpoint : path
            A ``.pth`` file of InstructRec, or a folder, of which the newest is taken.
        store : path, optional
            File of the feedback store; by default ``<checkpoint>.feedback.sqlite``.
        rating_scale : tuple of float
            Lowest and highest rating of feedback.
        data_path : path, optional
            Folder of the data sets, where that has moved since training.

        Raises
        ------
        CheckpointError, LiveError
            For a file that is no checkpoint of InstructRec, or belongs to other data.
        """
        file, model, dataset, parts = load(checkpoint, data_path)
        return cls(model, dataset, store or f"{file}.feedback.sqlite", rating_scale, parts)

    def session(self, user: str | None = None, name: str | None = None) -> Session:
        """Begin a conversation.

        Parameters
        ----------
        user : str, optional
            A user of the data set or the store, or a new one; without it, somebody new with a random name.
        name : str, optional
            Of the session.
        """
        if name is not None:
            check_name(name, "session")
        if user is not None:
            check_name(user, "user")
        return Session(self, user, name)

    def warm_up(self) -> None:
        """Load and compute what the first request would have to wait for; nothing is stored."""
        list(in_threads(len, ["", ""], self.model.device))  # its threads are made before others look at their number
        want = Want(UserState([1] if len(self.catalogue) else []), "something to begin with")
        with self.working:
            self.explainer(self._ranker([want]), [want.text])

    def answer(self, requests: Sequence[tuple[Session, Asked]]) -> list[Answer]:
        """Answer several prepared requests in one pass; each is stored before it is returned.

        Parameters
        ----------
        requests : sequence of tuple
            Sessions, each at most once, and what :meth:`Session.prepare` gave.

        Returns
        -------
        list of Answer
        """
        if not requests:
            return []
        with self.working:
            version = self.versions.sync()
            ranked = self._ranker([asked.want for _, asked in requests])
            explained = [place for place, (_, asked) in enumerate(requests) if asked.reasons]
            asked_for = [requests[p][1] for p in explained]
            found = self.explainer(
                [ranked[p] for p in explained], [one.heard for one in asked_for], [one.language for one in asked_for]
            )
        reasons = dict(zip(explained, found, strict=True))
        events, last = list[Event](), list[int]()
        for (session, asked), one in zip(requests, ranked, strict=True):
            events += asked.reactions
            events.append(session.asking(asked, one, version))
            last.append(len(events) - 1)
        stored = self.store.append(events)
        numbers = [stored[place] for place in last]
        return [
            session.finish(asked, one, reasons.get(place, []), number, version)
            for place, ((session, asked), one, number) in enumerate(zip(requests, ranked, numbers, strict=True))
        ]

    # --- learning ----------------------------------------------------------------------------

    def learn(self, **options: Any) -> dict[str, Any]:
        """Learn from the feedback that has come since the version in use, see :class:`~.learning.Learner`.

        Returns
        -------
        dict
            ``version`` (the new one, or the one in use where nothing was kept), ``kept``, ``note``, and figures of
            the guard before and after.
        """
        return Learner(self, **options).learn()

    def forget(self, user: str) -> Forgotten:
        """Erase everything about a user: events, what is held in memory, and versions that learned from them."""
        name = check_name(user, "user")
        with self.working:
            own, learned = self.store.forget(name)
            self.users.forget(name)
            self.versions.remove({one["file"] for one in learned})
            with self.store.held("learning") as alone:
                if alone:  # whoever learns now removes what it may not record
                    self.versions.remove({file.name for file in self.versions.files()})
            with suppress(StoreError):  # a version that cannot be read is no reason to remember; answers will say so
                self.versions.sync()
        left = self.store.events()
        others = "\n".join({text for event in left for text in (event.user, event.session, event.instruction)})
        said = {name, *(event.instruction for event in own)}
        traces = traces_in([self.store.file, *self._beside(), *self.versions.files()], said, others)
        if again := sum(event.user == name for event in left):
            traces.append(f"{self.store.file}: {again} events")
        return Forgotten(len(own), [one["id"] for one in learned], traces, self.users.in_dataset(name))

    def _beside(self) -> list[Path]:
        return [Path(f"{self.store.file}{suffix}") for suffix in ("-wal", "-shm", "-journal")]

    def export(self, folder: str | Path) -> dict[str, int]:
        """Write the feedback as atomic files, see :func:`recbole_instructrec.live.export.export`."""
        return export(self, Path(folder))

    def _called(self, language: str) -> dict[str, str]:
        """Attributes that have another name in a language."""
        called = {name: phrases(language).attribute(name) for name in self.catalogue.attribute_names}
        return {name: other for name, other in called.items() if other != name}

    def about(self) -> dict[str, Any]:
        """What is being served, as plain data."""
        return {
            "dataset": self.dataset.dataset_name,
            "items": len(self.catalogue),
            "attributes": self.catalogue.attribute_names,
            "columns": self.rules.columns,
            "rating_scale": list(self.rating_scale),
            "never_twice": self.never_twice,
            "languages": self.languages,
            "names": {language: self._called(language) for language in languages()},
            "version": self.store.current,
            "time": time.time(),
        }
