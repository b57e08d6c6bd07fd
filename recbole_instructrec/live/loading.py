"""From a checkpoint to a model and its data set."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from recbole_instructrec import checkpoint as checkpoints
from recbole_instructrec.live.errors import NotFound


def newest(place: str | Path) -> Path:
    """A checkpoint file: the one that is named, or the newest of a folder.

    Raises
    ------
    NotFound
        When there is none.
    """
    path = Path(place)
    if not path.is_dir():
        checkpoints.check_readable(path)
        return path
    found = sorted(path.glob("*.pth"), key=lambda file: file.stat().st_mtime)
    if not found:
        raise NotFound(f"there is no .pth file in {path}. A training run writes one: python run_recbole.py")
    return found[-1]


def load(place: str | Path, data_path: str | Path | None = None) -> tuple[Path, Any, Any, tuple[Any, Any, Any]]:
    """The model of a checkpoint, in evaluation mode, its whole data set, and its training, validation and test part.

    Parameters
    ----------
    place : path
        A file or a folder.
    data_path : path, optional
        Folder of the data sets, where that has moved.

    Returns
    -------
    tuple
        File, model, data set, parts.
    """
    file = newest(place)
    state = checkpoints.read(file)
    config = checkpoints.restore_config(state["config"])
    settings = config.final_config_dict
    settings[checkpoints.LOADED_FROM] = str(file)
    settings["show_progress"] = False
    if data_path is not None:
        settings["data_path"] = str(Path(data_path) / settings["dataset"])
    root = logging.getLogger()
    level = root.level
    root.setLevel(max(logging.WARNING, level))  # RecBole tells all it knows of the data set
    try:
        return file, *_built(state, config)
    finally:
        root.setLevel(level)


def _built(state: dict[str, Any], config: Any) -> tuple[Any, Any, tuple[Any, Any, Any]]:
    """Model, data set and parts of a checkpoint."""
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import get_model, init_seed

    init_seed(config["seed"], config["reproducibility"])
    dataset = create_dataset(config)
    train, valid, test = data_preparation(config, dataset)
    model = get_model(config["model"])(config, train._dataset).to(config["device"])
    model.load_state_dict(state["state_dict"])
    model.load_other_parameter(state.get("other_parameter"))
    return model.eval(), dataset, (train._dataset, valid._dataset, test._dataset)
