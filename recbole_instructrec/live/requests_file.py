"""``instructrec recommend``: one request, or a file of them, JSON lines in and out."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from recbole_instructrec.live.errors import LiveError
from recbole_instructrec.live.recommender import Recommender
from recbole_instructrec.live.session import Asked, Session

_AT_A_TIME = 64

_KEYS = {"user", "text", "k", "must", "must_not", "without", "hide_seen", "diversity", "reasons", "language", "id"}


def check_files(source: Path, output: Path | None) -> None:
    """Refuse what cannot be read or written, before anything is loaded.

    Raises
    ------
    LiveError
        When ``source`` is no file that can be read, or ``output`` lies where none can be written.
    """
    try:
        with open(source, "rb"):
            pass
    except OSError as error:
        raise _unreadable(source, error) from error
    if output is None:
        return
    folder = next(one for one in output.absolute().parents if one.exists())
    if output.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise LiveError(f"{output} cannot be written. Give a file in a folder that can.")


def _unreadable(source: Path, error: OSError) -> LiveError:
    return LiveError(f"{source} cannot be read ({error.strerror or error}). Give a file with a JSON object a line.")


def answer_file(recommender: Recommender, source: Path, output: Path | None, k: int) -> tuple[int, int]:
    """Answer a file of requests.

    Parameters
    ----------
    recommender : Recommender
        Answers.
    source : Path
        A JSON object a line: ``text``, and if wished ``user``, ``k``, ``must``, ``must_not``, ``without``,
        ``hide_seen``, ``diversity``, ``reasons``, ``language`` and ``id``.
    output : Path or None
        A JSON object a line, in the same order, with ``line`` (number of the request's line) and the request's ``id``:
        the answer, or ``error``. Written under another name until it is whole. None for standard output.
    k : int
        Length of lists whose request does not say.

    Returns
    -------
    tuple of int
        Number of answers and of errors.

    Raises
    ------
    LiveError
        When a file cannot be read or written.
    """
    try:
        lines = source.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError as error:
        raise _unreadable(source, error) from error
    counts = [0, 0]
    if output is None:
        _write(recommender, lines, k, sys.stdout, counts)
        return counts[0], counts[1]
    try:
        temporary = output.with_name(f".{output.name}.{os.getpid()}.tmp")
        try:
            output.parent.mkdir(parents=True, exist_ok=True)
            with open(temporary, "w", encoding="utf-8") as stream:
                _write(recommender, lines, k, stream, counts)
            os.replace(temporary, output)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise LiveError(f"{output} cannot be written ({error}). Give another place, or free some space.") from error
    return counts[0], counts[1]


def _write(recommender: Recommender, lines: list[str], k: int, stream: TextIO, counts: list[int]) -> None:
    bar = tqdm(total=len(lines), desc="Answer requests", ncols=100, disable=len(lines) < 2 or not sys.stderr.isatty())
    for part in _parts(lines):
        told: dict[int, dict[str, Any]] = {}
        asked: list[tuple[int, Session, Asked]] = []
        for number, line in part:
            try:
                request = _request(line)
                told[number] = {"line": number, **({"id": request["id"]} if "id" in request else {})}
                request.pop("id", None)
                session = recommender.session(request.pop("user", None))
                asked.append((number, session, session.prepare(**{"k": k, **request})))
            except ValueError as error:
                told.setdefault(number, {"line": number})["error"] = str(error)
        answers = recommender.answer([(session, one) for _, session, one in asked])
        for (number, _, _), answer in zip(asked, answers, strict=True):
            told[number].update(answer.plain())
        for number, _ in part:
            counts["error" in told[number]] += 1
            stream.write(json.dumps(told[number], ensure_ascii=False) + "\n")
        bar.update(len(part))
    bar.close()


def _parts(lines: list[str]) -> Iterator[list[tuple[int, str]]]:
    numbered = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    for begin in range(0, len(numbered), _AT_A_TIME):
        yield numbered[begin : begin + _AT_A_TIME]


def _request(line: str) -> dict[str, Any]:
    try:
        request = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        raise LiveError(f"this is no JSON: {error}.") from None
    if not isinstance(request, dict):
        raise LiveError("a JSON object is expected.")
    unknown = set(request) - _KEYS
    if unknown:
        raise LiveError(f"unknown: {', '.join(sorted(unknown))}. There are: {', '.join(sorted(_KEYS))}.")
    return request
