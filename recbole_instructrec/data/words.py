"""Words of a text in any script."""

from __future__ import annotations

import html
import re
import unicodedata

_NO_SPACES = r"\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"

#: A character of a script that is read one by one: Chinese, Japanese, Korean.
DENSE = re.compile(rf"[{_NO_SPACES}]")

#: A word, or one such character.
_WORD = re.compile(rf"[{_NO_SPACES}]|(?:(?![{_NO_SPACES}])[\w'-])+")

#: Control characters, and halves of surrogate pairs.
_ILLEGIBLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")

#: A tag of HTML or XML, or a comment: not "<3", nor "a < b".
_TAG = re.compile(r"<!--.*?-->|</?[A-Za-z][\w:-]*(?:\s[^<>]*)?/?>", re.DOTALL)

_ACCENTS = re.compile(r"[\u0300-\u036f]")
_APOSTROPHES = re.compile(r"['’‘ʼ`´]")
_OTHER_PUNCTUATION = re.compile(r"[^\w\s]|_")

#: Articles that titles begin with, or end with after a comma.
ARTICLES = {"the", "a", "an", "la", "le", "les", "il", "el", "der", "die", "das"}

#: Words of any sentence: a title made of them ("It", "The Other", "Anything Else") does not stand out in one.
COMMON = ARTICLES | set(
    """
    i me my you your he him his she her it its we us our they them their this that these those who what which
    where when why how all any anything anyone every everything everyone some something someone nothing no none
    one other others else another same first last next only and or but if so as at by for from in into of off on
    out over to up with without about after before is are was were be been do does did have has had can could
    will would should not more most much many very too here there now then good bad new old big little
    """.split()  # noqa: SIM905
)


def legible(text: str) -> str:
    """What a text says: without markup, control characters and lone surrogates, which tokenizers fail on.

    Parameters
    ----------
    text : str
        As somebody typed or pasted it.

    Returns
    -------
    str
        With single spaces; entities of HTML are characters, tags are gone.
    """
    return " ".join(_ILLEGIBLE.sub(" ", _TAG.sub(" ", html.unescape(text))).split())


def words_of(text: str) -> list[str]:
    """Lower-case words of a text; Chinese and Japanese characters one by one."""
    return _WORD.findall(text.lower())


def plain(text: str) -> str:
    """A text without what people leave out when they type a title: capitals, accents and apostrophes."""
    text = _APOSTROPHES.sub("", text.casefold())
    return unicodedata.normalize("NFC", _ACCENTS.sub("", unicodedata.normalize("NFKD", text)))


def plain_words(text: str) -> list[str]:
    """Words of a text as :func:`plain` leaves it; other punctuation, hyphens too, parts words."""
    return words_of(_OTHER_PUNCTUATION.sub(" ", plain(text.replace("&", " and "))))


def spans_of(text: str) -> list[tuple[int, int]]:
    """Where the words of :func:`words_of` stand in a text: first character, and the one after the last."""
    return [match.span() for match in _WORD.finditer(text)]
