"""Start training from a checkpoint, also of another data set (option ``pretrained``).

What a model has learned of histories, instructions and texts holds for any
catalogue, provided that texts are seen in the same space; so the new model takes
over the checkpoint's projections of texts (:mod:`~recbole_instructrec.model.projection`)
and then its parameters. What it has learned of single items goes to the items
that have the same texts (:mod:`~recbole_instructrec.model.item_matching`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from recbole_instructrec import checkpoint
from recbole_instructrec.checkpoint import CheckpointError
from recbole_instructrec.model.item_matching import ItemTexts, match_items
from recbole_instructrec.model.projection import Projection, projections_in

if TYPE_CHECKING:
    from recbole_instructrec.model.instructrec import InstructRec
    from recbole_instructrec.model.text_vectors import FrozenTextEncoder

#: Parameters with one row an item.
_ITEM_ROWS = ("items.id.weight", "item_bias")

#: Those that a model may lack.
_MORE_ITEM_ROWS = ("match.moved", "frozen_match.moved")

#: Histories are left aligned: a position means the same in tables of any length.
_POSITIONS = "behaviour.position.weight"

#: Parameters that stand for things of the data set, whose hashes are in the checkpoint (``InstructRec.made_for``).
_OF_THE_DATA_SET: tuple[tuple[tuple[str, ...], str], ...] = (
    (("intent.",), "attributes"),
    (("intent.",), "reader of requests"),
    (("context.",), "context fields"),
    (("instructions.", "summary.", "match.query.", "intent."), "vocabulary"),
)

#: Options that change what parameters mean and not their shapes.
_OF_AN_OPTION: tuple[tuple[tuple[str, ...], str], ...] = (
    (("behaviour.blocks.", "fusion."), "n_heads"),
    (("items.adaptors.",), "item_fusion"),
    (("intent.",), "instruction_language"),
    (("log_scale",), "temperature"),
)


@dataclass
class Catalogue:
    """What a checkpoint says of its items.

    Attributes
    ----------
    texts : ItemTexts
        Of all items, the padding item included.
    text_encoder : str
        Fingerprint of the encoder of these texts.
    """

    texts: ItemTexts
    text_encoder: str

    @staticmethod
    def of(dataset: Any, encoder: FrozenTextEncoder | None) -> Catalogue:
        """That of an :class:`InstructRecDataset`."""
        return Catalogue(ItemTexts.of(dataset), encoder.fingerprint if encoder is not None else "")

    def plain(self) -> dict[str, Any] | None:
        """As a checkpoint holds it; None where no item has a name."""
        if not any(self.texts.names):
            return None
        return {"texts": self.texts.pack(), "text_encoder": self.text_encoder}


def projections_of_weights_to_come(config: Any) -> dict[str, Projection]:
    """Projections of the checkpoint that is resumed or loaded, for a model whose weights are read later.

    A model that started from another data set has that one's projections, and the
    shapes of its parameters follow from them.

    Parameters
    ----------
    config : recbole.config.Config
        Options of the run.

    Returns
    -------
    dict of str to Projection
        Empty when there is no such checkpoint; what is wrong with it is said when the weights are read.
    """
    file = str(config["resume"] or config[checkpoint.LOADED_FROM] or "").removesuffix(".resume")
    for name in (file, f"{file}.resume"):
        if file and Path(name).is_file():
            return projections_in(_weights(checkpoint.read(name), name))
    return {}


@dataclass
class Pretrained:
    """A checkpoint that has been found fit to start from.

    Attributes
    ----------
    file : str
        For messages.
    weights : dict
        Its state dict.
    catalogue : Catalogue
        Its items.
    projections : dict of str to Projection
        Its projections of texts and other modalities.
    other_options : dict of str to str
        Options of :data:`_OF_AN_OPTION` that differ, and how.
    own_popularity : bool
        Whether item biases start from the popularity in the data set at hand, which the checkpoint's would replace.
    """

    file: str
    weights: dict[str, Any]
    catalogue: Catalogue
    projections: dict[str, Projection]
    other_options: dict[str, str]
    own_popularity: bool

    @classmethod
    def read(cls, config: Any, dataset: Any, encoder: FrozenTextEncoder | None) -> Pretrained:
        """Read the checkpoint that ``pretrained`` names.

        Parameters
        ----------
        config : recbole.config.Config
            Options of the run.
        dataset : InstructRecDataset
            Data set at hand.
        encoder : FrozenTextEncoder or None
            Encoder of its item texts.

        Returns
        -------
        Pretrained

        Raises
        ------
        CheckpointError
            When the file is missing or damaged, was trained with another text encoder or
            ``hidden_size``, or when there are no item texts, in the file or at hand.
        """
        file = config["pretrained"]
        try:
            state = checkpoint.read(file)
        except CheckpointError as error:
            raise CheckpointError(f"pretrained: {error}") from None
        weights, options = _weights(state, file), dict(state.get("config") or {})
        catalogue = _catalogue(state, weights, file)
        if not any(dataset.item_names):
            raise CheckpointError(
                "pretrained: the items of the data set at hand have no texts, by which they are matched. "
                "Name their title and what else describes them in item_text_fields."
            )
        if options.get("hidden_size") != config["hidden_size"]:
            raise CheckpointError(
                f"pretrained: {file} was trained with hidden_size {options.get('hidden_size')}, and this run has "
                f"hidden_size {config['hidden_size']}. Give --hidden_size={options.get('hidden_size')}."
            )
        if encoder is None or encoder.fingerprint != catalogue.text_encoder:
            raise CheckpointError(
                f"pretrained: {file} was trained with another text encoder ({options.get('text_encoder')}, fingerprint "
                f"{catalogue.text_encoder}) than that of this run ({config['text_encoder']}, "
                f"fingerprint {encoder.fingerprint if encoder else 'none'}). "
                "Give that encoder as --text_encoder, or another checkpoint."
            )
        other_options = {
            name: f"{name} {options.get(name)} there, {config[name]} here"
            for _, name in _OF_AN_OPTION
            if options.get(name) != checkpoint.plain(config[name])
        }
        return cls(file, weights, catalogue, projections_in(weights), other_options, bool(config["popularity_prior"]))

    def transfer(self, model: InstructRec) -> None:
        """Copy into a new model all that holds for it, and log what was copied.

        Parameters
        ----------
        model : InstructRec
            With the projections of this checkpoint where it has them.
        """
        rows = match_items(self.catalogue.texts, model.catalogue.texts)
        new = torch.from_numpy(np.flatnonzero(rows >= 0))
        old = torch.from_numpy(rows[rows >= 0])
        own = model.state_dict()
        names = [name for name, _ in model.named_parameters() if name not in _ITEM_ROWS + _MORE_ITEM_ROWS]
        names += [name for name in own if name == "intent.learned"]  # the reader's weights and that it has learned
        left: dict[str, str] = {}
        with torch.no_grad():
            for name in _ITEM_ROWS + _MORE_ITEM_ROWS:
                kept = name == "item_bias" and self.own_popularity
                if name in own and name in self.weights and not kept:
                    own[name][new] = self.weights[name][old]
            for name in names:
                reason = self._reason_to_leave(name, own[name], model)
                if reason is None:
                    own[name].copy_(self.weights[name])
                else:
                    left[name] = reason
            if left.get(_POSITIONS, "").startswith("shape"):
                stored = self.weights[_POSITIONS]
                both = min(len(stored), len(own[_POSITIONS]))
                own[_POSITIONS][:both] = stored[:both]
                left[_POSITIONS] = f"from position {both} on"
        self._log(len(new), len(rows) - 1, names, left, own)

    def _reason_to_leave(self, name: str, value: torch.Tensor, model: InstructRec) -> str | None:
        """Why a parameter keeps its initialisation; None when it is copied."""
        stored = self.weights.get(name)
        if not isinstance(stored, torch.Tensor):
            return "not in the checkpoint"
        known = self.weights.get("_extra_state") or {}
        for prefixes, part in _OF_THE_DATA_SET:
            if name.startswith(prefixes) and known.get(part) != model.made_for.get(part):
                return f"other {part}"
        for prefixes, option in _OF_AN_OPTION:
            if name.startswith(prefixes) and option in self.other_options:
                return self.other_options[option]
        if name.startswith("items.adaptors."):
            modality = name.split(".")[2]
            given, used = self.projections.get(f"whitening.{modality}"), model.whitening[modality]
            # Vectors of another width are another modality of the same name.
            if given is None or given.width != used.width:
                return "other item vectors"
        if stored.shape != value.shape:
            return f"shape {tuple(stored.shape)} there, {tuple(value.shape)} here"
        return None

    def _log(self, matched: int, n_items: int, names: Sequence[str], left: dict[str, str], own: dict[str, Any]) -> None:
        log = getLogger()
        text = f"pretrained: {matched} of {n_items} items are in {self.file} by their texts and start from its vectors."
        if matched:
            log.info(text)
        else:
            log.warning(f"{text} Do the first item_text_fields of both hold the same, such as a title?")
        parts: dict[str, list[str]] = {}
        for name in names:
            parts.setdefault(name.partition(".")[0], []).append(name)
        taken = [
            part if not left.keys() & set(of_part) else f"{part} (in part)"
            for part, of_part in parts.items()
            if set(of_part) - left.keys()
        ]
        log.info(f"pretrained: taken over: {', '.join(taken)}.")
        kept = []
        for part, of_part in parts.items():
            reasons = {name: left[name] for name in of_part if name in left}
            if len(reasons) == len(of_part) and len(set(reasons.values())) == 1:
                kept.append(f"{part} ({left[of_part[0]]})")
            else:
                kept += [f"{name} ({reason})" for name, reason in reasons.items()]
        if kept:
            log.info(f"pretrained: left as initialised: {'; '.join(kept)}.")
        unused = {".".join(name.split(".")[:2]) for name in self.weights.keys() - own.keys() if name != "_extra_state"}
        if unused:
            log.info(f"pretrained: not used, for this model has no such part: {', '.join(sorted(unused))}.")


def _weights(state: dict[str, Any], file: Any) -> dict[str, Any]:
    weights = state.get("state_dict")
    if not isinstance(weights, dict):
        raise CheckpointError(f"{file} is damaged (it holds no weights). Use another file, or train again.")
    return weights


def _catalogue(state: dict[str, Any], weights: dict[str, Any], file: str) -> Catalogue:
    stored = state.get("catalogue")
    if stored is None:
        raise CheckpointError(
            f"pretrained: {file} holds no item texts, by which items are matched: it was trained without "
            "item_text_fields, or written by an earlier version. Train it again with item_text_fields."
        )
    try:
        catalogue = Catalogue(ItemTexts.unpack(stored["texts"]), str(stored["text_encoder"]))
        if any(len(weights[name]) != len(catalogue.texts.names) for name in _ITEM_ROWS):
            raise ValueError("texts and weights are of different items")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"pretrained: {file} is damaged (its items: {error}). Use another file, or train it again."
        ) from error
    return catalogue
