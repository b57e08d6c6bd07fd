"""RecBole's objective function, importable by worker processes together with the plugin."""

from __future__ import annotations

from typing import Any

from recbole.quick_start import objective_function


def objective(config_dict: dict[str, Any] | None = None, config_file_list: list[str] | None = None) -> dict[str, Any]:
    """One run of a hyper-parameter search.

    It lives in this package so that a process that unpickles it (Ray, spawn)
    imports the plugin first and knows InstructRec.

    Parameters
    ----------
    config_dict : dict
        Options of this run.
    config_file_list : list of str
        YAML files.

    Returns
    -------
    dict
        As RecBole's ``objective_function``.
    """
    return objective_function(config_dict, config_file_list, saved=False)
