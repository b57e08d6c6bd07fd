"""Encoders of instructions, h(x): numbers of texts to vectors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from logging import getLogger
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from recbole_instructrec.data.words import words_of
from recbole_instructrec.model.intent import Intent
from recbole_instructrec.model.text import TransformerEncoder
from recbole_instructrec.model.text_vectors import FrozenTextEncoder
from recbole_instructrec.model.tuning import TunedTransformer


class Said(NamedTuple):
    """What the rows of a batch say: each distinct instruction once.

    Attributes
    ----------
    line : Tensor
        Each row's line in the others, -1 for no instruction, ``[n]``.
    numbers : Tensor
        Numbers of the distinct instructions, ``[n_instructions]``.
    vectors : Tensor or None
        h(x), ``[n_instructions, size]``; None when no row says anything.
    intent : Intent or None
        What they ask for; None without attributes to ask for.
    mentions : list of list of int
        Items that they name.
    frozen : Tensor or None
        Where the encoder is tuned: their vectors under the encoder as it came, ``[n_instructions, frozen size]``.
    cut : list of bool
        Whether they go on after what was read of them; empty where nobody asks.
    attention : list of Tensor
        Attention of each attribute to their tokens, ``[n_tokens, n_attributes]`` each; empty where no reader attends.
    """

    line: torch.Tensor
    numbers: torch.Tensor
    vectors: torch.Tensor | None = None
    intent: Intent | None = None
    mentions: Sequence[list[int]] = ()
    frozen: torch.Tensor | None = None
    cut: Sequence[bool] = ()
    attention: Sequence[torch.Tensor] = ()

    def of_lines(self, line: torch.Tensor, lines: torch.Tensor) -> Said:
        """Some of the instructions, for other rows.

        Parameters
        ----------
        line : Tensor
            Each row's place in ``lines``, -1 for no instruction, ``[n]``.
        lines : Tensor
            Which instructions, ``[n_lines]``; one may stand there more than once.
        """
        places = lines.tolist()
        if not places:  # nobody says anything
            return Said(line, self.numbers[lines])

        def taken(rows: Any) -> Any:
            if rows is None or isinstance(rows, torch.Tensor):
                return None if rows is None else rows[lines]
            return [rows[place] for place in places] if len(rows) else []

        return Said(
            line,
            self.numbers[lines],
            taken(self.vectors),
            None if self.intent is None else Intent(*map(taken, self.intent)),
            taken(self.mentions),
            taken(self.frozen),
            taken(self.cut),
            taken(self.attention),
        )


class FrozenInstructions(nn.Module):
    """Vectors of a transformer that is not trained: a look-up.

    Parameters
    ----------
    encoder : FrozenTextEncoder
        Encoder with its cache.
    texts : sequence of str
        Instruction texts by number.
    """

    vectors: torch.Tensor

    def __init__(self, encoder: FrozenTextEncoder, texts: Sequence[str]) -> None:
        super().__init__()
        self._encoder = encoder
        self.size = encoder.size
        self.register_buffer("vectors", torch.from_numpy(encoder(list(texts))), persistent=False)

    def forward(self, numbers: torch.Tensor) -> torch.Tensor:
        """Numbers ``[n]`` to vectors ``[n, size]``."""
        return self.vectors[numbers]

    def encode(self, texts: list[str]) -> torch.Tensor:
        """Vectors of new texts, ``[n, size]``."""
        return torch.from_numpy(self._encoder.encode(texts)).to(self.vectors.device)

    def are_cut(self, texts: list[str]) -> list[bool]:
        """Whether each text goes on after what is read of it."""
        return self._encoder.are_cut(texts)

    def read(self, texts: list[str], low_precision: bool = False) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Vectors of new texts, ``[n, size]``, and the states of their tokens, ``[n_tokens, 2 * size]`` each."""
        vectors, states = self._encoder.read(texts, low_precision)
        return torch.from_numpy(vectors).to(self.vectors.device), states


class TunedInstructions(nn.Module):
    """A transformer that is trained with the recommender.

    Parameters
    ----------
    encoder : TransformerEncoder
        Pretrained start.
    texts : sequence of str
        Instruction texts by number.
    tuning : str
        What of it is trained (``encoder_tuning``), see :class:`~recbole_instructrec.model.tuning.TunedTransformer`.
    rank : int
        Of adapters (``encoder_rank``).
    """

    ids: torch.Tensor
    mask: torch.Tensor

    def __init__(self, encoder: TransformerEncoder, texts: Sequence[str], tuning: str, rank: int) -> None:
        super().__init__()
        self._encoder = encoder
        self.size = encoder.size
        self.transformer = TunedTransformer(encoder.model, tuning, rank)
        ids, mask = encoder.tokenize(list(texts))
        self.register_buffer("ids", ids, persistent=False)
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, numbers: torch.Tensor) -> torch.Tensor:
        """Numbers ``[n]`` to vectors ``[n, size]``."""
        return self._read(self.ids[numbers], self.mask[numbers])

    def encode(self, texts: list[str]) -> torch.Tensor:
        """Vectors of new texts, ``[n, size]``."""
        ids, mask = self._encoder.tokenize(texts)
        return self._read(ids.to(self.ids.device), mask.to(self.ids.device))

    def are_cut(self, texts: list[str]) -> list[bool]:
        """Whether each text goes on after what is read of it."""
        return self._encoder.are_cut(texts)

    def _read(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        width = max(1, int(mask.sum(1).max())) if len(mask) else 1
        ids, mask = ids[:, :width], mask[:, :width]
        return self._encoder.pool(self.transformer(ids, mask), mask)


class BiLSTMInstructions(nn.Module):
    """Word vectors and a bidirectional LSTM, the source material's own design.

    Parameters
    ----------
    texts : sequence of str
        Instruction texts by number; their words are the vocabulary.
    size : int
        Width of the result.
    word_size : int
        Width of a word vector when there is no file.
    word_vectors : str or None
        word2vec or GloVe text file.
    trainable : bool
        Whether word vectors are trained.
    max_words : int
        Longer texts are cut.

    References
    ----------
    Graves and Schmidhuber, Framewise Phoneme Classification with Bidirectional
    LSTM, Neural Networks 2005.
    """

    ids: torch.Tensor

    def __init__(
        self,
        texts: Sequence[str],
        size: int,
        word_size: int,
        word_vectors: str | None,
        trainable: bool,
        max_words: int,
    ) -> None:
        super().__init__()
        self.size, self.max_words = size, max_words
        counts = Counter(word for text in texts for word in words_of(text))
        # 0 pads, 1 stands for a word that is not known.
        self.vocabulary = {word: index for index, word in enumerate(sorted(counts), 2)}
        known = read_word_vectors(word_vectors, self.vocabulary) if word_vectors else {}
        if word_vectors:
            word_size = len(next(iter(known.values())))
            getLogger().info(f"{len(known)} of {len(self.vocabulary)} words of the instructions are in {word_vectors}.")
        self.words = nn.Embedding(len(self.vocabulary) + 2, word_size, padding_idx=0)
        nn.init.normal_(self.words.weight, std=0.1)
        with torch.no_grad():
            self.words.weight[0] = 0
            for word, vector in known.items():
                self.words.weight[self.vocabulary[word]] = torch.from_numpy(vector)
        self.words.weight.requires_grad_(trainable)
        self.lstm = nn.LSTM(word_size, size // 2, batch_first=True, bidirectional=True)
        self.register_buffer("ids", self._ids(texts), persistent=False)

    def _ids(self, texts: Sequence[str]) -> torch.Tensor:
        coded = [[self.vocabulary.get(word, 1) for word in words_of(text)[: self.max_words]] or [1] for text in texts]
        ids = torch.zeros(len(coded), max(map(len, coded), default=1), dtype=torch.long)
        for row, codes in enumerate(coded):
            ids[row, : len(codes)] = torch.tensor(codes)
        return ids

    def forward(self, numbers: torch.Tensor) -> torch.Tensor:
        """Numbers ``[n]`` to vectors ``[n, size]``."""
        return self._read(self.ids[numbers])

    def encode(self, texts: list[str]) -> torch.Tensor:
        """Vectors of new texts, ``[n, size]``."""
        return self._read(self._ids(texts).to(self.ids.device))

    def are_cut(self, texts: list[str]) -> list[bool]:
        """Whether each text goes on after what is read of it."""
        return [len(words_of(text)) > self.max_words for text in texts]

    def _read(self, ids: torch.Tensor) -> torch.Tensor:
        length = (ids > 0).sum(1).clamp(min=1)
        if not len(ids):
            return self.words.weight.new_zeros(0, self.size)
        packed = nn.utils.rnn.pack_padded_sequence(
            self.words(ids), length.cpu(), batch_first=True, enforce_sorted=False
        )
        states, _ = nn.utils.rnn.pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
        return states.sum(1) / length.unsqueeze(1)


def read_word_vectors(file: str, wanted: dict[str, int]) -> dict[str, np.ndarray]:
    """Vectors of the wanted words from a word2vec or GloVe text file.

    Parameters
    ----------
    file : str
        A word and its numbers a line; word2vec's first line (counts) is skipped.
    wanted : dict
        Its keys are the words to read.

    Returns
    -------
    dict of str to ndarray
        float32 vectors of one width.

    Raises
    ------
    ValueError
        When the file is missing, a line is damaged (names it), or no wanted word is in it.
    """
    if not Path(file).is_file():
        raise ValueError(f"word_vectors: there is no file {file}.")
    found: dict[str, np.ndarray] = {}
    width = None
    with open(file, encoding="utf-8") as stream:
        for number, line in enumerate(stream, 1):
            word, *cells = line.rstrip().split(" ")
            if number == 1 and len(cells) == 1:
                continue  # word2vec: number of words and width
            width = width or len(cells)
            if word not in wanted:
                continue
            try:
                vector = np.array(cells, dtype=np.float32)
            except ValueError:
                vector = np.zeros(0, dtype=np.float32)
            if len(vector) != width or not width or not np.isfinite(vector).all():
                raise ValueError(f"word_vectors: {file}, line {number}: a word and {width} numbers are expected.")
            found[word] = vector
    if not found:
        raise ValueError(f"word_vectors: none of the instructions' words is in {file}; is it of another language?")
    return found


class InstructionSummary(nn.Module):
    """A few tokens that say what matters in an instruction, for the fusion to attend to.

    Parameters
    ----------
    size : int
        Width of h(x).
    hidden_size : int
        Width d.
    n_tokens : int
        Tokens an instruction.
    """

    def __init__(self, size: int, hidden_size: int, n_tokens: int) -> None:
        super().__init__()
        self.n_tokens = n_tokens
        self.project = nn.Linear(size, n_tokens * hidden_size)
        self.norm = nn.LayerNorm(hidden_size)

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """``[n, size]`` to ``[n, n_tokens, hidden_size]``."""
        return self.norm(self.project(vectors).view(len(vectors), self.n_tokens, -1))
