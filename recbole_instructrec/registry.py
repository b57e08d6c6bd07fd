"""Makes RecBole know InstructRec: the only module that touches RecBole's lookups.

RecBole finds a model by importing ``recbole.model.<kind>.<name in lower case>``
(utils/utils.py ``get_model``), a dataset and a trainer as attributes of
``recbole.data.dataset`` and ``recbole.trainer``, and defaults in YAML files of
its own package. Every entry point of RecBole goes through these lookups, so
satisfying them is enough and none of its entry points is copied.
"""

from __future__ import annotations

import functools
import os
import sys
from typing import Any

from recbole_instructrec.options import PROPERTIES

#: Options of ours that change what a dataset holds. RecBole reuses a saved
#: dataset when the options in ``dataset_arguments`` are equal, so ours belong there.
DATASET_OPTIONS = (
    "item_text_fields",
    "intent_field",
    "intent_also",
    "instruction_kinds",
    "intent_max_values",
    "context_fields",
    "training_rows",
    "window_targets",
    "encoder_length",
    "first_interaction_target",
    "instruction_language",
    "instruction_mix",
    "instruction_source",
    "report_rows",
    "instruction_seed",
    "instruction_history_length",
)

SUPPORTED_RECBOLE = ("1.2.1",)


class UnsupportedRecBole(ImportError):
    """The installed RecBole is not one this plugin was tested with."""


def check_version(version: str) -> None:
    """Refuse a RecBole whose internals this plugin does not know.

    Parameters
    ----------
    version : str
        ``recbole.__version__``.

    Raises
    ------
    UnsupportedRecBole
        Unless the version is supported or ``RECBOLE_INSTRUCTREC_ANY_RECBOLE=1`` is set.
    """
    if version in SUPPORTED_RECBOLE or os.environ.get("RECBOLE_INSTRUCTREC_ANY_RECBOLE") == "1":
        return
    raise UnsupportedRecBole(
        f"recbole-instructrec works with RecBole {', '.join(SUPPORTED_RECBOLE)}; RecBole {version} is installed. "
        f"Run: pip install recbole=={SUPPORTED_RECBOLE[-1]}   "
        "(to try this version all the same, set RECBOLE_INSTRUCTREC_ANY_RECBOLE=1)"
    )


def register() -> None:
    """Register model, dataset, trainer and default options with RecBole. Idempotent."""
    import recbole.data.dataset
    import recbole.trainer
    import recbole.utils.argument_list as argument_list

    from recbole_instructrec.data.dataset import InstructRecDataset
    from recbole_instructrec.model import instructrec
    from recbole_instructrec.trainer import InstructRecTrainer

    # utils.py get_model: find_spec accepts a module that sys.modules already holds.
    sys.modules["recbole.model.sequential_recommender.instructrec"] = instructrec
    recbole.data.dataset.InstructRecDataset = InstructRecDataset
    recbole.trainer.InstructRecTrainer = InstructRecTrainer
    for option in DATASET_OPTIONS:
        if option not in argument_list.dataset_arguments:
            argument_list.dataset_arguments.append(option)
    _load_our_defaults()


def _load_our_defaults() -> None:
    """configurator.py 262: let ``_update_internal_config_dict`` read our YAML files too.

    Ours come right after ``sample.yaml``, which fixes ``MAX_ITEM_LIST_LENGTH``, and, per dataset, after
    ``sequential.yaml``: below anything that the user says.
    """
    from recbole.config import Config

    update = Config._update_internal_config_dict
    if getattr(update, "__knows_instructrec__", False):
        return

    @functools.wraps(update)
    def update_with_ours(self: Any, file: str) -> Any:
        result = update(self, file)
        if self.model == "InstructRec":
            name = os.path.basename(file)
            if name == "sample.yaml":
                update(self, str(PROPERTIES / "InstructRec.yaml"))
            elif name == "sequential.yaml":
                overlay = PROPERTIES / f"InstructRec_on_{self.dataset}.yaml"
                if overlay.is_file():
                    update(self, str(overlay))
        return result

    update_with_ours.__knows_instructrec__ = True  # type: ignore[attr-defined]
    Config._update_internal_config_dict = update_with_ours
