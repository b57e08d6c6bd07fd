"""Words of a text in any script."""

from __future__ import annotations

import re

#: A word, or one character of a script that does not put spaces between words.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[\w'-]+")

#: Control characters, and halves of surrogate pairs.
_ILLEGIBLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def legible(text: str) -> str:
    """A text with single spaces and without control characters and lone surrogates, which tokenizers fail on."""
    return " ".join(_ILLEGIBLE.sub(" ", text).split())


def words_of(text: str) -> list[str]:
    """Lower-case words of a text; Chinese and Japanese characters one by one."""
    return _WORD.findall(text.lower())
