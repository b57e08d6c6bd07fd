"""Simultaneous requests in one forward pass, simultaneous reactions in one transaction."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
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
    result: Future[Any] = field(default_factory=Future)
    #: Done when the job is over, however it ended. Nobody else holds it, so that nobody can cancel it.
    over: Future[None] = field(default_factory=Future)


class Batcher:
    """Answers requests and stores reactions, as many at a time as have come meanwhile.

    Nothing waits for a batch to fill: what has come while the last one was under way is the next. Reactions do not
    wait for answers of others. What one conversation says and does is taken in its order.

    Parameters
    ----------
    recommender : Recommender
        Answers.
    largest : int
        Jobs of a batch; 1 for one at a time.
    """

    def __init__(self, recommender: Recommender, largest: int = 32) -> None:
        self._recommender = recommender
        self._asks, self._reactions = _Lane("asks", self._answer, largest), _Lane("reactions", self._store, largest)
        #: Of each conversation with something under way, the last of that.
        self._last: dict[str, Future[None]] = {}
        self._changed, self._closed = threading.Condition(), False

    def ask(self, session: Session, call: Mapping[str, Any]) -> Future[Any]:
        """A request; the future gives the answer or the error."""
        return self._put(self._asks, _Job(session, call))

    def feedback(self, session: Session, call: Mapping[str, Any]) -> Future[Any]:
        """A reaction; the future gives its number when it is on disk."""
        return self._put(self._reactions, _Job(session, call))

    def close(self) -> None:
        """Finish what has come, then stop."""
        with self._changed:
            self._closed = True
            self._changed.wait_for(lambda: not self._last, timeout=60)
        for lane in (self._asks, self._reactions):
            lane.end()

    def _put(self, lane: _Lane, job: _Job) -> Future[Any]:
        name = job.session.name
        with self._changed:
            if self._closed:
                raise Stopping("the service is stopping. Ask again when it is back.")
            before, self._last[name] = self._last.get(name), job.over
        job.over.add_done_callback(lambda over: self._forget(name, over))
        if before is None:
            lane.put(job)
        else:
            before.add_done_callback(lambda _: lane.put(job))
        return job.result

    def _forget(self, name: str, over: Future[None]) -> None:
        with self._changed:
            if self._last.get(name) is over:
                del self._last[name]
                self._changed.notify_all()

    def _answer(self, batch: list[_Job]) -> None:
        asked: list[tuple[_Job, Asked]] = []
        for job in batch:
            with _of_this_alone(job):
                asked.append((job, job.session.prepare(**job.call)))
        answers = self._recommender.answer([(job.session, one) for job, one in asked])
        for (job, _), answer in zip(asked, answers, strict=True):
            job.result.set_result(answer)

    def _store(self, batch: list[_Job]) -> None:
        made: list[tuple[_Job, Event]] = []
        for job in batch:
            with _of_this_alone(job):
                made.append((job, job.session.reaction(**job.call)))
        if not made:
            return
        numbers = self._recommender.store.append([event for _, event in made])
        for (job, event), number in zip(made, numbers, strict=True):
            with _of_this_alone(job):
                job.session.reacted(event, number)
                job.result.set_result(number)


class _Lane:
    """A thread that works through jobs of one kind."""

    def __init__(self, name: str, work: Callable[[list[_Job]], None], largest: int) -> None:
        self._do, self._largest = work, largest
        self._lock, self._ended = threading.Lock(), False
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def put(self, job: _Job) -> None:
        with self._lock:
            if not self._ended:
                self._jobs.put(job)
                return
        if job.result.set_running_or_notify_cancel():  # nobody is left hanging
            job.result.set_exception(Stopping("the service has stopped. Ask again when it is back."))
        job.over.set_result(None)

    def end(self) -> None:
        with self._lock:
            self._ended = True
            self._jobs.put(None)
        self._thread.join(timeout=60)

    def _work(self) -> None:
        while True:
            jobs = [self._jobs.get()]
            while len(jobs) < self._largest and not self._jobs.empty():
                jobs.append(self._jobs.get())
            # Not of those who have gone.
            batch = [job for job in jobs if job and job.result.set_running_or_notify_cancel()]
            try:
                self._do(batch)
            except Exception as error:  # the service goes on, whatever it was
                if not isinstance(error, ValueError):
                    logging.getLogger(__name__).exception("a batch failed")
                for job in batch:
                    if not job.result.done():
                        job.result.set_exception(error)
            for job in filter(None, jobs):
                job.over.set_result(None)
            if None in jobs:
                return


@contextmanager
def _of_this_alone(job: _Job) -> Iterator[None]:
    """An error of one request is no error of the others."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, ValueError):
            logging.getLogger(__name__).exception("a request failed")
        job.result.set_exception(error)
