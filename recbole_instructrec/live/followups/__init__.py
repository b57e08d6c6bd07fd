"""What a text says about the list before it: "more like the second one"."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from recbole_instructrec.data.words import DENSE
from recbole_instructrec.live.followups.patterns import (
    LONGEST,
    OF_A_LIST_THERE_IS,
    OF_AN_ITEM,
    OF_THE_LIST,
    RESET,
    Patterns,
    bare,
    bare_title,
    languages,
    patterns,
)

__all__ = [
    "OF_ANY_ITEM",
    "OF_A_LIST_THERE_IS",
    "OF_WHAT_WAS_TAKEN",
    "RESET",
    "FollowUp",
    "another",
    "bare_title",
    "follow_up",
    "going_on",
    "is_capitalised",
    "languages",
    "open_ended",
    "stands_out",
    "tied",
    "title_of",
]

_OPENING_QUOTES = ('"', "'", "“", "‘", "《", "「")

#: Of those that speak of an item, the ones that may name any by a title that is written as one.
OF_WHAT_WAS_TAKEN = ("seen", "like", "dislike")

#: Of those that speak of an item, the ones that may name any of the catalogue by its title.
OF_ANY_ITEM = ("more_like", "less_like")


@dataclass(frozen=True)
class FollowUp:
    """What is said about a list.

    Attributes
    ----------
    kind : str
        One of :data:`OF_AN_ITEM`, :data:`OF_THE_LIST`, :data:`OF_A_LIST_THERE_IS`, or ``goes_on``.
    item : int or None
        Internal id of the item that is spoken of.
    missing : str
        How an item was named that is not in the list; empty else.
    vague : bool
        Whether it was named as "this one", when none had been spoken of.
    text : str
        For ``goes_on``: what was asked before and now, as one text.
    alone : str
        For ``goes_on``: what is said now, without what ties it to the text before.
    also : bool
        Whether it goes for another item besides: "and the third one".
    named : str
        The words that name the item.
    by_place : bool
        Whether it is named by its place in the list.
    cardinal : bool
        Whether it is named by a word that may count something else, too: "not one bad joke".
    denied : bool
        Whether it is only denied, as in "not the first one".
    language : str
        That it was said in.
    """

    kind: str
    item: int | None = None
    missing: str = ""
    vague: bool = False
    text: str = ""
    alone: str = ""
    also: bool = False
    named: str = field(default="", compare=False)
    by_place: bool = field(default=False, compare=False)
    cardinal: bool = field(default=False, compare=False)
    denied: bool = field(default=False, compare=False)
    language: str = field(default="", compare=False)

    @property
    def counts(self) -> bool:
        """Whether a number may count something else than items of the list: "not one bad joke", "I saw one"."""
        return self.cardinal and self.kind not in OF_ANY_ITEM


def follow_up(
    text: str,
    before: str,
    shown: Sequence[int],
    titled: Callable[[str], Sequence[int]],
    latest: int | None = None,
    asked: bool = False,
) -> FollowUp | None:
    """Read a text as a follow-up, in any language there are patterns for.

    Parameters
    ----------
    text : str
        What the user says.
    before : str
        What the list before was asked for with; empty where there was nothing.
    shown : sequence of int
        The list before, the best first.
    titled : callable
        Items of a title, as :func:`bare_title` leaves it.
    latest : int, optional
        The item that was spoken of last, which "this one" means.
    asked : bool
        Whether something else than words asked for the list before, such as years or "films like Fargo": there is
        something to go on from without ``before``, too.

    Returns
    -------
    FollowUp or None
        None for a request of its own.
    """
    said = bare(text[:LONGEST])
    if not said:
        return None
    for language, known, kind, match in _matches(said) if len(text) <= LONGEST else ():
        if kind in OF_A_LIST_THERE_IS and not shown:
            continue
        if kind in (*OF_THE_LIST, *OF_A_LIST_THERE_IS):
            return FollowUp(kind, language=language)
        named = match["place"]
        item, missing = _item(named, match["thing"], known, shown, titled, latest)
        denied, kind = kind == "not", "dislike" if kind == "not" else kind
        # "more like a western" speaks of no item.
        if item is not None and item not in (*shown, latest) and kind not in OF_ANY_ITEM:
            item = item if not denied and _is_written_as_title(named, text, kind) else None
        if item is not None or missing:
            vague = bool(missing) and known.place(missing) == 0
            place = known.place(named) is not None
            cardinal = named in known.cardinals
            return FollowUp(
                kind,
                item,
                missing,
                vague,
                named=named,
                by_place=place,
                cardinal=cardinal,
                denied=denied,
                language=language,
            )
    if before or asked:
        for language in languages():
            known = patterns(language)
            if known.goes_on.match(known.without_politeness(said)):
                alone = known.ties.sub("", text) or text
                of_item = None if alone == text else follow_up(alone, "", shown, titled, latest)
                if of_item is not None and of_item.item is not None and not of_item.counts:
                    return of_item  # "but not the second one"
                return going_on(text, alone, before, language)
    return None


def another(
    text: str,
    after: FollowUp,
    shown: Sequence[int],
    titled: Callable[[str], Sequence[int]],
    latest: int | None = None,
) -> FollowUp | None:
    """One more item that the same is said of: "and the third one", after "I've seen the first".

    Parameters
    ----------
    text, shown, titled, latest
        As :func:`follow_up` has them.
    after : FollowUp
        What was said before.
    """
    if after.kind not in OF_AN_ITEM or len(text) > LONGEST:
        return None
    known = patterns(after.language)
    alone = known.joins.sub("", text)
    joined, kind = alone != text, after.kind
    turned = "" if joined else known.ties.sub("", text)
    if kind == "dislike" and not joined:
        alone, kind = turned, "more_like"  # "not the first one but the second"
    elif not joined and turned != text:  # "I've seen the first one, but the second"
        return None
    match = known.item.fullmatch(bare(alone))
    if match is None or match["place"] in known.cardinals:
        return None
    item, missing = _item(match["place"], match["thing"], known, shown, titled, latest)
    of_any = item is not None and kind in (*OF_ANY_ITEM, "seen") and stands_out(alone)
    if item not in shown and not missing and not of_any:
        return None
    place = known.place(match["place"]) is not None
    also = kind == after.kind
    return FollowUp(kind, item, missing, also=also, named=match["place"], by_place=place, language=after.language)


def stands_out(written: str) -> bool:
    """Whether some words are the name of something: "like home" names nothing."""
    return len(bare_title(written).split()) > 1 or is_capitalised(written)


def is_capitalised(written: str) -> bool:
    """Whether some words begin with a capital, an article aside, or with a quotation mark."""
    written = written.strip()
    at = bare(written).rfind(bare_title(written))
    return written[:1] in _OPENING_QUOTES or written[at : at + 1].isupper() or written[:1].isupper()


def going_on(text: str, alone: str, before: str, language: str) -> FollowUp:
    """A text that goes on with what was asked before.

    Parameters
    ----------
    text, before
        As :func:`follow_up` has them.
    alone : str
        The text without what ties it to the one before.
    language : str
        That it was said in.
    """
    if not before:
        return FollowUp("goes_on", text=alone, alone=alone, language=language)
    if bare(before).endswith(bare(text)):  # said twice
        return FollowUp("goes_on", text=before, alone=alone, language=language)
    joined = f"{open_ended(before)}{patterns(language).between}{text}"
    return FollowUp("goes_on", text=joined, alone=alone, language=language)


def tied(text: str, language: str) -> str:
    """A text, tied to the one before it: "also a comedy"."""
    known = patterns(language)
    return f"{known.tie}{'' if known.dense else ' '}{text}"


def _matches(said: str) -> Iterator[tuple[str, Patterns, str, re.Match[str]]]:
    """Patterns that fit a bare text, as it is or politeness aside: language, its patterns, kind, match."""
    dense = DENSE.search(said) is not None
    for language in languages():
        known = patterns(language)
        if known.dense and not dense:
            continue
        for form in dict.fromkeys((said, known.opened(said))):
            if not known.any.fullmatch(form):
                continue
            for kind, expression in known.kinds:
                match = expression.fullmatch(form)
                if match is not None:
                    yield language, known, kind, match


def title_of(text: str) -> str:
    """What stands for a title in a text such as "films like Zorgon", as it was written; empty where nothing does."""
    for _, _, kind, match in _matches(bare(text)) if len(text) <= LONGEST else ():
        if kind in OF_ANY_ITEM:
            return _written(match["place"], text)
    return ""


def _is_written_as_title(named: str, text: str, kind: str) -> bool:
    """Whether words name an item that nobody has spoken of: "I've seen Fargo" does, "I love kids" does not.

    To like or dislike, which counts for more, it takes several words and a capital, or quotation marks.
    """
    written, words = _written(named, text), len(bare_title(named).split())
    if kind not in OF_WHAT_WAS_TAKEN or text.isupper():
        return False
    quoted = written[:1] in _OPENING_QUOTES
    if kind == "seen":
        return quoted or words > 1 or (written[:1].isupper() and not text.lstrip().startswith(written))
    return quoted or (words > 1 and written[:1].isupper())


def _written(bare_words: str, text: str) -> str:
    """Bare words as they stand in a text, with a quotation mark before them."""
    words = r"\W+".join(map(re.escape, bare_words.split()))
    written = re.search(rf"[\"'“《]?{words}", text, re.IGNORECASE)
    return written[0] if written else bare_words


def open_ended(text: str) -> str:
    """A text without what ends a sentence, so that it can go on."""
    return text.rstrip(" .!?。！？")


def _item(
    named: str,
    thing: str | None,
    known: Patterns,
    shown: Sequence[int],
    titled: Callable[[str], Sequence[int]],
    latest: int | None,
) -> tuple[int | None, str]:
    """The item that is meant, or how a place was named that the list does not have."""
    whole = titled(bare_title(f"{named} {thing}")) if thing else ()
    if len(whole) == 1:  # "Air Force One"
        return whole[0], ""
    place = known.place(named)
    items = titled(bare_title(named))
    in_list = [item for item in shown if item in items]
    if place is not None and not in_list:  # "Seven" is a film of some lists
        if place == 0 and latest is not None:
            return latest, ""
        if shown and (place == -1 or 0 < place <= len(shown)):
            return shown[place if place < 0 else place - 1], ""
        if len(items) != 1:  # and of some catalogues
            return None, named
    # A title that several items have means one of the list, or nothing.
    return (in_list[0] if in_list else items[0] if len(items) == 1 else None), ""
