"""``instructrec serve``: start the service."""

from __future__ import annotations

import errno
import ipaddress
import secrets
import socket
from typing import Any

from recbole_instructrec.live.errors import LiveError
from recbole_instructrec.live.recommender import Recommender

_LOOPBACK = {"localhost", "127.0.0.1", "[::1]"}


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_address(host: str, port: int, token: str | None) -> None:
    """Refuse where nothing can listen, or should not.

    Parameters
    ----------
    host, port, token
        As of :func:`serve`.

    Raises
    ------
    LiveError
        For an address that others reach, without a token, or one that is taken or is none.
    """
    if not is_loopback(host) and not token:
        raise LiveError(
            f"--host={host} can be reached by others, so a token is needed: --token={secrets.token_urlsafe(16)} "
            "(that one is fresh), and send it as Authorization: Bearer TOKEN."
        )
    if token is not None and len(token) < 16:
        raise LiveError("--token: at least 16 characters, so that nobody guesses it.")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.create_server((host, port), family=family):
            pass
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        why = "something listens there already" if taken else error.strerror or error
        raise LiveError(f"--host={host} --port={port}: {why}. Give another --{'port' if taken else 'host'}.") from error


def serve(
    recommender: Recommender, host: str, port: int, token: str | None, names: list[str], rate: float, **options: Any
) -> int:
    """Serve until Ctrl-C.

    Parameters
    ----------
    recommender : Recommender
        Answers.
    host, port
        Where to listen.
    token : str or None
        Needed unless ``host`` is of this machine alone.
    names : list of str
        Further names that the service is called by.
    rate : float
        Requests a second that each client address may send, 0 for no bound.
    **options
        For :func:`~recbole_instructrec.live.serve.app.create_app`.

    Returns
    -------
    int
        0.

    Raises
    ------
    LiveError
        For an address that :func:`check_address` refuses; where the extra ``serve`` is missing.
    """
    check_address(host, port, token)
    try:
        import uvicorn

        from recbole_instructrec.live.serve.app import create_app
        from recbole_instructrec.live.serve.guard import Limits
    except ImportError as error:
        raise LiveError(
            f"the package {error.name} is missing: pip install -c constraints.txt -e '.[offline,serve]'"
        ) from error
    # Whoever listens to all addresses is called by names that only the operator knows.
    hosts = {*_LOOPBACK, host, *names} if is_loopback(host) or names else None
    recommender.warm_up()
    app = create_app(recommender, token, hosts, Limits(rate=rate), **options)
    shown = f"http://{'localhost' if is_loopback(host) else host}:{port}/"
    told = f"#token={token}" if token else f"   (the API: {shown}docs)"
    print(f"{shown}{told}   Ctrl-C ends it.", flush=True)
    # A header that names another client would make the rate of each address another's.
    uvicorn.run(app, host=host, port=port, log_level="warning", access_log=False, proxy_headers=False)
    return 0
