"""Small data sets and short ways to build things from them."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model, get_trainer, init_seed

GENRES = ["Comedy", "Drama", "Horror", "War"]

#: Small and quick; every test starts from these.
SMALL = {
    "load_col": {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id", "title", "genre"]},
    "item_text_fields": ["title", "genre"],
    "intent_field": "genre",
    "MAX_ITEM_LIST_LENGTH": 8,
    "hidden_size": 16,
    "inner_size": 32,
    "n_layers": 1,
    "item_text_size": 8,
    "train_batch_size": 8,
    "epochs": 2,
    "topk": [5],
    "valid_metric": "NDCG@5",
    "show_progress": False,
    "instruction_mix": {"none": 0.5, "history": 0.2, "intent": 0.3},
}

#: Few texts, so that a model to talk to is there in seconds.
QUICK = {"instruction_kinds": {"intent": 1.0}, "epochs": 3}

#: Nothing to read at all: a model in half a second.
SILENT = {"instruction_mix": {"none": 1.0}, "report_rows": ["none"], "item_text_fields": [], "epochs": 2}


def small_interactions(n_users: int = 30, n_items: int = 25, seed: int = 0) -> list[tuple[str, str, int]]:
    """Random interactions with clock times; users have 4 to 20 each."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(n_users):
        start = 880_000_000 + int(rng.integers(0, 10_000_000))
        items = rng.permutation(n_items)[: int(rng.integers(4, 21))]
        rows += [(f"u{user}", f"i{item}", start + 3600 * step) for step, item in enumerate(items)]
    order = rng.permutation(len(rows))
    return [rows[i] for i in order]


def small_items(n_items: int = 25) -> list[tuple[str, str, str]]:
    """Items with a title and one or two genres."""
    return [
        (f"i{item}", f"Film number {item}", " ".join(sorted({GENRES[item % 4], GENRES[item % 3]})))
        for item in range(n_items)
    ]


def write_dataset(
    data_path: Path,
    name: str,
    interactions: Sequence[tuple[Any, ...]] | None = None,
    items: Sequence[tuple[Any, ...]] | None = None,
    inter_header: str = "user_id:token\titem_id:token\ttimestamp:float",
    item_header: str = "item_id:token\ttitle:token_seq\tgenre:token_seq",
) -> Path:
    """Write atomic files; returns ``data_path``."""
    folder = data_path / name
    folder.mkdir(parents=True, exist_ok=True)

    def write(suffix: str, header: str, rows: Sequence[tuple[Any, ...]]) -> None:
        lines = [header, *["\t".join(map(str, row)) for row in rows]]
        (folder / f"{name}.{suffix}").write_text("\n".join(lines) + "\n", encoding="utf-8")

    write("inter", inter_header, small_interactions() if interactions is None else interactions)
    items = small_items() if items is None else items
    if items:
        write("item", item_header, items)
    return data_path


def make_config(data_path: Path, model: str = "InstructRec", dataset: str = "films", **options: Any) -> Config:
    """A config of the small kind."""
    ours = {**SMALL, **options} if model == "InstructRec" else options
    return Config(model=model, dataset=dataset, config_dict={"data_path": str(data_path), "seed": 7, **ours})


def build_data(config: Config) -> tuple[Any, Any, Any, Any]:
    """Data set and the three loaders."""
    init_seed(config["seed"], True)
    dataset = create_dataset(config)
    return dataset, *data_preparation(config, dataset)


def build_all(config: Config) -> tuple[Any, Any, Any, Any, Any]:
    """Model, trainer and the three loaders."""
    _, train, valid, test = build_data(config)
    init_seed(config["seed"], True)
    model = get_model(config["model"])(config, train._dataset).to(config["device"])
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    return model, trainer, train, valid, test


def trained_checkpoint(data_path: Path, **options: Any) -> Path:
    """Train a small model on the films of ``data_path``; returns its checkpoint, which lies beside the data."""
    config = make_config(data_path, checkpoint_dir=str(data_path / "saved"), **{**QUICK, **options})
    with contextlib.chdir(data_path):  # for the folders that RecBole's trainers make
        _, trainer, train, valid, _ = build_all(config)
        trainer.fit(train, valid, verbose=False)
    return Path(trainer.saved_model_file)
