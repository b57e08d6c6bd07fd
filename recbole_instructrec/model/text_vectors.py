"""Frozen vectors of texts: encoder and cache joined."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from recbole_instructrec.model.encoders import text_encoder
from recbole_instructrec.model.text import PACKAGED_NAME, PACKAGED_SHA256, EncoderNotFound, TransformerEncoder
from recbole_instructrec.model.text_cache import TextCache, default_folder
from recbole_instructrec.model.universal import UNIVERSAL_NAME, UniversalEncoder


class FrozenTextEncoder:
    """Vectors of texts from a transformer that is not trained, kept on disk.

    Parameters
    ----------
    name : str
        Hugging Face name or local path.
    max_tokens : int
        Longer texts are cut.
    cache_dir : str or None
        Folder of the cache; the default one when None.
    progress : bool
        Whether encoding many texts shows a progress bar.
    adapter : dict of str to Tensor, optional
        What a packaged reader adds to the encoder's weights: another encoder, with a cache of its own.

    Raises
    ------
    EncoderNotFound
        When there are neither weights nor cached vectors.
    """

    def __init__(
        self,
        name: str,
        max_tokens: int,
        cache_dir: str | None = None,
        progress: bool = True,
        adapter: dict[str, torch.Tensor] | None = None,
    ) -> None:
        self._progress = progress
        label = f"{name}-{max_tokens}"  # the same text cut elsewhere has another vector
        if adapter is not None:
            label += "-reading"
        folder = self.folder = Path(cache_dir).expanduser() if cache_dir else default_folder()
        self._missing: EncoderNotFound | None = None
        try:
            self.encoder: TransformerEncoder | UniversalEncoder | None = text_encoder(name, max_tokens, adapter)
            fingerprint, self.size = self.encoder.fingerprint, self.encoder.size
        except EncoderNotFound as error:
            # A machine may have been given the cached vectors without the weights.
            known = TextCache.find(folder, label)
            if known is None:
                raise
            self.encoder, self._missing, fingerprint = None, error, known
            self.size = self._cached_size(folder, label, known)
        self.weights = PACKAGED_SHA256 if self.encoder is None and name == PACKAGED_NAME else None
        if self.encoder is not None:
            self.weights = self.encoder.weights
        self.contextual = name != UNIVERSAL_NAME if self.encoder is None else self.encoder.contextual
        self.fingerprint = fingerprint[:16]  # as much as a cache file's name tells
        self.cache = TextCache(folder, label, fingerprint)

    @staticmethod
    def _cached_size(folder: Path, label: str, fingerprint: str) -> int:
        connection = TextCache(folder, label, fingerprint)._connect()
        try:
            row = connection.execute("SELECT length(vector) FROM vectors LIMIT 1").fetchone()
        finally:
            connection.close()
        return row[0] // 4 if row else 0

    def __call__(self, texts: list[str]) -> np.ndarray:
        """Vectors of texts, float32, ``[n_texts, size]``."""
        return self.cache.vectors(texts, self._encode, self.size)

    def encode(self, texts: list[str]) -> np.ndarray:
        """Vectors of texts that will not come again, such as requests: not kept where weights are at hand."""
        return self(texts) if self.encoder is None else self._encode(texts)

    def read(self, texts: list[str], low_precision: bool = False) -> tuple[np.ndarray, list[torch.Tensor]]:
        """What :meth:`encode` and :meth:`token_states` give, in one pass."""
        return self._weights(texts).read(texts, progress=self._progress, low_precision=low_precision)

    def token_states(self, texts: list[str]) -> list[torch.Tensor]:
        """States of the tokens of texts, float16, ``[n_tokens, 2 * size]`` each; these are not kept on disk."""
        return self._weights(texts).token_states(texts, progress=self._progress)

    def are_cut(self, texts: list[str]) -> list[bool]:
        """Whether each text goes on after what is read of it; not known, so False, where only vectors are at hand."""
        return [False] * len(texts) if self.encoder is None else self.encoder.are_cut(texts)

    def _encode(self, texts: list[str]) -> np.ndarray:
        return self._weights(texts).encode(texts, progress=self._progress)

    def _weights(self, texts: list[str]) -> TransformerEncoder | UniversalEncoder:
        if self.encoder is None:
            raise EncoderNotFound(
                f"{len(texts)} texts are not in the cache {self.cache.file} (such as {texts[0][:60]!r}). "
                f"{self._missing}"
            )
        return self.encoder
