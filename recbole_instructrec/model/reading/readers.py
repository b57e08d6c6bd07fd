"""Where a reader comes from: the package, the disk, or lessons that are given now."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from logging import getLogger
from pathlib import Path
from typing import Any, NamedTuple

import torch

from recbole_instructrec.checkpoint import CheckpointError, save_atomically
from recbole_instructrec.data.instructions.words import Templates
from recbole_instructrec.model.reading.lessons import KeptStates, Known, Lessons, make_requests, teach
from recbole_instructrec.model.reading.reader import (
    IntentReader,
    Shape,
    TextVectors,
    TokenStates,
    shape_of,
    vectors_of_names,
)

# Change when training or shape change: readers kept on disk are of one version.
_VERSION = 6

_PACKAGED = Path(__file__).parent / "taught"


class Encoder(NamedTuple):
    """What a reader needs of a text encoder.

    Attributes
    ----------
    fingerprint : str
        Hash of its weights and settings.
    weights : str or None
        Hash of its weights alone, None where they are not one file.
    size : int
        Width of a token's state in one layer, and of a text's vector.
    token_states, vectors : callable
        Give states and vectors of texts.
    contextual : bool
        Whether a token's state knows of the tokens around it.
    """

    fingerprint: str
    weights: str | None
    size: int
    token_states: TokenStates
    vectors: TextVectors
    contextual: bool = True


def file_of(weights: str, languages: Sequence[str]) -> Path:
    """Where the reader of an encoder and of languages lies in the package."""
    return _PACKAGED / f"{weights[:16]}-{'-'.join(sorted(languages))}.pt"


def packaged_files(languages: Sequence[str]) -> list[Path]:
    """Readers of some languages that lie in the package, of any encoder."""
    return sorted(_PACKAGED.glob(f"{'?' * 16}-{'-'.join(sorted(languages))}.pt"))


def packaged(weights: str | None, languages: Sequence[str]) -> dict[str, Any] | None:
    """The reader that comes with the package for an encoder and languages, None where there is none.

    Parameters
    ----------
    weights : str or None
        SHA-256 of the encoder's weights.
    languages : sequence of str
        Of the instructions.

    Returns
    -------
    dict or None
        Keys ``reader`` (a ``state_dict``), ``adapter`` (of :class:`~.adapter.LowRank`), ``memory`` (of
        :class:`~.memory.RequestMemory`), ``about`` (how they were made).
    """
    file = None if weights is None else file_of(weights, languages)
    return torch.load(file, map_location="cpu", weights_only=True) if file is not None and file.is_file() else None


def save_packaged(
    reader: IntentReader,
    adapter: dict[str, torch.Tensor],
    weights: str,
    languages: Sequence[str],
    about: dict[str, Any],
    file: Path | None = None,
) -> Path:
    """Write a reader to where :func:`packaged` looks; its numbers in half precision.

    Parameters
    ----------
    reader : IntentReader
        Taught.
    adapter : dict
        Of its encoder.
    weights : str
        SHA-256 of the encoder's weights.
    languages : sequence of str
        That it reads.
    about : dict
        How it was taught; plain values.
    file : Path, optional
        Another place.
    """

    def half(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {name: value.half() if value.is_floating_point() else value for name, value in state.items()}

    file = file or file_of(weights, languages)
    file.parent.mkdir(exist_ok=True)
    save_atomically({"reader": half(reader.state_dict()), "adapter": half(adapter), "about": about}, file)
    return file


def _filled(size: int, stored: dict[str, torch.Tensor]) -> IntentReader:
    with torch.random.fork_rng():
        reader = IntentReader(size, shape_of(stored))
    reader.load_state_dict(stored)  # into single precision
    return reader.eval().requires_grad_(False)


def shape_for(encoder: Encoder, languages: Sequence[str], own: bool = False) -> Shape:
    """The shape of the reader that :func:`reader_of` will give.

    Parameters
    ----------
    encoder : Encoder
        Its encoder.
    languages : sequence of str
        That it reads.
    own : bool
        Whether one is taught though the package holds one.
    """
    found = None if own else packaged(encoder.weights, languages)
    return Shape(recurrent=not encoder.contextual) if found is None else shape_of(found["reader"])


def reader_of(
    encoder: Encoder,
    templates: Templates,
    names: Sequence[str],
    others: Sequence[str],
    folder: Path,
    progress: bool = True,
    lessons: Lessons | None = None,
    seed: int = 2020,
    own: bool = False,
) -> IntentReader:
    """The reader of an encoder: from the package; or one for a set of attributes, from disk, or taught now and kept.

    Parameters
    ----------
    encoder : Encoder
        Gives states and vectors.
    templates : Templates
        Words that it is taught with.
    names : sequence of str
        Attributes.
    others : sequence of str
        Texts that ask for nothing.
    folder : Path
        Where readers are kept.
    progress : bool
        Whether bars are shown.
    lessons : Lessons, optional
        How long it is taught.
    seed : int
        Of its training.
    own : bool
        Whether one is taught for these attributes though the package holds one.

    Returns
    -------
    IntentReader
        In evaluation mode, without gradients.
    """
    found = None if own else packaged(encoder.weights, templates.languages)
    if found is not None:
        return _filled(encoder.size, found["reader"])
    lessons = lessons or Lessons(texts=Lessons().texts * len(templates.languages))
    told = hashlib.sha256(json.dumps(list(others)).encode()).hexdigest()
    known = [_VERSION, encoder.fingerprint, templates.fingerprint, list(names), told, lessons._asdict(), seed]
    name = hashlib.sha256(json.dumps(known).encode()).hexdigest()[:16]
    file = folder / f"reader-{name}.pt"
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        reader = IntentReader(encoder.size, shape_for(encoder, templates.languages, own=True))
    if file.is_file():
        try:
            reader.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
            return reader.eval().requires_grad_(False)
        except Exception as error:
            getLogger().warning(f"the reader {file} cannot be used ({error}); it is trained again.")
    getLogger().info(f"Learning to read instructions about {len(names)} attributes; done once and kept in {file}.")
    texts, wishes = make_requests(templates, names, others, lessons.texts, seed)
    vectors = vectors_of_names(names, encoder.vectors)
    loss = teach(reader, KeptStates(encoder.token_states(texts)), wishes, Known.all(vectors), lessons, seed, progress)
    getLogger().info(f"The reader has learned (loss {loss:.3f}).")
    try:
        save_atomically(reader.state_dict(), file)
    except (OSError, CheckpointError) as error:
        getLogger().warning(f"the reader is not kept in {file} ({error}); it will be trained again.")
    return reader.requires_grad_(False)
