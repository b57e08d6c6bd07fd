"""Which sources a data set gives, and how training mixes them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from recbole_instructrec.data.history import History
from recbole_instructrec.data.instructions.bank import InstructionBank, InstructionError
from recbole_instructrec.data.instructions.file import FileSource, read_instruction_file
from recbole_instructrec.data.instructions.history import HistorySource
from recbole_instructrec.data.instructions.intent import IntentSource
from recbole_instructrec.data.instructions.source import NoInstruction, Source
from recbole_instructrec.data.instructions.wish import KINDS
from recbole_instructrec.options import listed

SOURCES = ("none", "history", "intent", "file", "shuffled")


def mixture(shares: Mapping[str, float], available: Iterable[str]) -> tuple[list[str], np.ndarray]:
    """The training sources and their shares; what a data set cannot give falls to ``none``.

    Parameters
    ----------
    shares : mapping of str to float
        ``instruction_mix``.
    available : iterable of str
        Sources of this data set.

    Returns
    -------
    tuple
        Names and cumulated shares.

    Raises
    ------
    InstructionError
        For an unknown source or a share that is negative.
    """
    usable = set(available)
    weights = dict.fromkeys(("none",), 0.0)
    for name, share in shares.items():
        if name not in SOURCES or name == "shuffled":
            raise InstructionError(
                f"instruction_mix: {name!r} is not a training source; use {', '.join(SOURCES[:-1])}."
            )
        if not isinstance(share, (int, float)) or not 0 <= share < math.inf:
            raise InstructionError(
                f"instruction_mix: the share of {name!r} must be a number of at least 0, not {share!r}."
            )
        weights[name if name in usable else "none"] = weights.get(name if name in usable else "none", 0.0) + share
    total = sum(weights.values())
    if total <= 0:
        raise InstructionError("instruction_mix: at least one share must be above 0.")
    return list(weights), np.cumsum(list(weights.values())) / total


def wanted_sources(config: Any) -> set[str]:
    """Sources that training, the test result or the table of rows needs; others are not made up and encoded."""
    shares = config["instruction_mix"] or {}
    wanted = {name for name, share in shares.items() if share} | {config["instruction_source"]}
    wanted |= set(listed(config["report_rows"]))
    return wanted | {"intent", "file"} if "shuffled" in wanted else wanted


def _kinds(shares: Any) -> dict[str, float]:
    """``instruction_kinds``, checked."""
    if not isinstance(shares, Mapping) or not any(shares.values()):
        raise InstructionError("instruction_kinds: shares of the kinds of requests are expected, not all 0.")
    for kind, share in shares.items():
        if kind not in KINDS:
            raise InstructionError(f"instruction_kinds: {kind!r} is unknown; use {', '.join(KINDS)}.")
        if not isinstance(share, (int, float)) or not 0 <= share < math.inf:
            raise InstructionError(
                f"instruction_kinds: the share of {kind!r} must be a number of at least 0, not {share!r}."
            )
    return dict(shares)


def build_sources(dataset: Any, history: History) -> tuple[InstructionBank, dict[str, Source]]:
    """The sources that are wanted and that a data set can give.

    Parameters
    ----------
    dataset : InstructRecDataset
        With attributes, item texts and options.
    history : History
        All interactions.

    Returns
    -------
    tuple
        The bank of texts, and the sources by name.

    Raises
    ------
    InstructionError
        When an option asks for a source that this data set cannot give.
    """
    config = dataset.config
    templates = dataset.templates
    seed = config["instruction_seed"]
    bank = InstructionBank()
    sources: dict[str, Source] = {"none": NoInstruction()}
    attributes, titles = dataset.attributes, dataset.item_texts
    wanted = wanted_sources(config)
    if attributes.n_main and "intent" in wanted:
        sources["intent"] = IntentSource(
            bank, attributes, history, templates, seed, _kinds(config["instruction_kinds"])
        )
    if (attributes.n_main or any(titles)) and "history" in wanted:
        sources["history"] = HistorySource(
            bank, attributes, titles, history, templates, seed, config["instruction_history_length"]
        )
    if "instruction_id" in history.columns and "file" in wanted:
        texts = read_instruction_file(
            Path(dataset.dataset_path) / f"{dataset.dataset_name}.inst",
            config["field_separator"],
            config["encoding"] or "utf-8",
        )
        column = history.columns["instruction_id"].numpy()
        sources["file"] = FileSource(bank, texts, list(dataset.field2id_token["instruction_id"]), column)
    return bank, sources
