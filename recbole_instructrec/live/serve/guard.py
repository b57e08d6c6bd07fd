"""What stands before the application: who may ask, how much and how often."""

from __future__ import annotations

import hmac
import json
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_MOST_CLIENTS = 10_000

_HEADERS = [
    (b"content-security-policy", b"default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-cache"),  # the page of another version would speak another language
]
# The page of the API's description brings a script of its own.
_DOCS = b"default-src 'self'; style-src 'self' 'unsafe-inline'; script-src 'self' 'unsafe-inline'; img-src 'self' data:"

_OPEN = {"/", "/health", "/static/app.js", "/static/style.css", "/static/icon.svg", "/favicon.ico"}


@dataclass(frozen=True)
class Limits:
    """What a client may do.

    Attributes
    ----------
    body : int
        Bytes of a request.
    rate : float
        Requests a second, in the long run; 0 for no bound.
    burst : int
        Requests at once.
    """

    body: int = 65_536
    rate: float = 20.0
    burst: int = 100


class Guard:
    """Refuses requests that are too large, too many, without the token, or sent to another host.

    Parameters
    ----------
    app : ASGI application
        What is guarded.
    limits : Limits
        Of each client address.
    token : str or None
        Must be given as ``Authorization: Bearer TOKEN`` for all but the page itself; None for nobody's.
    hosts : set of str or None
        Names that the service is called by; None for any. A page of somebody else's that has made its own name lead
        here is refused by it.
    """

    def __init__(self, app: Any, limits: Limits, token: str | None, hosts: set[str] | None) -> None:
        self._app, self._limits, self._token, self._hosts = app, limits, token, hosts
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        refused = self._refused(scope, headers)
        if refused:
            await _answer(send, *refused)
            return
        taken = 0

        async def counted() -> MutableMapping[str, Any]:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self._limits.body:
                raise _TooLong  # which the application may take for a broken body
            return message

        async def dressed(message: MutableMapping[str, Any]) -> None:
            if taken > self._limits.body:
                return
            if message["type"] == "http.response.start":
                extra = list(_HEADERS)
                if scope["path"].startswith("/docs"):
                    extra[0] = (extra[0][0], _DOCS)
                message["headers"] = [*message.get("headers", []), *extra]
            await send(message)

        with suppress(_TooLong):
            await self._app(scope, counted, dressed)
        if taken > self._limits.body:
            await _answer(send, 413, self._too_long())

    def _refused(self, scope: Scope, headers: dict[bytes, bytes]) -> tuple[int, str] | None:
        """Status and reason, for a request that is not let in."""
        host = headers.get(b"host", b"").decode("latin-1").lower()
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        if self._hosts is not None and name not in self._hosts:
            return 403, f"this service is not called {name!r:.80}. Use the address it printed when it started."
        if scope["method"] not in ("GET", "HEAD") and not _from_here(headers, host):
            return 403, "this comes from a page of somebody else's. Send it from the page of this service."
        if not self._let_in(str((scope.get("client") or ("?",))[0])):
            return 429, f"more than {self._limits.rate:g} requests a second. Wait a moment, then go on."
        length = headers.get(b"content-length", b"0")
        if not length.isdigit():
            return 400, "content-length: a number is expected."
        if int(length) > self._limits.body:
            return 413, self._too_long()
        if self._token is not None and scope["path"] not in _OPEN:
            given = headers.get(b"authorization", b"")
            if not hmac.compare_digest(given, b"Bearer " + self._token.encode()):
                return 401, "a token is needed: send the header Authorization: Bearer TOKEN."
        return None

    def _too_long(self) -> str:
        return f"a request has at most {self._limits.body:,} bytes. Say it in fewer words."

    def _let_in(self, client: str) -> bool:
        """A bucket of tokens for each client address."""
        if not self._limits.rate:
            return True
        now = time.monotonic()
        left, then = self._left.pop(client, (float(self._limits.burst), now))
        left = min(float(self._limits.burst), left + (now - then) * self._limits.rate)
        allowed = left >= 1.0
        self._left[client] = (left - allowed, now)
        if len(self._left) > _MOST_CLIENTS:
            self._left.popitem(last=False)
        return allowed


def _from_here(headers: dict[bytes, bytes], host: str) -> bool:
    """Whether a request that changes something was sent by a page of this service, or by no page at all."""
    if headers.get(b"sec-fetch-site", b"none") not in (b"none", b"same-origin"):
        return False
    origin = headers.get(b"origin")
    return origin is None or origin.decode("latin-1").lower().partition("://")[2] == host


class _TooLong(Exception):
    """The body goes on beyond the limit."""


async def _answer(send: Send, status: int, error: str) -> None:
    body = json.dumps({"error": error}).encode()
    head = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 401:
        head.append((b"www-authenticate", b"Bearer"))
    if status == 429:
        head.append((b"retry-after", b"1"))
    await send({"type": "http.response.start", "status": status, "headers": [*head, *_HEADERS]})
    await send({"type": "http.response.body", "body": body})
