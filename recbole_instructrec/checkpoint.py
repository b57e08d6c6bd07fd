"""Checkpoints that carry data and no code.

A checkpoint of InstructRec holds tensors and plain values only, so torch's safe
loader (``weights_only=True``) reads it. Checkpoints of RecBole's other models
are pickles of RecBole's own objects; they are read by an unpickler that builds
the classes RecBole stores and nothing else.
"""

from __future__ import annotations

import io
import os
import pickle
import re
import sys
import types
import zipfile
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

FORMAT = "recbole-instructrec/1"

#: Setting that names the file a model is being loaded from.
LOADED_FROM = "loaded_from"

#: Settings that describe the process that wrote the file, not the model.
OF_THE_PROCESS = {"device", "local_rank", "nproc", "world_size", "offset", "ip", "port", "single_spec"}
OF_THE_PROCESS |= {"resume", "pretrained", LOADED_FROM}

# RecBole unpickles what these two name, without a look at it. What a checkpoint says must not lead there.
_PICKLES = ("dataset_save_path", "dataloaders_save_path")
_NOWHERE = os.path.join(os.devnull, "none")


class CheckpointError(ValueError):
    """A checkpoint cannot be used; the message says why and what to do."""


def _there(folder: Path) -> str:
    """Which checkpoint to name instead of one that is not there."""
    found = sorted(folder.glob("*.pth"), key=lambda file: file.stat().st_mtime) if folder.is_dir() else []
    if not found:
        return "A run writes one to the folder saved, or to --checkpoint_dir, and names it when it is written."
    return f"The newest in {folder} is {found[-1].name}."


def plain(value: Any) -> Any:
    """Reduce a value to what torch's safe loader accepts.

    Parameters
    ----------
    value : object
        Tensors, numbers, strings, enums and nested containers of these.

    Returns
    -------
    object
        The same with enums as ``{"enum": class name, "name": member}`` and
        numpy values as tensors or Python numbers.

    Raises
    ------
    TypeError
        For anything else: better here than in a file that cannot be read back.
    """
    if isinstance(value, np.generic):  # before float and str: numpy's scalars are subclasses of these
        return value.item()
    if isinstance(value, Enum):
        return {"enum": type(value).__name__, "name": value.name}
    if value is None or isinstance(value, (bool, int, float, str, torch.Tensor)):
        return value
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value.copy())
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        items = [plain(item) for item in value]
        return tuple(items) if isinstance(value, tuple) else items
    if isinstance(value, (torch.device, torch.dtype, os.PathLike)):
        return str(value)
    raise TypeError(f"a checkpoint holds tensors and plain values only, not {type(value).__name__}: {value!r:.80}")


def plain_config(config: Any) -> dict[str, Any]:
    """The settings of a RecBole ``Config`` as plain values, without those of the running process."""
    settings = {}
    for key, value in config.final_config_dict.items():
        if key in OF_THE_PROCESS or key in _PICKLES:
            continue
        try:
            settings[key] = plain(value)
        except TypeError:  # YAML knows more types, such as dates; an option that we do not know stays readable
            settings[key] = str(value)
    return settings


def restore_config(settings: Mapping[str, Any]) -> Any:
    """Build a RecBole ``Config`` from :func:`plain_config`'s output, for this machine's device.

    Parameters
    ----------
    settings : mapping
        Plain settings as stored in a checkpoint.

    Returns
    -------
    recbole.config.Config
    """
    from recbole.config import Config
    from recbole.utils import enum_type, get_model

    def revive(value: Any) -> Any:
        if isinstance(value, dict):
            if set(value) == {"enum", "name"}:
                kind = getattr(enum_type, value["enum"], None)
                if not (isinstance(kind, type) and issubclass(kind, Enum)):
                    raise CheckpointError(
                        f"the checkpoint names {value['enum']!r}, which is no enumeration of RecBole."
                    )
                return kind[value["name"]]
            return {key: revive(item) for key, item in value.items()}
        return value

    config = Config.__new__(Config)
    config.compatibility_settings()
    config._init_parameters_category()
    config.yaml_loader = config._build_yaml_loader()
    config.final_config_dict = {key: revive(value) for key, value in settings.items()}
    config.final_config_dict.update(dict.fromkeys(_PICKLES, _NOWHERE))
    config.model, config.dataset = config.final_config_dict["model"], config.final_config_dict["dataset"]
    config.model_class = get_model(config.model)
    config.external_config_dict = {}
    config._init_device()
    return config


def save_atomically(state: Mapping[str, Any], file: str | os.PathLike[str]) -> None:
    """Write a checkpoint so that the file is either the old one or the whole new one.

    Parameters
    ----------
    state : mapping
        Already plain, see :func:`plain`.
    file : path
        Where to write.

    Raises
    ------
    CheckpointError
        When the disk is full or not writable; a former file stays as it was.
    """
    file = Path(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.parent / f".{file.name}.{os.getpid()}.tmp"
    try:
        with open(temporary, "wb") as stream:
            torch.save(dict(state), stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, file)
    except (OSError, RuntimeError) as error:
        raise CheckpointError(
            f"the checkpoint {file} could not be written ({error}). Free some space or choose another "
            "--checkpoint_dir; a former checkpoint of that name is unharmed."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def check_readable(file: str | os.PathLike[str]) -> None:
    """Refuse what is no archive of torch, without reading it.

    Parameters
    ----------
    file : path
        Said to be a checkpoint.

    Raises
    ------
    CheckpointError
        When it is missing, a folder, or truncated.
    """
    if os.path.isdir(file):
        raise CheckpointError(f"{file} is a folder. Give the path of a .pth file in it.")
    if not os.path.isfile(file):
        raise CheckpointError(f"there is no checkpoint {file}. {_there(Path(file).parent)}")
    if not zipfile.is_zipfile(file):
        raise CheckpointError(
            f"{file} is truncated or not a checkpoint at all ({os.path.getsize(file)} bytes, no torch archive). "
            "Use another file, or train again."
        )


def state_file(file: str | os.PathLike[str]) -> Path:
    """What a training is resumed from: the ``.resume`` file beside a checkpoint, or without one the checkpoint.

    Parameters
    ----------
    file : path
        Either of the two.

    Returns
    -------
    Path
    """
    best = Path(str(file).removesuffix(".resume"))
    state = Path(f"{best}.resume")
    return state if state.is_file() else best


def read(file: str | os.PathLike[str], map_location: Any = "cpu") -> dict[str, Any]:
    """Read a checkpoint of InstructRec with torch's safe loader.

    Parameters
    ----------
    file : path
        A file written by :func:`save_atomically`.
    map_location : torch.device or str
        Where the tensors go.

    Returns
    -------
    dict
        The stored state.

    Raises
    ------
    CheckpointError
        When the file is missing, truncated, carries code, or is not of InstructRec.
    """
    check_readable(file)
    try:
        if not _is_ours(file):
            raise CheckpointError(
                f"{file} is not a checkpoint of InstructRec (format {FORMAT}). "
                "A checkpoint of another RecBole model is opened with recbole.quick_start.load_data_and_model."
            )
        state = torch.load(file, map_location=map_location, weights_only=True)
    except CheckpointError:
        raise
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{file} carries pickled objects, as no checkpoint of InstructRec does; they were not run. "
            "Use a file that InstructRec wrote."
        ) from error
    except Exception as error:
        raise CheckpointError(
            f"{file} is damaged ({type(error).__name__}: {error}). Use another file, or train again."
        ) from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise CheckpointError(
            f"{file} is not a checkpoint of InstructRec (format {FORMAT}). Use a .pth file that InstructRec wrote."
        )
    return state


def load_for_recbole(original: Callable[..., Any], file: Any, map_location: Any = None, **kwargs: Any) -> Any:
    """What ``torch.load`` does when RecBole calls it (see ``compat.mend_checkpoint_loading``).

    Parameters
    ----------
    original : callable
        torch's own ``load``.
    file : path or file object
        A checkpoint of InstructRec or of any other RecBole model.
    map_location : torch.device or str, optional
        Where the tensors go.

    Returns
    -------
    dict
        The state, its ``"config"`` a RecBole ``Config``.

    Raises
    ------
    CheckpointError
        When the file is damaged or asks for an object that RecBole does not store.
    """
    if not isinstance(file, (str, os.PathLike)):
        return original(file, map_location=map_location, weights_only=True, **kwargs)
    if not zipfile.is_zipfile(file):
        read(file)  # says in words what is wrong
    # RecBole opens checkpoints without saying where to; one that was written on a GPU must open without one.
    map_location = map_location or (None if torch.cuda.is_available() else "cpu")
    if _is_ours(file):
        state = read(file, map_location or "cpu")
        config = restore_config(state["config"])
        config.final_config_dict[LOADED_FROM] = os.fspath(file)
        return {**state, "config": config}
    try:
        _refuse_programs(file)
        kwargs.update(weights_only=False, pickle_module=_SafePickle)
        state = original(file, map_location=map_location, **kwargs)
        from recbole.config import Config

        config = state.get("config")
        if config is not None:
            # RecBole would take a file to unpickle from anything that can be asked for options.
            if type(config) is not Config and not _trusted():
                raise _refuse(f"settings of type {type(config).__name__}")
            # A new dict: what the file holds might call itself one and drop what it is given.
            config.final_config_dict = {**dict(config.final_config_dict), **dict.fromkeys(_PICKLES, _NOWHERE)}
        return state
    except CheckpointError as error:
        raise CheckpointError(f"{file}: {error}") from None
    except (
        RuntimeError,
        EOFError,
        pickle.UnpicklingError,
        zipfile.BadZipFile,
        OSError,
        AttributeError,
        TypeError,
    ) as error:
        raise CheckpointError(f"{file} is damaged ({error}). Use another file, or train again.") from error


def _refuse_programs(file: str | os.PathLike[str]) -> None:
    """torch runs an archive that holds TorchScript, whatever unpickler it is given."""
    with zipfile.ZipFile(file) as archive:
        names = [name.partition("/")[2] for name in archive.namelist()]
    if any(name == "constants.pkl" or name.startswith("code/") for name in names) and not _trusted():
        raise _refuse("a TorchScript program")


def _is_ours(file: str | os.PathLike[str]) -> bool:
    """Whether the pickle inside names our format; nothing is unpickled to find out."""
    with zipfile.ZipFile(file) as archive:
        for name in archive.namelist():
            if name.endswith("/data.pkl"):
                return FORMAT.encode() in archive.read(name)
    return False


# What checkpoints of RecBole's models are made of: what may be *called*, and what may only be named.
_CALLED = {
    "collections": {"OrderedDict", "defaultdict", "Counter"},
    "builtins": {"set", "frozenset", "slice", "complex", "range", "bytearray", "list", "dict", "int", "float", "str"},
    "_codecs": {"encode"},
    "copyreg": {"_reconstructor"},
    "logging": {"getLogger"},
    "torch": {"device", "Size"},
    "torch._utils": {"_rebuild_tensor_v2", "_rebuild_parameter", "_rebuild_sparse_tensor"},
    "torch.serialization": {"_get_layout"},
    "numpy": {"ndarray", "dtype"},
    "numpy.core.multiarray": {"scalar", "_reconstruct"},
    "numpy._core.multiarray": {"scalar", "_reconstruct"},
}
_NAMED = {
    "builtins": {"object"},
    "torch": {"Tensor"},
    "torch.storage": {"UntypedStorage", "TypedStorage"},
    "numpy": {"float64", "float32", "int64", "int32", "bool_", "str_"},
    "yaml.loader": {"FullLoader"},
}
_NAMED_PATTERN = re.compile(
    r"^(torch \w+Storage|torch (float|double|half|bfloat16|u?int\d*|long|short|bool)\d*"
    r"|scipy\.sparse\.\w+ \w+_(matrix|array)|numpy\.dtypes \w+DType)$"
)
# Of these packages any class may be named and be built empty, to receive its stored attributes: a Config names its
# model's class, and SASRecF and FDSA store their feature embeddings together with the data set these belong to.
_CLASSES_OF = ("recbole.", "torch.nn.modules.", "torch.nn.parameter")


def _trusted() -> bool:
    return os.environ.get("RECBOLE_INSTRUCTREC_TRUST_CHECKPOINTS") == "1"


def _refuse(what: str) -> CheckpointError:
    return CheckpointError(
        f"the checkpoint asks for {what}, which RecBole's checkpoints do not hold; nothing was run. "
        "If you trust the file, set RECBOLE_INSTRUCTREC_TRUST_CHECKPOINTS=1 and load it again."
    )


_PurePython: Any = pickle._Unpickler


class _SafeUnpickler(_PurePython):
    """Builds RecBole's objects and calls nothing but what rebuilds plain data.

    The pure-Python unpickler, because that one lets each instruction of the
    pickle be looked at; torch keeps tensors outside the pickle, so it is short.
    """

    dispatch: ClassVar[dict[int, Any]] = dict(_PurePython.dispatch)

    def find_class(self, module: str, name: str) -> Any:
        if _trusted():
            return super().find_class(module, name)
        if "." not in name:
            known = name in _CALLED.get(module, ()) or name in _NAMED.get(module, ())
            if known or _NAMED_PATTERN.match(f"{module} {name}"):
                return super().find_class(module, name)
            if module.startswith(_CLASSES_OF):
                found = super().find_class(module, name)
                # Not what a module has merely imported from elsewhere.
                if isinstance(found, type) and found.__module__ == module:
                    return found
        raise _refuse(f"{module}.{name}")

    def load_reduce(self) -> None:
        called = self.stack[-2]
        place, name = getattr(called, "__module__", None), getattr(called, "__qualname__", "")
        rebuilt = isinstance(called, type) and issubclass(called, Enum)
        if not (_trusted() or rebuilt or name in _CALLED.get(place or "", ()) or _is_called(called)):
            raise _refuse(f"a call of {place}.{name}")
        super().load_reduce()

    def load_newobj(self) -> None:
        if self.stack[-1] and not _trusted():
            raise _refuse(f"an object of {self.stack[-2]!r} made from {len(self.stack[-1])} values")
        super().load_newobj()

    def load_build(self) -> None:
        """Give an object its stored attributes, but none that would stand in for one of its methods."""
        receiver, state = self.stack[-2:]
        if not _trusted():
            kind = type(receiver)
            if isinstance(receiver, type) or (callable(receiver) and not isinstance(receiver, torch.nn.Module)):
                raise _refuse(f"a change of {receiver!r}")
            for part in state if isinstance(state, tuple) else (state,):
                for name in part if isinstance(part, dict) else ():
                    if callable(getattr(kind, str(name), None)):
                        raise _refuse(f"another {kind.__name__}.{name}")
        super().load_build()

    def load_refused(self) -> None:
        """Old or rare ways to make objects, which neither RecBole nor torch uses."""
        raise _refuse("an object made by an old or rare pickle instruction")

    dispatch[pickle.REDUCE[0]] = load_reduce
    dispatch[pickle.NEWOBJ[0]] = load_newobj
    dispatch[pickle.BUILD[0]] = load_build
    for _code in (pickle.NEWOBJ_EX, pickle.INST, pickle.OBJ, pickle.EXT1, pickle.EXT2, pickle.EXT4):
        dispatch[_code[0]] = load_refused


def _is_called(function: Any) -> bool:
    """Whether a function is one of :data:`_CALLED` under another module's name, as numpy's and torch's may be."""
    for module, names in _CALLED.items():
        loaded = sys.modules.get(module)
        if loaded is not None and any(getattr(loaded, name, None) is function for name in names):
            return True
    return False


def _load(stream: Any, **kwargs: Any) -> Any:
    return _SafeUnpickler(stream, **kwargs).load()


def _loads(data: bytes, **kwargs: Any) -> Any:
    return _load(io.BytesIO(data), **kwargs)


_SafePickle = types.ModuleType("recbole_instructrec_safe_pickle")
_SafePickle.Unpickler = _SafeUnpickler  # type: ignore[attr-defined]
_SafePickle.load = _load  # type: ignore[attr-defined]
_SafePickle.loads = _loads  # type: ignore[attr-defined]
_SafePickle.UnpicklingError = pickle.UnpicklingError  # type: ignore[attr-defined]
