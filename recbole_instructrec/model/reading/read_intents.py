"""Intents of instructions under a reader that is trained before the recommender."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from recbole_instructrec.data.instructions.words import Templates
from recbole_instructrec.model.intent import N_DEGREES, Intent
from recbole_instructrec.model.reading.lessons import Lessons
from recbole_instructrec.model.reading.memory import RequestMemory, whole_of
from recbole_instructrec.model.reading.reader import IntentReader, vectors_of_names
from recbole_instructrec.model.reading.readers import Encoder, packaged, reader_of, shape_for
from recbole_instructrec.model.text import TransformerEncoder
from recbole_instructrec.model.text_cache import TextCache
from recbole_instructrec.model.text_vectors import FrozenTextEncoder
from recbole_instructrec.model.universal import UniversalEncoder

_AT_A_TIME = 256


class ReadIntents(nn.Module):
    """What the texts of a data set ask for, read once by an :class:`IntentReader`.

    The reader is a part of the model, so checkpoints hold it: it is trained, or
    taken from disk, when it is first needed and no checkpoint has given it.

    Parameters
    ----------
    encoder : FrozenTextEncoder
        Gives the states of tokens; with the adapter of the packaged reader, where that is used.
    of_names : FrozenTextEncoder
        Gives the vectors of the attributes' names; as it came.
    texts : sequence of str
        Instruction texts by number.
    names : sequence of str
        Attributes.
    templates : Templates
        Words that the reader learns from.
    others : sequence of str
        Texts that ask for nothing.
    lessons : Lessons or None
        How long a reader of the data set's own learns; None for the one in the package, where it holds one.
    progress : bool
        Whether bars are shown.
    """

    learned: torch.Tensor
    vectors: torch.Tensor

    def __init__(
        self,
        encoder: FrozenTextEncoder,
        of_names: FrozenTextEncoder,
        texts: Sequence[str],
        names: Sequence[str],
        templates: Templates,
        others: Sequence[str],
        lessons: Lessons | None,
        progress: bool,
    ) -> None:
        super().__init__()
        self._encoder, self._texts, self._progress = encoder, list(texts), progress
        self._names, self._templates, self._others = list(names), templates, list(others)
        self._lessons = lessons
        self._of = Encoder(
            encoder.fingerprint, encoder.weights, encoder.size, encoder.token_states, of_names, encoder.contextual
        )
        shape = shape_for(self._of, templates.languages, own=lessons is not None)
        self.reader = IntentReader(encoder.size, shape).eval().requires_grad_(False)
        self.register_buffer("vectors", vectors_of_names(names, of_names), persistent=False)
        found = packaged(encoder.weights, templates.languages) if lessons is None else None
        self.memory = RequestMemory.of(found["memory"], names) if found is not None and "memory" in found else None
        self.register_buffer("learned", torch.tensor(0.0))
        self._read: torch.Tensor | None = None

    @property
    def encoder(self) -> str:
        """Hash of the encoder whose states are read."""
        return self._encoder.fingerprint

    @property
    def tokens_of(self) -> TransformerEncoder | UniversalEncoder | None:
        """What splits a text into tokens; None where only cached vectors are at hand."""
        return self._encoder.encoder

    @property
    def comes_with(self) -> list[str]:
        """Hashes of what is not stored with the weights: the encoder, and the requests that are remembered."""
        return [self.encoder, *([] if self.memory is None else [self.memory.fingerprint])]

    def train(self, mode: bool = True) -> ReadIntents:
        """The reader stays as it is: it is not trained with the recommender."""
        super().train(mode)
        self.reader.eval()
        return self

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._read = None  # what another reader made of the texts

    def learn(self) -> None:
        """Train the reader, or take it from disk, unless it has been loaded."""
        if self.learned:
            return
        reader = reader_of(
            self._of,
            self._templates,
            self._names,
            self._others,
            self._encoder.folder,
            self._progress,
            self._lessons,
            own=self._lessons is not None,
        )
        self.reader.load_state_dict(reader.state_dict())
        self.learned.fill_(1.0)

    def forward(self, numbers: torch.Tensor) -> Intent:
        """Intents of the data set's texts by their numbers, ``[n]``."""
        if self._read is None:
            self.learn()
            parts = [self.reader.state_dict()[name].cpu().numpy().tobytes() for name in self.reader.state_dict()]
            cache = TextCache(
                self._encoder.folder,
                "intents",
                hashlib.sha256(
                    b"".join([*parts, self.vectors.cpu().numpy().tobytes(), *map(str.encode, self.comes_with)])
                ).hexdigest(),
            )
            width = 2 * len(self._names) + N_DEGREES
            flat = cache.vectors(self._texts, lambda texts: self.read(texts).flat().cpu().numpy(), width)
            self._read = torch.from_numpy(flat).to(self.learned.device)
        return Intent.of(self._read[numbers])

    def read(self, texts: list[str]) -> Intent:
        """Intents of any texts, ``[n]``."""
        return self.read_states(self._encoder.token_states(texts))

    def read_states(self, states: Sequence[torch.Tensor]) -> Intent:
        """As :meth:`read`, from the states of the texts' tokens, ``[n_tokens, 2 * size]`` each."""
        return self.attend(states)[0]

    @torch.no_grad()
    def attend(self, states: Sequence[torch.Tensor]) -> tuple[Intent, list[torch.Tensor]]:
        """As :meth:`read_states`, and the attention of each attribute to the tokens, ``[n_tokens, n_attributes]``."""
        self.learn()
        flat, attention = [], []
        for begin in range(0, len(states), _AT_A_TIME):
            part = states[begin : begin + _AT_A_TIME]
            intent, weight = self.reader.read(part, self.vectors)
            if self.memory is not None:
                intent = self.memory(intent, whole_of(part).to(intent.presence.device))
            flat.append(intent.flat())
            attention += [row[: len(state)] for row, state in zip(weight, part, strict=True)]
        return Intent.of(torch.cat(flat)), attention
