"""What makes a run the run that it is."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from recbole_instructrec.checkpoint import plain_config
from recbole_instructrec.leaderboard.plan import QUIET, Entry, Plan, PlanError
from recbole_instructrec.model.reading.readers import packaged_files
from recbole_instructrec.options import listed
from recbole_instructrec.report import bare

#: Settings that say where and how a run is executed; the same run elsewhere has others.
_ELSEWHERE = {
    "checkpoint_dir", "config_files", "data_path", "gpu_id", "eval_batch_size", "log_wandb", "metric_decimal_place",
    "save_dataset", "save_topk", "save_dataloaders", "dataset_save_path", "dataloaders_save_path", "seed",
    "show_progress", "state", "text_cache_dir", "torch_threads", "use_gpu", "wandb_project", "worker",
    # Names of fields, which RecBole adds to the configuration when it makes BERT4Rec's data.
    "MASK_INDEX", "MASK_ITEM_SEQ", "NEG_ITEMS", "POS_ITEMS",
}  # fmt: skip


@dataclass(frozen=True)
class Run:
    """One training of one model.

    Attributes
    ----------
    id : str
        Hash of what the run is: its whole effective configuration, seed and data.
    entry, model, dataset : str
        Line of the table, RecBole's name of the model, data set.
    options : dict
        As the plan has them.
    seed : int
        Seed.
    rows : tuple of str
        Evaluation rows that are measured.
    config_hash : str
        Of the configuration without the seed.
    data : dict
        Hashes of the data set's files.
    """

    id: str
    entry: str
    model: str
    dataset: str
    options: dict[str, Any]
    seed: int
    rows: tuple[str, ...]
    config_hash: str
    data: dict[str, str]

    def plain(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)

    @staticmethod
    def of(told: Mapping[str, Any]) -> Run:
        """Counterpart of :meth:`plain`."""
        return Run(**{**told, "rows": tuple(told["rows"])})


def name_of(run: Mapping[str, Any]) -> str:
    """Line, seed and id of a run or its record."""
    return f"{run['entry']} seed {run['seed']} [{run['id'][:8]}]"


def commit_of(record: Mapping[str, Any]) -> str:
    """Of the code that a result was made with, as far as it was committed."""
    return f"{record['commit']}{' and changes' if record['dirty'] else ''}"


def model_class(name: str) -> Any:
    """The class of a model.

    Parameters
    ----------
    name : str
        RecBole's name of it, or ``module:Class`` for a class of one's own, found as Python finds modules from the
        folder that the command is called in.

    Returns
    -------
    type
        Of one of RecBole's recommenders.

    Raises
    ------
    PlanError
        When there is no such module or class, or when it is no model.
    """
    from recbole.model.abstract_recommender import AbstractRecommender
    from recbole.utils import get_model

    if ":" not in name:
        return get_model(name)
    module, _, own = name.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        found = getattr(importlib.import_module(module), own)
    except (ImportError, AttributeError, SyntaxError, ValueError) as error:
        raise PlanError(f"the model {name} cannot be imported: {error}") from None
    if not (isinstance(found, type) and issubclass(found, AbstractRecommender)):
        raise PlanError(f"{name} is no model: it must be a class derived from one of RecBole's recommenders.")
    return found


@contextmanager
def no_command_line() -> Iterator[None]:
    """RecBole's Config reads the command line wherever it is built; ours holds none of its options."""
    kept, sys.argv = sys.argv, sys.argv[:1]
    try:
        yield
    finally:
        sys.argv = kept


def config_of(model: str, dataset: str, options: Mapping[str, Any], seed: int, data_path: str | None) -> Any:
    """RecBole's ``Config`` of a run.

    Parameters
    ----------
    model : str
        As :func:`model_class` knows it.
    dataset : str
        RecBole's name.
    options : mapping
        Over the defaults.
    seed : int
        Seed.
    data_path : str or None
        Folder of data sets; RecBole's own by default.

    Returns
    -------
    recbole.config.Config
    """
    from recbole.config import Config

    import recbole_instructrec  # noqa: F401

    told = {**QUIET, **options, "seed": seed, **({"data_path": data_path} if data_path else {})}
    if model == "InstructRec":
        told["report_rows"] = []  # rows are measured one by one, with their ranks
    with no_command_line():
        return Config(model=model_class(model), dataset=dataset, config_dict=told)


def data_files(config: Any) -> dict[str, str]:
    """Hashes of the files that a run reads: of the data set, and what InstructRec is given besides.

    Parameters
    ----------
    config : recbole.config.Config
        Of a run.

    Returns
    -------
    dict of str to str
        First 16 digits of SHA-256, by name; ``reader ...`` is a packaged reader of requests.

    Raises
    ------
    PlanError
        When the folder holds no interactions.
    """
    folder, name = Path(config["data_path"]), config["dataset"]
    ours = config["model"] == "InstructRec"
    columns = config["load_col"]  # without any, RecBole reads all files that there are
    read = {"inter", *(columns or {}), *(["inst"] if ours else [])}
    found = folder.glob(f"{name}.*")
    files = sorted(file for file in found if columns is None or file.suffix.lstrip(".") in read)
    if not any(file.suffix == ".inter" for file in files):
        raise PlanError(f"there is no {folder / name}.inter. Give the folder that holds {name}/ with --data_path.")
    named = {file.name: file for file in files} | (_files_of_ours(config) if ours else {})
    try:
        return {key: hashlib.sha256(file.read_bytes()).hexdigest()[:16] for key, file in named.items()}
    except OSError as error:
        raise PlanError(f"a file of the run cannot be read: {error}") from None


def _files_of_ours(config: Any) -> dict[str, Path]:
    """What InstructRec reads beside the data set, by what it is."""
    found = {f"item_vectors {name}": Path(file) for name, file in (config["item_vectors"] or {}).items()}
    if config["pretrained"]:
        found["pretrained"] = Path(config["pretrained"])
    if config["intent_field"] and config["intent_texts"] is None:
        found |= {f"reader {file.name}": file for file in packaged_files(listed(config["instruction_language"]))}
    return found


def effective(config: Any) -> dict[str, Any]:
    """What of a configuration decides about the result."""
    return decisive(plain_config(config))


def decisive(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Of plain settings, those that decide about the result."""
    return {key: value for key, value in settings.items() if key not in _ELSEWHERE}


def hash_of(value: Any) -> str:
    """Sixteen digits that stand for a plain value."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def run_of(plan: Plan, entry: Entry, options: Mapping[str, Any], seed: int, data_path: str | None) -> Run:
    """The run of a plan's line with some options and a seed.

    Parameters
    ----------
    plan : Plan
        Names the data set.
    entry : Entry
        Line.
    options : mapping
        One of the line's trials.
    seed : int
        Seed.
    data_path : str or None
        Folder of data sets.

    Returns
    -------
    Run
    """
    config = config_of(entry.model, plan.dataset, options, seed, data_path)
    told: dict[str, Any] = {
        "entry": entry.name, "model": entry.model, "dataset": plan.dataset, "options": dict(options), "seed": seed,
        "rows": entry.rows, "config_hash": hash_of(effective(config)), "data": data_files(config),
    }  # fmt: skip
    return Run(id=identity(told), **told)


def identity(told: Mapping[str, Any]) -> str:
    """The id of a run, from what it is.

    Parameters
    ----------
    told : mapping
        A run or its record.

    Returns
    -------
    str
        Sixteen digits.
    """
    rows = sorted(map(bare, told["rows"]))
    return hash_of([told["model"], told["dataset"], told["config_hash"], told["seed"], told["data"], rows])


def leaves_seen_out(model: str) -> bool:
    """Whether RecBole leaves what a user took before out of a model's lists: of all but sequential models."""
    from recbole.utils import ModelType

    return bool(model_class(model).type != ModelType.SEQUENTIAL)


def work_folder(folder: Path, run: Run) -> Path:
    """Where a run keeps what it needs to go on."""
    return folder / re.sub(r"[^\w.-]", "_", f"{run.dataset}-{run.model}-{run.id}")
