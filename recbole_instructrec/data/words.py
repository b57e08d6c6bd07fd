"""Words of a text in any script."""

from __future__ import annotations

import re

# Characters of scripts that do not put spaces between words.
_DENSE = r"\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"

#: A word, or one such character.
_WORD = re.compile(rf"[{_DENSE}]|(?:(?![{_DENSE}])[\w'-])+")

#: Control characters, and halves of surrogate pairs.
_ILLEGIBLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def legible(text: str) -> str:
    """A text with single spaces and without control characters and lone surrogates, which tokenizers fail on."""
    return " ".join(_ILLEGIBLE.sub(" ", text).split())


def words_of(text: str) -> list[str]:
    """Lower-case words of a text; Chinese and Japanese characters one by one."""
    return _WORD.findall(text.lower())


def spans_of(text: str) -> list[tuple[int, int]]:
    """Where the words of :func:`words_of` stand in a text: first character, and the one after the last."""
    return [match.span() for match in _WORD.finditer(text)]
