"""Which text encoder a name stands for."""

from __future__ import annotations

import torch

from recbole_instructrec.model.text import TransformerEncoder
from recbole_instructrec.model.universal import UNIVERSAL_NAME, UniversalEncoder


def text_encoder(
    name: str, max_tokens: int, adapter: dict[str, torch.Tensor] | None = None
) -> TransformerEncoder | UniversalEncoder:
    """The encoder of a name (option ``text_encoder``).

    Parameters
    ----------
    name : str
        :data:`~recbole_instructrec.model.universal.UNIVERSAL_NAME`, or a Hugging Face name or local path.
    max_tokens : int
        Longer texts are cut.
    adapter : dict of str to Tensor, optional
        Of a transformer.

    Raises
    ------
    EncoderNotFound
        When there are no weights.
    """
    if name == UNIVERSAL_NAME:
        return UniversalEncoder(name, max_tokens)
    return TransformerEncoder(name, max_tokens, adapter)
