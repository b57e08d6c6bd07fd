"""CLINC150: requests to an assistant, each with the one action that answers it.

An *item* is an action (the data set's intents, in ten domains) with its name as
its text; the *instruction* is the request; there is no history. Requests that no
action answers have the item ``oos`` as their target.

References
----------
Larson et al., An Evaluation Dataset for Intent Classification and Out-of-Scope
Prediction, EMNLP 2019 (https://github.com/clinc/oos-eval).
"""

from __future__ import annotations

from logging import getLogger
from pathlib import Path
from typing import Any

from recbole_instructrec.data.converters.atomic import ConversionError, read_json_object, write_atomic_file

OUT_OF_SCOPE = "oos"
_PARTS = {"train": ("train", "oos_train"), "valid": ("val", "oos_val"), "test": ("test", "oos_test")}


def convert(source: Path, output: Path, name: str = "clinc150") -> dict[str, int]:
    """Convert the official file, keeping its split.

    Parameters
    ----------
    source : Path
        Folder with ``data_full.json`` and ``domains.json`` (optional: the intents of each domain).
    output : Path
        Data folder; ``output/name`` is written.
    name : str
        Of the data set.

    Returns
    -------
    dict of str to int
        Counts of items and of the requests of each part.

    Raises
    ------
    ConversionError
        When a file is missing or damaged, or a label does not fit its list; names the list, the entry and the field.
    """
    data = read_json_object(source / "data_full.json")
    domain = _domains(source / "domains.json")
    pairs = {title: _pairs(data, title) for lists in _PARTS.values() for title in lists}
    _check_labels(pairs, domain)
    folder = output / name
    requests: list[tuple[str, str]] = []
    seen: dict[str, None] = {}
    counts: dict[str, int] = {}
    for part, lists in _PARTS.items():
        rows = []
        for text, action in (pair for title in lists for pair in pairs[title]):
            number = str(len(requests) + 1)
            requests.append((number, text))
            seen.setdefault(action)
            rows.append((f"r{number}", action, "", number))
        header = ("user_id:token", "item_id:token", "item_id_list:token_seq", "instruction_id:token")
        counts[part] = write_atomic_file(folder / f"{name}.{part}.inter", header, rows)
    counts["items"] = write_atomic_file(
        folder / f"{name}.item",
        ("item_id:token", "action:token_seq", "domain:token_seq"),
        (
            (action, "out of scope" if action == OUT_OF_SCOPE else action.replace("_", " "), domain.get(action, ""))
            for action in seen
        ),
    )
    write_atomic_file(folder / f"{name}.inst", ("instruction_id:token", "instruction:token_seq"), requests)
    return counts


def _domains(file: Path) -> dict[str, str]:
    """The domain of each intent; empty where there is no file."""
    if not file.is_file():
        getLogger().warning(f"{file.name} is missing: domains stay empty, and intents are those of the training list.")
        return {}
    domain: dict[str, str] = {}
    for title, actions in read_json_object(file).items():
        if not isinstance(actions, list) or not all(isinstance(action, str) for action in actions):
            raise ConversionError(f"{file.name}, field {title}: a list of intents is expected.")
        domain.update(dict.fromkeys(actions, title))
    return domain


def _check_labels(pairs: dict[str, list[tuple[str, str]]], domain: dict[str, str]) -> None:
    """A misspelt intent would become an item, and one in the wrong list an error of measurement."""
    intents = (set(domain) or {action for _, action in pairs["train"]}) - {OUT_OF_SCOPE}
    known = "an intent of domains.json" if domain else "an intent of the training list"
    for title, labelled in pairs.items():
        outside = title.startswith(OUT_OF_SCOPE)
        for number, (_, action) in enumerate(labelled):
            if action not in ({OUT_OF_SCOPE} if outside else intents):
                raise ConversionError(
                    f"data_full.json, field {title}, entry {number}: {OUT_OF_SCOPE if outside else known} is expected, "
                    f"not {action!r}. Correct the entry, or take the official file again."
                )


def _pairs(data: dict[str, Any], title: str) -> list[tuple[str, str]]:
    pairs = data.get(title)
    if not isinstance(pairs, list) or not pairs:
        raise ConversionError(f"data_full.json, field {title}: a list of requests is expected.")
    for number, pair in enumerate(pairs):
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(p, str) and p.strip() for p in pair)):
            raise ConversionError(f"data_full.json, field {title}, entry {number}: [request, intent] is expected.")
    return [(text, action) for text, action in pairs]
