"""Simultaneous requests in one forward pass and one transaction."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from recbole_instructrec.live.errors import LiveError
from recbole_instructrec.live.events import Event
from recbole_instructrec.live.recommender import Recommender
from recbole_instructrec.live.session import Asked, Session


class Stopping(LiveError):
    """The service is about to end."""

    status = 503


@dataclass
class _Job:
    session: Session
    call: Mapping[str, Any]
    asks: bool
    result: Future[Any] = field(default_factory=Future)


class Batcher:
    """Answers requests and stores reactions, as many at a time as have come meanwhile.

    Nothing waits for a batch to fill: what has come while the last one was under way is the next.

    Parameters
    ----------
    recommender : Recommender
        Answers.
    largest : int
        Jobs of a batch; 1 for one at a time.
    """

    def __init__(self, recommender: Recommender, largest: int = 32) -> None:
        self._recommender, self._largest, self._closed = recommender, largest, False
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="batcher", daemon=True)
        self._thread.start()

    def ask(self, session: Session, call: Mapping[str, Any]) -> Future[Any]:
        """A request; the future gives the answer or the error."""
        return self._put(_Job(session, call, True))

    def feedback(self, session: Session, call: Mapping[str, Any]) -> Future[Any]:
        """A reaction; the future gives its number when it is on disk."""
        return self._put(_Job(session, call, False))

    def close(self) -> None:
        """Finish what has come, then stop."""
        self._closed = True
        self._jobs.put(None)
        self._thread.join(timeout=60)

    def _put(self, job: _Job) -> Future[Any]:
        if self._closed:
            raise Stopping("the service is stopping. Ask again when it is back.")
        self._jobs.put(job)
        return job.result

    def _work(self) -> None:
        later: list[_Job] = []
        stop = False
        while True:
            jobs: list[_Job | None] = [*later] or [self._jobs.get()]
            while len(jobs) < self._largest and not self._jobs.empty():
                jobs.append(self._jobs.get())
            stop = stop or None in jobs
            batch, later, sessions = list[_Job](), list[_Job](), set[str]()
            for job in filter(None, jobs):  # of one conversation one after the other
                (later if job.session.name in sessions else batch).append(job)
                sessions.add(job.session.name)
            try:
                self._answer(batch)
            except Exception as error:  # the service goes on, whatever it was
                logging.getLogger(__name__).exception("a batch failed")
                for job in batch:
                    if not job.result.done():
                        job.result.set_exception(error)
            if stop and not later and self._jobs.empty():
                return

    def _answer(self, batch: list[_Job]) -> None:
        asked: list[tuple[_Job, Asked]] = []
        made: list[tuple[_Job, Event]] = []
        for job in batch:
            if not job.result.set_running_or_notify_cancel():  # whoever asked has gone
                continue
            try:
                if job.asks:
                    asked.append((job, job.session.prepare(**job.call)))
                else:
                    made.append((job, job.session.reaction(**job.call)))
            except Exception as error:  # of this request alone
                if not isinstance(error, ValueError):
                    logging.getLogger(__name__).exception("a request failed")
                job.result.set_exception(error)
        try:
            answers, numbers = self._recommender.answer(
                [(job.session, one) for job, one in asked], [event for _, event in made]
            )
        except ValueError as error:
            for job, _ in [*asked, *made]:
                job.result.set_exception(error)
            return
        for (job, event), number in zip(made, numbers, strict=True):
            try:
                job.session.reacted(event, number)
                job.result.set_result(number)
            except ValueError as error:
                job.result.set_exception(error)
        for (job, _), answer in zip(asked, answers, strict=True):
            job.result.set_result(answer)
