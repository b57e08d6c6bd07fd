"""``instructrec steer``: does a trained checkpoint follow instructions?"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from recbole_instructrec.data.instructions.wish import Wish
from recbole_instructrec.data.instructions.words import TEMPLATES, Templates
from recbole_instructrec.model.text_vectors import FrozenTextEncoder
from recbole_instructrec.steering.axes import BOUND, FILTER, MODEL, PLAIN, Line, Steering
from recbole_instructrec.steering.rankers import (
    Bm25,
    Dense,
    Fixed,
    Fused,
    HardFilter,
    Instructed,
    PerfectReader,
    Ranker,
)
from recbole_instructrec.steering.report import draw, table, write_json
from recbole_instructrec.steering.requests import RequestMaker, Requests


def rankers_of(model: Any, dataset: Any, encoder: FrozenTextEncoder, has: np.ndarray) -> dict[str, Ranker]:
    """The model and the baselines, in the order of the table.

    Parameters
    ----------
    model : InstructRec
        Trained.
    dataset : InstructRecDataset
        Test part.
    encoder : FrozenTextEncoder
        The model's own text encoder.
    has : ndarray of bool
        ``[n_items, n_attributes]``.

    Returns
    -------
    dict of str to Ranker
    """
    told = Instructed(model, dataset)
    n = len(dataset)
    plain = Fixed(told(Requests(np.arange(n), [""] * n, [Wish()] * n)))
    found: dict[str, Ranker] = {
        MODEL: told,
        PLAIN: plain,
        FILTER: HardFilter(plain, has),
        BOUND: PerfectReader(plain, has, dataset.attributes.n_main),
    }
    if any(dataset.item_texts):
        words, dense = Bm25(dataset.item_texts), Dense(encoder, dataset.item_texts)
        found |= {"BM25": words, "dense": dense, "BM25 + un-instructed (RRF)": Fused(words, plain)}
        found["dense + un-instructed (RRF)"] = Fused(dense, plain)
    return found


def measure(
    model: Any, dataset: Any, users: int, seed: int, progress: Callable[[str], Any]
) -> tuple[list[Line], list[str]]:
    """All axes on a trained model.

    Parameters
    ----------
    model : InstructRec
        Trained.
    dataset : InstructRecDataset
        Test part.
    users : int
        Test rows that are used, drawn at random; 0 for all.
    seed : int
        Of the requests and of the rows.
    progress : callable
        Is told the name of each axis as it begins.

    Returns
    -------
    tuple
        The figures, and the names of the rankers in the order of the table.
    """
    if _size(dataset, users) < len(dataset):
        rows = np.sort(np.random.default_rng(seed).permutation(len(dataset))[:users])
        dataset = dataset.copy(dataset.inter_feat[rows])
    config, user = dataset.config, dataset.inter_feat[dataset.uid_field].numpy()
    maker = RequestMaker(dataset.attributes, dataset.inter_feat[dataset.iid_field].numpy(), seed, user)
    encoder = FrozenTextEncoder(config["text_encoder"], config["max_text_tokens"], config["text_cache_dir"])
    rankers = rankers_of(model, dataset, encoder, maker.has)
    templates = {language: Templates([language]) for language in ["en", *_other_languages()]}
    return Steering(rankers, maker, templates, progress).run(), list(rankers)


def _size(dataset: Any, users: int) -> int:
    return min(users, len(dataset)) if users else len(dataset)


def steer(checkpoint: str, output: str | None, users: int, seed: int) -> int:
    """Measure a checkpoint, print the table, write JSON and picture.

    Parameters
    ----------
    checkpoint : str
        A ``.pth`` file of InstructRec.
    output : str or None
        Folder of ``steering-<checkpoint>.json`` and ``.png``; that of the checkpoint by default.
    users : int
        Test rows that are used, drawn at random; 0 for all.
    seed : int
        Of the requests and of the rows.

    Returns
    -------
    int
        0.

    Raises
    ------
    ValueError
        When the data set has no attributes to ask for.
    """
    from recbole.quick_start import load_data_and_model

    begin = time.perf_counter()
    config, model, _, _, _, test = load_data_and_model(checkpoint)
    if config["model"] != "InstructRec":
        raise ValueError(f"{checkpoint} is a checkpoint of {config['model']}; instructrec steer measures InstructRec.")
    dataset = test._dataset
    if not dataset.attributes.n_main:
        raise ValueError(f"{config['dataset']} has no attributes to ask for: train with intent_field.")
    print(f"Steering {checkpoint} ({config['dataset']}, {_size(dataset, users)} test rows)")
    lines, names = measure(model, dataset, users, seed, lambda axis: print(f"  {axis} ...", flush=True))
    print(table(lines, names))
    for language in set(_other_languages()) - set(dataset.templates.languages):
        print(f"{language}: this model was not taught it (instruction_language, and a text_encoder that reads it).")
    name = f"steering-{Path(checkpoint).stem}"
    folder = Path(output) if output else Path(checkpoint).parent
    folder.mkdir(parents=True, exist_ok=True)
    about = {
        "checkpoint": Path(checkpoint).name,
        "dataset": config["dataset"],
        "rows": _size(dataset, users),
        "seed": seed,
    }
    write_json(folder / f"{name}.json", about, lines)
    draw(folder / f"{name}.png", lines, names, f"{config['dataset']}, {Path(checkpoint).name}")
    print(f"Written: {folder / name}.json and .png ({time.perf_counter() - begin:.0f} s)")
    return 0


def _other_languages() -> list[str]:
    return sorted(file.stem for file in TEMPLATES.glob("*.yaml") if file.stem != "en")
