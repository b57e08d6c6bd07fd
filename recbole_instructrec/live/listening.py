"""What a text means in a conversation: a request of its own, or what is said of the list before."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from recbole_instructrec.live.catalogue import Catalogue
from recbole_instructrec.live.events import UNDO
from recbole_instructrec.live.followups import OF_A_LIST_THERE_IS, RESET, FollowUp, follow_up, title_sought
from recbole_instructrec.live.followups.patterns import bare, bare_title
from recbole_instructrec.live.followups.years import Years, years_in
from recbole_instructrec.live.phrases import Phrases, language_of, languages, phrases
from recbole_instructrec.live.request import Request

_QUOTES = "\"'“”《》"

# What can be said of a list together with years: "more like the second one, from before 1980".
_WITH_YEARS = ("goes_on", "more_like", "less_like", "more", "unseen", RESET)


@dataclass
class Talk:
    """A conversation up to now.

    Attributes
    ----------
    request : Request
        That the last list answers.
    shown : list of int
        The last list, the best first.
    latest : int or None
        The item that was spoken of last.
    reasons : mapping of int to str
        Why each item of the last list is there.
    language : str
        That was spoken last.
    """

    request: Request = field(default_factory=Request)
    shown: Sequence[int] = ()
    latest: int | None = None
    reasons: Mapping[int, str] = field(default_factory=dict)
    language: str = ""


@dataclass
class Heard:
    """What a text means.

    Attributes
    ----------
    request : Request
        What is asked for now.
    language : str
        To answer in.
    note : str
        What there is to say of it.
    new : str
        Words that were said now and go on with those before; empty for a request of its own.
    kind : str
        Of the follow-up; empty where it is none.
    item : int or None
        That is spoken of.
    latest : int or None
        The item that was spoken of last, this text included.
    words : str
        What was said now and is read; empty for what only speaks of the list.
    """

    request: Request
    language: str
    note: str = ""
    new: str = ""
    kind: str = ""
    item: int | None = None
    latest: int | None = None
    words: str = ""


class Listener:
    """Hears texts in conversations about one catalogue.

    Parameters
    ----------
    catalogue : Catalogue
        For titles and years.
    reads_whole : callable
        Whether a text is read to its end.
    taught : sequence of str
        Languages that requests are understood in.
    """

    def __init__(self, catalogue: Catalogue, reads_whole: Callable[[str], bool], taught: Sequence[str]) -> None:
        self._catalogue, self._reads_whole, self._taught = catalogue, reads_whole, taught

    def hear(
        self, said: str | None, talk: Talk, undone: Callable[[], int | None], language: str | None = None
    ) -> Heard:
        """Hear a text.

        Parameters
        ----------
        said : str or None
            What the user says; None for the last request once more.
        talk : Talk
            The conversation before.
        undone : callable
            Tells the item whose reactions "undo" takes back, None where there is none.
        language : str, optional
            To answer in; by default that of the text, or that was spoken last.

        Returns
        -------
        Heard
        """
        years = years_in(said) if said and self._catalogue.dated else None
        words = said if years is None else years.rest  # that are read
        of_before = said is None or (years is not None and years.goes_on and not words)
        before, bounded = talk.request.heard, talk.request.years is not None
        spoken = (
            follow_up(words, before, talk.shown, self._catalogue.titled, talk.latest, bounded)
            if words and not of_before
            else None
        )
        spoke = spoken.language if spoken is not None else language_of(said or "")
        heard = Heard(talk.request.copy(), language or spoke or talk.language, latest=talk.latest)
        say = phrases(heard.language)
        if spoken is not None:
            heard.kind, heard.new = spoken.kind, spoken.alone
            heard.item = undone() if spoken.kind == UNDO else spoken.item
            heard.latest = talk.latest if heard.item is None else heard.item
            self._follow(heard, said or "", spoken, talk, say)
        elif not of_before:
            heard.request, heard.latest = talk.request.begun(words or "", said or ""), None
        if years is not None and (spoken is None or (spoken.kind in _WITH_YEARS and not spoken.missing)):
            # Where the words that are kept do not hold the years, they are said once more.
            held = bool(words) and (spoken is None or spoken.kind == "goes_on")
            heard.request.bound((years.first, years.last), "" if held else years.said)
        if heard.new or (words and spoken is None and not of_before):
            heard.request.untaught |= spoke is not None and spoke not in self._taught
        if spoken is None or spoken.kind == "goes_on":
            heard.words = heard.new or words or ""
        return heard

    def _follow(self, heard: Heard, said: str, spoken: FollowUp, talk: Talk, say: Phrases) -> None:
        """What a follow-up makes of the request before it."""
        request, catalogue = heard.request, self._catalogue
        if spoken.missing:
            kind = "no_list" if not talk.shown else "which" if spoken.vague else "missing"
            heard.note = say.note(kind, said=said, n=len(talk.shown))
        elif spoken.kind == RESET:
            heard.request, heard.latest, heard.note = Request(), None, say.note("reset")
        elif spoken.kind == "more":
            request.passed += talk.shown
        elif spoken.kind == "goes_on":
            heard.note = say.note("too_long") if request.go_on(spoken, self._reads_whole) else ""
            request.steps.append((spoken.kind, said))
        elif spoken.kind == "unseen":
            request.unseen, heard.note = True, say.note("unseen")
            request.steps.append((spoken.kind, said))
        elif spoken.kind == "any_year":
            request.bound(None, said)
            heard.note = say.note("any_year")
        elif spoken.kind in OF_A_LIST_THERE_IS:
            found = request.turned(spoken.kind, catalogue.years[list(talk.shown)])
            if found is None:
                heard.note = say.note("no_years")
            else:
                request.bound(found, Years(*found).said)
        elif heard.item is not None:
            self._of_item(heard, spoken.kind, heard.item, talk, say)
        elif spoken.kind == UNDO:
            heard.note = say.note("nothing_undone")

    def _of_item(self, heard: Heard, kind: str, item: int, talk: Talk, say: Phrases) -> None:
        """What is said of an item."""
        request, title = heard.request, self._catalogue.titles[item]
        if kind == "why":
            heard.note = say.note("why", title=title, reason=talk.reasons.get(item) or say.note("no_reason"))
        elif kind == "more_like":  # of what was asked for
            request.toward, request.passed = [item], []
            request.steps = [one for one in request.steps if one[0] != kind]
            request.steps.append((kind, f"more like {title}"))
        elif kind == "less_like":
            request.away.append(item)
            request.steps.append((kind, f"less like {title}"))
            heard.note = say.note(kind, title=title)
        else:
            heard.note = say.note(kind, title=title)

    def of_no_item(self, words: str, say: Phrases, heard: Sequence[str] = ()) -> str:
        """What is said of a title that was named in vain.

        Parameters
        ----------
        words : str
            What was said.
        say : Phrases
            To answer with.
        heard : sequence of str
            Attributes that were heard in it, which count: what is heard in "Hitchcock" is more often right than wrong.

        Returns
        -------
        str
            Empty where no title was named, or what stands for one does not look like one.
        """
        title = title_sought(words)
        if not title or _named(heard, title):
            return ""
        n = len(self._catalogue.titled(bare_title(title)))
        if n:
            return say.note("titles", title=title, n=n)
        written = title[:1].isupper() or title[:1] in _QUOTES
        title = title.strip(_QUOTES)
        near = self._catalogue.near_title(title, 0.6 if written else 0.8)
        if not near and not written:
            return ""
        told = say.note("no_title_but", title=title, near=near) if near else say.note("no_title", title=title)
        named = say.chat("comma").join(map(say.attribute, heard))
        return say.notes(told, say.note("name_alone", heard=named) if named else "")


def _named(attributes: Sequence[str], text: str) -> bool:
    """Whether one of some attributes is called by its name in a text, in any language."""
    said = bare(text)
    return any(bare(phrases(language).attribute(name)) in said for name in attributes for language in languages())
