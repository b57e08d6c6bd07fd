"""Feedback as RecBole's atomic files, so that it becomes training data."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from recbole_instructrec.live.errors import LiveError
from recbole_instructrec.live.events import TAKEN, standing

if TYPE_CHECKING:
    from recbole_instructrec.live.recommender import Recommender


def export(recommender: Recommender, folder: Path) -> dict[str, int]:
    """Write what users took, and what they had said, as ``<folder name>.inter`` and ``.inst``.

    Columns have the names of the recommender's data set: user, item, time, rating (empty where there is none), and
    ``instruction_id`` for the text in the ``.inst`` file that was said before. Append the lines to the data set's own
    ``.inter`` file, or use the folder as a data set beside its ``.item`` file.

    Parameters
    ----------
    recommender : Recommender
        Whose store is written.
    folder : Path
        Is made; files in it are replaced.

    Returns
    -------
    dict of str to int
        ``interactions``, ``instructions`` and ``users``.

    Raises
    ------
    LiveError
        When the folder cannot be written.
    """
    dataset, name = recommender.dataset, folder.resolve().name
    texts: dict[str, int] = {}
    users: set[str] = set()
    time = dataset.time_field or "timestamp"
    lines = [f"{dataset.uid_field}:token\t{dataset.iid_field}:token\trating:float\t{time}:float\tinstruction_id:token"]
    for event in standing(recommender.store.events(reactions_only=True)):
        if event.kind not in TAKEN:
            continue
        number = texts.setdefault(event.instruction, len(texts) + 1) if event.instruction else ""
        value = "" if event.value is None else f"{event.value:g}"
        lines.append("\t".join([event.user, event.item or "", value, f"{event.time:.3f}", str(number)]))
        users.add(event.user)
    said = ["instruction_id:token\tinstruction:token_seq", *[f"{n}\t{_cell(text)}" for text, n in texts.items()]]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for suffix, content in (("inter", lines), ("inst", said)):
            temporary = folder / f".{name}.{suffix}.{os.getpid()}"
            temporary.write_text("\n".join(content) + "\n", encoding="utf-8")
            os.replace(temporary, folder / f"{name}.{suffix}")
    except OSError as error:
        raise LiveError(f"export: {folder} cannot be written ({error}). Give another folder.") from error
    return {"interactions": len(lines) - 1, "instructions": len(texts), "users": len(users)}


def _cell(text: str) -> str:
    """A text without what separates cells and lines."""
    return " ".join(text.split())
