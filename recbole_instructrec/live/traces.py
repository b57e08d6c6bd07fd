"""Which files hold a text, looked for by a process of its own.

A process that closes any descriptor of a file gives up all its POSIX locks on it, those of SQLite's open connections
too; another process may then take itself for the last one, remove the write-ahead log, and with it what is written
later (SQLite, How To Corrupt An SQLite Database File, section 2.2). So a store that is in use is never opened here.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

# A name of fewer bytes may stand anywhere by chance; a long text may be split where a page of the file ends.
_TELLING, _PIECE = 8, 48


def traces_in(files: Iterable[Path], texts: Iterable[str], of_others: str = "") -> list[str]:
    """Look for texts in the bytes of files.

    Parameters
    ----------
    files : iterable of Path
        Those that are not there are passed over.
    texts : iterable of str
        A part of one is enough; what is short enough to stand in a file by chance is not looked for.
    of_others : str
        What may stand there, so that parts which occur in it tell nothing.

    Returns
    -------
    list of str
        The files that hold one, and, with the reason, those that could not be read.
    """
    whole = [text.encode("utf-8", "surrogatepass") for text in texts]
    # The last piece of a text overlaps the one before it: a few bytes at its end may stand anywhere.
    begins = ((text, begin) for text in whole for begin in range(0, len(text), _PIECE))
    pieces = {text[max(0, min(begin, len(text) - _PIECE)) :][:_PIECE] for text, begin in begins}
    known = of_others.encode("utf-8", "surrogatepass")
    signs = [piece.hex() for piece in pieces if len(piece) >= _TELLING and piece not in known]
    told = {"files": list(map(str, files)), "pieces": signs}
    command = [sys.executable, "-I", __file__]
    done = subprocess.run(command, input=json.dumps(told), capture_output=True, text=True, check=False)
    if done.returncode:
        why = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        return [f"{file}: could not be searched ({why})" for file in told["files"]]
    return list(json.loads(done.stdout))


def _search() -> None:
    told = json.load(sys.stdin)
    pieces, found = [bytes.fromhex(piece) for piece in told["pieces"]], []
    for file in told["files"]:
        try:
            with open(file, "rb") as stream:
                content = stream.read()
        except FileNotFoundError:
            continue
        except OSError as error:
            found.append(f"{file}: could not be read ({error.strerror})")
            continue
        if any(piece in content for piece in pieces):
            found.append(file)
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    _search()
