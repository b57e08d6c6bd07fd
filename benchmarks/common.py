"""What the benchmarks share: building both sides, recording results, printing tables."""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml

from recbole_instructrec.environment import environment

RESULTS = Path(__file__).parent / "results"

#: Ready configurations, one a data set.
CONFIGS = Path(__file__).parents[1] / "dataset_configs"

#: Plans of the leaderboard.
PLANS = CONFIGS.parent / "leaderboard" / "plans"

#: Where time is compared, both sides have the same width, depth and length.
SAME = {
    "hidden_size": 64,
    "inner_size": 256,
    "n_layers": 2,
    "n_heads": 2,
    "MAX_ITEM_LIST_LENGTH": 50,
}

#: How every run is measured.
MEASURED = {
    "metrics": ["Recall", "NDCG", "MRR"],
    "topk": [5, 10, 20],
    "valid_metric": "NDCG@10",
    "eval_batch_size": 1024,
    "metric_decimal_place": 6,
    "show_progress": False,
}


def start(description: str, **arguments: Any) -> argparse.Namespace:
    """Parse the benchmark's own arguments, pin the threads and silence what is not the result.

    Parameters
    ----------
    description : str
        For ``--help``.
    **arguments
        Default of each further ``--argument``.

    Returns
    -------
    argparse.Namespace
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--threads", type=int, default=1, help="threads of both sides")
    for name, default in arguments.items():
        parser.add_argument(f"--{name}", type=type(default), default=default)
    args = parser.parse_args()
    sys.argv = sys.argv[:1]  # RecBole's Config reads the command line
    torch.set_num_threads(args.threads)
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    return args


def build(model: str, seed: int = 2020, dataset: str = "ml-100k", same: bool = True, **options: Any) -> dict[str, Any]:
    """Config, loaders, model and trainer of one side.

    Parameters
    ----------
    model : str
        Name of a RecBole model.
    seed : int
        Seed.
    dataset : str
        Data set.
    same : bool
        Whether :data:`SAME` is set; without it the model has its own defaults.
    **options
        Over these.

    Returns
    -------
    dict
        Keys config, dataset, train, valid, test, model, trainer.
    """
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import get_model, get_trainer, init_seed

    import recbole_instructrec  # noqa: F401

    own = {} if model == "InstructRec" else {"train_neg_sample_args": None}
    config = Config(
        model=model, dataset=dataset, config_dict={**MEASURED, **(SAME if same else {}), "seed": seed, **own, **options}
    )
    init_seed(seed, True)
    data = create_dataset(config)
    train, valid, test = data_preparation(config, data)
    init_seed(seed, True)
    network = get_model(model)(config, train._dataset).to(config["device"])
    trainer = get_trainer(config["MODEL_TYPE"], model)(config, network)
    return {
        "config": config,
        "dataset": data,
        "train": train,
        "valid": valid,
        "test": test,
        "model": network,
        "trainer": trainer,
    }


def settings_of(dataset: str) -> dict[str, Any]:
    """What a data set is read with: its filters, as its plan has them, and what describes its items.

    Parameters
    ----------
    dataset : str
        Data set with a plan of the leaderboard and a ready configuration.

    Returns
    -------
    dict
        Options.
    """
    plan, own = (
        yaml.safe_load((folder / f"{dataset}.yaml").read_text(encoding="utf-8")) for folder in (PLANS, CONFIGS)
    )
    return {**plan.get("options", {}), **own}


@torch.no_grad()
def full_scores(model: Any, loader: Any) -> np.ndarray:
    """Scores of all items for every row of an evaluation part, ``[n, n_items]``; the padding item comes last."""
    model.eval()
    parts = []
    for interaction, *_ in loader:
        scores = model.full_sort_predict(interaction.to(model.device))
        parts.append(scores.float().cpu().numpy().reshape(len(interaction), -1))
    scores = np.concatenate(parts)
    scores[:, 0] = -np.inf
    return scores


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Wall-clock seconds of some work, and its result."""
    begin = time.perf_counter()
    result = work()
    return time.perf_counter() - begin, result


def machine() -> dict[str, Any]:
    """Where and with what something was measured."""
    found = environment()
    kept = {key: found[key] for key in ("date", "commit", "dirty", "processor", "cores", "threads")}
    return {**kept, "torch": found["versions"]["torch"]}


def record(name: str, result: dict[str, Any]) -> None:
    """Append one result to ``benchmarks/results/<name>.jsonl``."""
    RESULTS.mkdir(exist_ok=True)
    with open(RESULTS / f"{name}.jsonl", "a", encoding="utf-8") as stream:
        stream.write(json.dumps({**result, **machine()}) + "\n")


def recorded(name: str) -> list[dict[str, Any]]:
    """Results recorded so far."""
    file = RESULTS / f"{name}.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []


def read_interactions(source: Path) -> pd.DataFrame:
    """Interactions of a data set with user_id, item_id and timestamp: user, item and time, the first two as texts."""
    raw = pd.read_csv(source / f"{source.name}.inter", sep="\t", dtype=str)
    raw.columns = [column.partition(":")[0] for column in raw.columns]
    named = {"user": raw["user_id"], "item": raw["item_id"], "time": raw["timestamp"].astype(float).astype(int)}
    return pd.DataFrame(named)


def write_dataset(folder: Path, source: Path, inter: pd.DataFrame) -> None:
    """Atomic files of a data set with these interactions and the items of another.

    Parameters
    ----------
    folder : Path
        Is made; the data set is called as it is.
    source : Path
        Folder of the other data set.
    inter : DataFrame
        As from :func:`read_interactions`; further columns do not count.
    """
    folder.mkdir(parents=True)
    (folder / f"{folder.name}.item").write_bytes((source / f"{source.name}.item").read_bytes())
    lines = inter[["user", "item", "time"]].to_csv(sep="\t", index=False, header=False)
    header = "user_id:token\titem_id:token\ttimestamp:float\n"
    (folder / f"{folder.name}.inter").write_text(header + lines, encoding="utf-8")


def pending(name: str, seed: int, settings: Mapping[str, Any], **identity: Any) -> bool:
    """Whether a run is still to be made.

    Parameters
    ----------
    name : str
        Of the results.
    seed : int
        Seed.
    settings : mapping
        What all runs that are named alike have in common, as recorded: such as options and the data set.
    **identity
        What a run is named by: label and the like.

    Returns
    -------
    bool

    Raises
    ------
    SystemExit
        When runs of that name are recorded with other settings.
    """
    earlier = [line for line in recorded(name) if all(line.get(key) == value for key, value in identity.items())]
    for key, value in settings.items():
        for line in earlier:
            if line.get(key, value) != value:
                said = f"{identity} is recorded with {key} {line[key]}, not {value}"
                sys.exit(f"{said}; choose another --label.")
    return not any(line["seed"] == seed for line in earlier)


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table."""
    lines = [[str(cell) for cell in row] for row in [head, *rows]]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def median(values: Sequence[float]) -> float:
    """Median."""
    return statistics.median(values)
