"""Which stored results are those of a run, also where options have come or gone since."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from recbole_instructrec.leaderboard.plan import PROTOCOL, Entry
from recbole_instructrec.leaderboard.runs import config_of, decisive, effective
from recbole_instructrec.options import MEANT
from recbole_instructrec.report import bare

# The protocol, which columns of the data set are read, and what RecBole asks for with a softmax over all items.
_OF_TABLES = PROTOCOL | {"load_col", "dataset", "train_neg_sample_args"}

_NO_DATASET = "-"  # has no options of its own


def recorded(
    entry: Entry, dataset: str, options: Mapping[str, Any], records: Sequence[Mapping[str, Any]]
) -> dict[int, str]:
    """Ids of the runs of a trial that there are results of, by seed.

    A result is of a trial when its configuration has the same values, however the plan writes them and whatever its
    line was called. An option that one of them does not know counts as what was done before there was one
    (:data:`~recbole_instructrec.options.MEANT`), or else as it is by default.

    Parameters
    ----------
    entry : Entry
        Line of the plan.
    dataset : str
        Name.
    options : mapping
        Of the trial.
    records : sequence of mapping
        Results of the data set, the newest last.

    Returns
    -------
    dict of int to str
    """
    wanted = _plain(effective(config_of(entry.model, dataset, options, entry.seeds[0], None)))
    return {
        record["seed"]: record["id"]
        for record in records
        if record["model"] == entry.model
        and ("config" not in record or set(entry.rows) <= set(map(bare, record["rows"])))
        and _is_of(wanted, record, options)
    }


def same_run(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two results that have ended well are of one run."""
    names = ("model", "dataset", "seed", "data")
    return (
        all(one[name] == other[name] for name in names)
        and set(one["rows"]) == set(other["rows"])
        and _alike(one["config"], other["config"], one["model"])
    )


def beside_defaults(record: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a result that are not the model's defaults, without those that are the same for a whole table.

    What has no default is shown, too: a model that is not RecBole's has no file of them.
    """
    default = _defaults(record["model"])
    return {
        name: value
        for name, value in record["config"].items()
        if name not in _OF_TABLES and (name not in default or default[name] != value)
    }


def _is_of(wanted: Mapping[str, Any], record: Mapping[str, Any], options: Mapping[str, Any]) -> bool:
    """Whether a record is of a configuration; of one that failed only the plan's own options are known."""
    if "config" not in record:
        return bool(record.get("options") == _plain(options))
    return _alike(wanted, record["config"], record["model"])


def _alike(one: Mapping[str, Any], other: Mapping[str, Any], model: str) -> bool:
    one, other = decisive(one), decisive(other)
    default = {**_defaults(model), **MEANT} if one.keys() != other.keys() else {}
    return all(
        one.get(name, default.get(name)) == other.get(name, default.get(name)) for name in one.keys() | other.keys()
    )


@lru_cache
def _defaults(model: str) -> dict[str, Any]:
    """Options as they are where neither a plan nor a data set sets them."""
    try:
        config = config_of(model, _NO_DATASET, {}, 0, None)
    except ValueError:  # of some models RecBole's own defaults do not go together
        config = config_of(model, _NO_DATASET, {"train_neg_sample_args": None}, 0, None)
    found: dict[str, Any] = _plain(effective(config))
    return found


def _plain(value: Any) -> Any:
    """As it comes back from JSON."""
    return json.loads(json.dumps(value, default=str))
