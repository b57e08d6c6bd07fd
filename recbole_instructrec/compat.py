"""Mends that let RecBole 1.2.1 run on today's numpy, pandas, torch and Ray.

RecBole 1.2.1 was written for libraries of 2023. Each mend below names the line
of RecBole that it mends, does nothing where that line works as it is, and
touches nothing outside RecBole: where a library function has to be replaced
(``torch.load``, ``pandas.read_csv``, ``Series.agg``), the replacement acts only
on calls that come from a module of RecBole.

:func:`apply` is idempotent; importing :mod:`recbole_instructrec` calls it.
"""

from __future__ import annotations

import contextlib
import csv
import functools
import importlib
import importlib.util
import os
import sys
import types
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch

#: Names of the mends that were needed in this process, in order, with a short reason.
applied: dict[str, str] = {}

_PANDAS_MAJOR = int(pd.__version__.split(".")[0])


def apply() -> dict[str, str]:
    """Apply every mend that this environment needs.

    Returns
    -------
    dict of str to str
        Name of each mend that was applied and why; see ``instructrec doctor``.
    """
    if applied:
        return applied
    for mend in (
        mend_numpy_aliases,
        mend_missing_ray,
        mend_text_columns,
        mend_pandas3_sequences,
        mend_pandas3_fillna,
        mend_checkpoint_loading,
        mend_missing_thop,
        mend_ddp_on_cpu,
        mend_ddp_sample_count,
        mend_download_barrier,
        mend_folder_race,
        mend_anomaly_detection,
        mend_warnings,
    ):
        reason = mend()
        if reason:
            applied[mend.__name__.removeprefix("mend_")] = reason
    return applied


def for_recbole_callers(owner: Any, name: str, build: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Replace ``owner.name`` for calls made by RecBole's modules only.

    Parameters
    ----------
    owner : module or class
        Where the function lives.
    name : str
        Its attribute name.
    build : callable
        Takes the original function and returns the replacement.
    """
    original = getattr(owner, name)
    replacement = build(original)

    @functools.wraps(original)
    def dispatch(*args: Any, **kwargs: Any) -> Any:
        caller = sys._getframe(1).f_globals.get("__name__", "")
        if caller == "recbole" or caller.startswith("recbole."):
            return replacement(*args, **kwargs)
        return original(*args, **kwargs)

    dispatch.__wrapped_for_recbole__ = original  # type: ignore[attr-defined]
    setattr(owner, name, dispatch)


def mend_numpy_aliases() -> str | None:
    """configurator.py 630, 632, 635: ``np.float_``, ``np.complex_`` and ``np.unicode_`` left numpy in 2.0."""
    gone = {"float_": np.float64, "complex_": np.complex128, "unicode_": np.str_}
    missing = [name for name in gone if name not in np.__dict__]
    for name in missing:
        setattr(np, name, gone[name])
    return f"numpy {np.__version__} has no np.{', np.'.join(missing)}" if missing else None


class RayMissing(ImportError):
    """Raised when something asks for Ray and it cannot be imported."""


def mend_missing_ray() -> str | None:
    """quick_start.py 20: ``from ray import tune`` at import time, although only hyper-tuning on Ray uses it.

    Ray 2.6.3, the newest that RecBole accepts, has no wheel for Python 3.12,
    needs numpy < 2 and the ``pkg_resources`` of setuptools < 81. Where it
    cannot be imported a stand-in takes its place that says so when used.
    """
    try:
        # pkg_resources warns that it will go away; that is Ray's concern, not the user's.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module("ray.tune")
        return None
    except Exception as error:  # Ray fails in many ways: ImportError, AttributeError (np.bool8), TypeError
        why = f"{type(error).__name__}: {error}"
    for module in [m for m in sys.modules if m == "ray" or m.startswith("ray.")]:
        del sys.modules[module]

    def ask(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise RayMissing(
            f"ray.tune.{name} was asked for, but Ray cannot be imported here ({why}). "
            "Install it with the tested set: pip install -c constraints.txt 'ray[tune]==2.6.3' "
            "(Python 3.11, numpy 1.26, setuptools<81), or search with hyperopt: python run_hyper.py --params_file=FILE."
        )

    tune = types.ModuleType("ray.tune")
    tune.__getattr__ = ask  # type: ignore[method-assign]
    # RecBole's objective_function reports to Ray even when hyperopt drives it; outside Ray that is a no-op.
    tune.report = lambda *args, **kwargs: None  # type: ignore[attr-defined]
    ray = types.ModuleType("ray")
    ray.__getattr__ = ask  # type: ignore[method-assign]
    ray.tune = tune  # type: ignore[attr-defined]
    ray.__stand_in__ = True  # type: ignore[attr-defined]
    # Only while RecBole is imported: other libraries look for Ray too and must not find the stand-in.
    sys.modules["ray"], sys.modules["ray.tune"] = ray, tune
    try:
        importlib.import_module("recbole.quick_start")
    finally:
        del sys.modules["ray"], sys.modules["ray.tune"]
    return f"Ray cannot be imported ({why}); a stand-in lets RecBole start"


def mend_missing_thop() -> str | None:
    """utils.py 298: ``get_flops`` needs thop, which does not import on Python 3.12 (distutils)."""
    try:
        importlib.import_module("thop.profile")
        return None
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
    for name in [m for m in sys.modules if m == "thop" or m.startswith("thop.")]:
        del sys.modules[name]
    quick_start = importlib.import_module("recbole.quick_start.quick_start")
    utils = importlib.import_module("recbole.utils")

    def get_flops(model: Any, dataset: Any, device: Any, logger: Any, transform: Any, verbose: bool = False) -> float:
        logger.info(f"FLOPs are not counted: thop cannot be imported ({why}).")
        return float("nan")

    for module in (quick_start, utils, utils.utils):
        setattr(module, "get_flops", get_flops)  # noqa: B010  mypy does not know that modules have it
    return f"thop cannot be imported ({why}); FLOPs are not counted"


def mend_text_columns() -> str:
    """dataset.py 480: ``read_csv`` with default quoting and default missing values.

    A cell that begins with a quotation mark raised ``ParserError``, and the
    words "NA", "null" or "None" became missing values. Cells are now read as
    they stand; only an empty cell is missing. Float columns keep pandas' list of
    missing values. Sequence columns are filled here because dataset.py 497
    (``df[field].fillna(..., inplace=True)``) does nothing under pandas 3.
    """

    def build(read_csv: Callable[..., pd.DataFrame]) -> Callable[..., pd.DataFrame]:
        def read(*args: Any, **kwargs: Any) -> pd.DataFrame:
            dtype = kwargs.get("dtype")
            if not isinstance(dtype, dict):
                return read_csv(*args, **kwargs)
            text = [column for column, kind in dtype.items() if kind is str]
            missing = {column: [""] if kind is str else sorted(_DEFAULT_MISSING) for column, kind in dtype.items()}
            # The C parser reads the same cells some ten times faster where it can.
            separator = kwargs.get("delimiter") or kwargs.get("sep") or ","
            if len(separator) == 1 and kwargs.get("engine") == "python":
                kwargs.update(engine="c", float_precision="round_trip")
            frame = read_csv(*args, quoting=csv.QUOTE_NONE, keep_default_na=False, na_values=missing, **kwargs)
            for column in text:
                # pandas 3 reads str columns into its own string type; RecBole expects Python objects.
                values = frame[column].astype(object)
                if column.rpartition(":")[2].endswith("_seq"):
                    values = values.where(values.notna(), "")
                else:
                    values = values.where(values.notna(), np.nan)
                frame[column] = values
            return frame

        return read

    for_recbole_callers(pd, "read_csv", build)
    return "cells with quotation marks, and the words NA and null, are read as they stand"


# pandas' documented defaults for read_csv(na_values=...)
_DEFAULT_MISSING = frozenset(
    [
        "",
        "#N/A",
        "#N/A N/A",
        "#NA",
        "-1.#IND",
        "-1.#QNAN",
        "-NaN",
        "-nan",
        "1.#IND",
        "1.#QNAN",
        "<NA>",
        "N/A",
        "NA",
        "NULL",
        "NaN",
        "None",
        "n/a",
        "nan",
        "null",
    ]
)


def mend_pandas3_sequences() -> str | None:
    """dataset.py 711, 1217, 1247 and sequential_dataset.py 155: ``Series.agg(len)`` gives one number in pandas 3."""
    if _PANDAS_MAJOR < 3:
        return None

    def build(agg: Callable[..., Any]) -> Callable[..., Any]:
        def aggregate(self: pd.Series, func: Any = None, *args: Any, **kwargs: Any) -> Any:
            if func is len:
                return self.map(len)
            if func is np.concatenate:
                return np.concatenate(self.tolist())
            return agg(self, func, *args, **kwargs)

        return aggregate

    for_recbole_callers(pd.Series, "agg", build)
    return f"pandas {pd.__version__}: Series.agg(len) no longer works row by row"


def mend_pandas3_fillna() -> str | None:
    """dataset.py 648-650: ``feat[field].fillna(..., inplace=True)`` fills a copy in pandas 3."""
    if _PANDAS_MAJOR < 3:
        return None
    from recbole.data.dataset import Dataset
    from recbole.utils import FeatureType

    def fill_nan(self: Any) -> None:
        for feat_name in self.feat_name_list:
            feat = getattr(self, feat_name)
            for field in feat:
                ftype = self.field2type[field]
                if ftype == FeatureType.TOKEN:
                    feat[field] = feat[field].fillna(0)
                elif ftype == FeatureType.FLOAT:
                    feat[field] = feat[field].fillna(feat[field].mean())
                else:
                    empty = np.array([], dtype=np.int64 if ftype == FeatureType.TOKEN_SEQ else np.float64)
                    feat[field] = [empty if isinstance(cell, float) else cell for cell in feat[field]]

    Dataset._fill_nan = fill_nan
    return f"pandas {pd.__version__}: fillna(inplace=True) on a column fills a copy"


def mend_checkpoint_loading() -> str:
    """trainer.py 323, 583 and quick_start.py 250: ``torch.load`` of RecBole's own checkpoints.

    torch >= 2.6 refuses them (they are pickles of protocol 4 that hold a
    ``Config``). They are read here by an unpickler that builds only what
    RecBole stores, and our own checkpoints by torch's safe loader; see
    :mod:`recbole_instructrec.checkpoint`.
    """
    from recbole_instructrec.checkpoint import load_for_recbole

    for_recbole_callers(torch, "load", lambda original: functools.partial(load_for_recbole, original))
    return "checkpoints load without running code that they carry"


def mend_ddp_on_cpu() -> str | None:
    """configurator.py 456-480 and trainer.py 74: DDP insists on NCCL and a GPU."""
    if torch.cuda.is_available():
        return None
    from recbole.config import Config
    from recbole.trainer import trainer as trainer_module

    init_device = Config._init_device

    def on_cpu(self: Any) -> None:
        settings = self.final_config_dict
        if "local_rank" not in settings or torch.cuda.is_available():
            init_device(self)
            return
        torch.distributed.init_process_group(
            backend="gloo",
            rank=settings["local_rank"] + settings["offset"],
            world_size=settings["world_size"],
            init_method=f"tcp://{settings['ip']}:{settings['port']}",
        )
        settings.update(device=torch.device("cpu"), single_spec=False, gpu_id=str(settings["gpu_id"]))
        if settings["local_rank"] != 0:
            settings.update(state="error", show_progress=False, verbose=False)

    Config._init_device = on_cpu

    ddp = trainer_module.DistributedDataParallel

    def distributed(module: torch.nn.Module, device_ids: Any = None, **kwargs: Any) -> Any:
        on_gpu = any(parameter.is_cuda for parameter in module.parameters())
        return ddp(module, device_ids=device_ids if on_gpu else None, **kwargs)

    trainer_module.DistributedDataParallel = distributed
    return "no GPU here: several processes talk through gloo instead of NCCL"


def mend_ddp_sample_count() -> str:
    """trainer.py 613: ``num_sample += len(batched_data)`` counts the parts of a tuple, not users.

    Under DDP the metrics of each process were weighted by its number of
    batches; they are now weighted by the number of users it evaluated.
    """
    from recbole.trainer import Trainer

    evaluate, map_reduce = Trainer.evaluate, Trainer._map_reduce

    def count(batch_eval: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(batch_eval)
        def counted(self: Any, batched_data: Any) -> Any:
            result = batch_eval(self, batched_data)
            self._evaluated_users += int(torch.unique(result[2]).numel())
            return result

        return counted

    @functools.wraps(evaluate)
    def evaluate_counted(self: Any, eval_data: Any, load_best_model: bool = True, *args: Any, **kwargs: Any) -> Any:
        self._evaluated_users = 0
        if load_best_model:
            agree_on_checkpoint(self)
        return evaluate(self, eval_data, load_best_model, *args, **kwargs)

    @functools.wraps(map_reduce)
    def reduce_by_users(self: Any, result: Any, num_sample: int) -> Any:
        return map_reduce(self, result, self._evaluated_users)

    Trainer.evaluate = evaluate_counted
    Trainer._full_sort_batch_eval = count(Trainer._full_sort_batch_eval)
    Trainer._neg_sample_batch_eval = count(Trainer._neg_sample_batch_eval)
    Trainer._map_reduce = reduce_by_users
    return "metrics of several processes are weighted by the users each evaluated"


def agree_on_checkpoint(trainer: Any) -> None:
    """trainer.py 133, 581: each process names the checkpoint after its own clock, and may read it before it is written.

    Only the first process writes. All take its file name, and wait for it.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        name = [trainer.saved_model_file]
        torch.distributed.broadcast_object_list(name, src=0, device=trainer.device)
        trainer.saved_model_file = name[0]


def mend_download_barrier() -> str:
    """dataset.py 282: after a download a single process waits at a barrier that does not exist."""
    from recbole.data.dataset import Dataset

    download = Dataset._download

    @functools.wraps(download)
    def alone(self: Any) -> None:
        if torch.distributed.is_initialized():
            download(self)
            return
        barrier = torch.distributed.barrier
        torch.distributed.barrier = lambda *args, **kwargs: None
        try:
            download(self)
        finally:
            torch.distributed.barrier = barrier

    Dataset._download = alone
    return "a dataset download by a single process ends without an error"


def mend_folder_race() -> str:
    """utils.py 51: of two runs that start together one fails, because the other has just made the folder."""
    import recbole.utils
    import recbole.utils.logger
    from recbole.trainer import trainer

    def ensure_dir(dir_path: str) -> None:
        os.makedirs(dir_path, exist_ok=True)

    for module in (recbole.utils, recbole.utils.utils, recbole.utils.logger, trainer):
        module.ensure_dir = ensure_dir
    return "runs may start at the same moment"


def mend_anomaly_detection() -> str:
    """sine.py 25: importing any sequential model switches on torch's search for NaN, for every model and for good.

    It looks at every gradient of every operation: small batches train half as fast.
    """
    for_recbole_callers(
        torch.autograd, "set_detect_anomaly", lambda original: lambda *args, **kwargs: contextlib.nullcontext()
    )
    return "torch's anomaly detection, left on by one model, no longer slows every other"


def mend_warnings() -> str:
    """dataset.py 501, 648 and trainer.py 235: pandas and torch warn of RecBole's own lines at every run.

    A user can do nothing about them, and what they announce is mended above.
    """
    kinds = [FutureWarning]
    if _PANDAS_MAJOR >= 3:
        kinds.append(pd.errors.ChainedAssignmentError)
    for kind in kinds:
        warnings.filterwarnings("ignore", category=kind, module=r"recbole\.")
    return "warnings about RecBole's own code are not shown"
