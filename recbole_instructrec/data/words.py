"""Words of a text in any script."""

from __future__ import annotations

import re

#: A word, or one character of a script that does not put spaces between words.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[\w'-]+")


def words_of(text: str) -> list[str]:
    """Lower-case words of a text; Chinese and Japanese characters one by one."""
    return _WORD.findall(text.lower())
