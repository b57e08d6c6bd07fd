"""The API: sessions that ask and react, versions, and what is known of a user."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import asynccontextmanager
from importlib import resources
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from recbole_instructrec.live.errors import LiveError, NotFound
from recbole_instructrec.live.recommender import Recommender
from recbole_instructrec.live.serve import schemas
from recbole_instructrec.live.serve.batcher import Batcher
from recbole_instructrec.live.serve.guard import Guard, Limits
from recbole_instructrec.live.session import Session
from recbole_instructrec.version import __version__

_MOST_SESSIONS = 10_000

_ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": schemas.Error, "description": "The body cannot be read."},
    401: {"model": schemas.Error, "description": "The token is missing or wrong."},
    404: {"model": schemas.Error, "description": "Something that is named is not there."},
    413: {"model": schemas.Error, "description": "The request is too large."},
    422: {"model": schemas.Error, "description": "Something in the request cannot be."},
    429: {"model": schemas.Error, "description": "Too many requests."},
    503: {"model": schemas.Error, "description": "The service is stopping."},
    507: {"model": schemas.Error, "description": "The feedback cannot be stored."},
}


class Service:
    """What the endpoints share.

    Parameters
    ----------
    recommender : Recommender
        Answers.
    largest_batch : int
        Requests answered at a time.
    learn_every : int
        Reactions after which the model learns by itself; 0 for never.
    """

    def __init__(self, recommender: Recommender, largest_batch: int = 32, learn_every: int = 0) -> None:
        self.recommender = recommender
        self.batcher = Batcher(recommender, largest_batch)
        self.sessions: OrderedDict[str, Session] = OrderedDict()
        self._learn_every, self._reactions = learn_every, 0
        self._learning, self._lock = threading.Lock(), threading.Lock()
        self.last = ""

    def session(self, name: str) -> Session:
        """A session that is open.

        Raises
        ------
        NotFound
            When it is not, or not any more.
        """
        with self._lock:
            found = self.sessions.get(name)
            if found is not None:
                self.sessions.move_to_end(name)
                return found
        raise NotFound("session: there is none of that name, or it has ended. Begin a new one: POST /api/sessions.")

    def open(self, user: str | None) -> Session:
        """Begin a session; the one that was idle longest makes room."""
        made = self.recommender.session(user)
        with self._lock:
            self.sessions[made.name] = made
            if len(self.sessions) > _MOST_SESSIONS:
                self.sessions.popitem(last=False)
        return made

    def close_of(self, user: str) -> None:
        """End all sessions of a user."""
        with self._lock:
            for name in [name for name, session in self.sessions.items() if session.user == user]:
                del self.sessions[name]

    @property
    def learning(self) -> bool:
        """Whether the model is learning now."""
        return self._learning.locked()

    def reacted(self) -> None:
        """Count a reaction; after enough of them the model learns, in the background."""
        self._reactions += 1
        if self._learn_every and self._reactions % self._learn_every == 0:
            self.learn()

    def learn(self) -> bool:
        """Learn in the background; False where that is under way already."""
        if not self._learning.acquire(blocking=False):
            return False
        threading.Thread(target=self._learn, name="learning", daemon=True).start()
        return True

    def _learn(self) -> None:
        try:
            self.last = str(self.recommender.learn()["note"])
        except ValueError as error:
            self.last = str(error)
        except Exception:
            logging.getLogger(__name__).exception("learning failed")
            self.last = "Learning failed; the version in use stays. The log says why."
        finally:
            self._learning.release()


def create_app(
    recommender: Recommender,
    token: str | None = None,
    hosts: set[str] | None = None,
    limits: Limits | None = None,
    largest_batch: int = 32,
    learn_every: int = 0,
) -> FastAPI:
    """The application.

    Parameters
    ----------
    recommender : Recommender
        Answers.
    token, hosts, limits
        See :class:`~recbole_instructrec.live.serve.guard.Guard`.
    largest_batch, learn_every
        See :class:`Service`.

    Returns
    -------
    FastAPI
    """
    service = Service(recommender, largest_batch, learn_every)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> Any:
        yield
        await asyncio.to_thread(service.batcher.close)

    app = _described(lifespan)
    app.state.service = service
    page = Path(str(resources.files("recbole_instructrec.live.serve") / "page"))
    app.mount("/static", StaticFiles(directory=page), name="static")

    @app.exception_handler(LiveError)
    async def live_error(_: Request, error: LiveError) -> JSONResponse:
        return JSONResponse({"error": str(error)}, error.status)

    @app.exception_handler(ValueError)
    async def value_error(_: Request, error: ValueError) -> JSONResponse:
        return JSONResponse({"error": str(error)}, 422)

    @app.exception_handler(RequestValidationError)
    async def not_valid(_: Request, error: RequestValidationError) -> JSONResponse:
        broken = [one for one in error.errors() if one["type"] == "json_invalid"]
        if broken:
            why = broken[0].get("ctx", {}).get("error", broken[0]["msg"])
            return JSONResponse({"error": f"the body is no JSON: {why} at character {broken[0]['loc'][-1]}."}, 400)
        told = [f"{'.'.join(map(str, one['loc'][1:])) or 'body'}: {one['msg']}" for one in error.errors()[:5]]
        return JSONResponse({"error": "; ".join(told)}, 422)

    @app.exception_handler(HTTPException)
    async def http_error(_: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({"error": str(error.detail)}, error.status_code, headers=error.headers)

    @app.exception_handler(Exception)
    async def unexpected(_: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"error": "something went wrong here; the log says what. Nothing was lost."}, 500)

    @app.get("/", include_in_schema=False)
    async def index() -> FileResponse:
        return FileResponse(page / "index.html")

    @app.get("/favicon.ico", include_in_schema=False)
    async def icon() -> FileResponse:
        return FileResponse(page / "icon.svg", media_type="image/svg+xml")

    @app.get("/health")
    async def health() -> dict[str, str]:
        """Whether the service answers."""
        return {"status": "ok", "version": __version__}

    @app.get("/api/about", responses={401: _ERRORS[401], 429: _ERRORS[429]})
    def about() -> schemas.About:
        """What is served."""
        return schemas.About(**recommender.about())

    @app.post("/api/sessions", status_code=201, responses=_ERRORS)
    def begin(body: schemas.NewSession) -> schemas.Opened:
        """Begin a conversation."""
        session = service.open(body.user)
        history = [schemas.ShownItem(**one) for one in session.history()]
        known = session.user in recommender.users or bool(history)
        reactions = [schemas.ReactedItem(**one) for one in session.reactions()]
        return schemas.Opened(
            session=session.name, user=session.user, known=known, history=history, reactions=reactions
        )

    @app.get("/api/sessions/{session}/history", responses=_ERRORS)
    def history(session: str) -> list[schemas.ShownItem]:
        """What the user took, the latest first."""
        return [schemas.ShownItem(**one) for one in service.session(session).history()]

    @app.get("/api/sessions/{session}/reactions", responses=_ERRORS)
    def reactions(session: str) -> list[schemas.ReactedItem]:
        """What the user said of items and did not take back, the latest item first."""
        return [schemas.ReactedItem(**one) for one in service.session(session).reactions()]

    @app.post("/api/sessions/{session}/ask", responses=_ERRORS, response_model=schemas.Answered)
    async def ask(session: str, body: schemas.Ask) -> JSONResponse:
        """Ask for a list."""
        future = service.batcher.ask(service.session(session), body.model_dump())
        answer = await asyncio.wrap_future(future)
        for _ in answer.reactions:
            service.reacted()
        return JSONResponse(answer.plain())  # plain data already: nothing to check again

    @app.post("/api/sessions/{session}/feedback", status_code=201, responses=_ERRORS)
    async def feedback(session: str, body: schemas.Reaction) -> schemas.Stored:
        """React to an item; the answer comes when the reaction is on disk."""
        future = service.batcher.feedback(service.session(session), body.model_dump())
        number = await asyncio.wrap_future(future)
        service.reacted()
        return schemas.Stored(event=number)

    @app.get("/api/versions", responses={401: _ERRORS[401], 429: _ERRORS[429]})
    def versions() -> schemas.Versions:
        """All versions of the weights."""
        found = [schemas.Version(**{**one, "about": _short(one["about"])}) for one in recommender.versions.every()]
        return schemas.Versions(versions=found, learning=service.learning, last=service.last)

    @app.post("/api/versions/{number}/use", responses=_ERRORS)
    def use(number: int) -> schemas.Version:
        """Put a version to use: undo or redo what was learned."""
        with recommender.working:
            recommender.versions.use(number)
        found = next(one for one in recommender.versions.every() if one["id"] == number)
        return schemas.Version(**{**found, "about": _short(found["about"])})

    @app.post("/api/learn", status_code=202, responses={401: _ERRORS[401], 429: _ERRORS[429]})
    def learn() -> dict[str, bool]:
        """Learn from the feedback that has come, in the background."""
        return {"started": service.learn()}

    @app.delete("/api/users/{user:path}", responses=_ERRORS)
    def forget(user: str) -> schemas.Erased:
        """Erase everything about a user."""
        service.close_of(user)
        found = recommender.forget(user)
        return schemas.Erased(**found.__dict__)

    app.add_middleware(Guard, limits=limits or Limits(), token=token, hosts=hosts)
    return app


def _described(lifespan: Any) -> FastAPI:
    """An application whose description can be read without a network, where the package for that is there."""
    make: Callable[..., FastAPI] = FastAPI
    try:
        from fastapi_offline import FastAPIOffline

        make = FastAPIOffline
    except ImportError:
        logging.getLogger(__name__).warning("/docs needs a network: pip install fastapi-offline")
    return make(
        title="recbole-instructrec",
        version=__version__,
        description="Ask in words, get a list with reasons, react, and the model learns.",
        lifespan=lifespan,
        redoc_url=None,
    )


def _short(about: dict[str, Any]) -> dict[str, Any]:
    """What a version tells, without the numbers of its events."""
    return {name: value for name, value in about.items() if name != "events"}
