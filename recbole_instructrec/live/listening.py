"""What a text means in a conversation: a request of its own, or what is said of the list before."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from recbole_instructrec.live.catalogue import Catalogue
from recbole_instructrec.live.events import REACTIONS, UNDO
from recbole_instructrec.live.followups import (
    OF_A_LIST_THERE_IS,
    OF_ANY_ITEM,
    RESET,
    FollowUp,
    another,
    follow_up,
    going_on,
    tied,
)
from recbole_instructrec.live.followups.patterns import bare, bare_title, patterns
from recbole_instructrec.live.followups.several import Finder, Several, title_sought
from recbole_instructrec.live.followups.years import Years, years_in
from recbole_instructrec.live.phrases import DEFAULT, Phrases, language_of, languages, phrases
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

    def after(self, heard: Heard) -> Talk:
        """The conversation within a text of which a part was heard: the list is that of before."""
        return replace(self, request=heard.request, latest=heard.latest, language=heard.language)


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
        Of the follow-up, of several the last; empty where it is none.
    reactions : list of tuple of (str, int)
        That are told: kind and item.
    reset : bool
        Whether the conversation starts over.
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
    reactions: list[tuple[str, int]] = field(default_factory=list)
    reset: bool = False
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
        self,
        said: str | None,
        talk: Talk,
        undone: Callable[[], int | None],
        language: str | None = None,
        after: FollowUp | None = None,
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
        after : FollowUp, optional
            What the same text says of an item before.

        Returns
        -------
        Heard
        """
        finder = Finder(talk.shown, self._catalogue.titled, talk.latest)
        said = finder.spelled_out(said) if said else said
        years = years_in(said) if said and self._catalogue.dated else None
        words = said if years is None else years.rest  # that are read
        of_before = said is None or (years is not None and years.goes_on and not words)
        request = talk.request
        spoken = (
            follow_up(words, request.heard, talk.shown, self._catalogue.titled, talk.latest, request.asks)
            if words and not of_before
            else None
        )
        if after is not None and words:
            spoken = self._after(words, after, spoken, talk)
        if said and (spoken is None or spoken.kind == "goes_on" or (years and spoken.kind not in _WITH_YEARS)):
            for text in dict.fromkeys((said, words or "")):
                several = finder.find(text, after)
                if several is not None:
                    heard = self._hear_several(several, talk, undone, language)
                    if years is not None and text == words:  # they stood within what is said of the item
                        heard.request.bound((years.first, years.last), years.said)
                    return heard
        step = said or ""
        if spoken is None and words and not of_before and self._goes_on(words, after):
            known = language_of(words) or DEFAULT
            spoken, step = going_on(tied(words, known), words, request.heard, known), tied(step, known)
        spoke = spoken.language if spoken is not None else language_of(said or "")
        heard = Heard(request.copy(), language or spoke or talk.language, latest=talk.latest)
        say = phrases(heard.language)
        if spoken is not None:
            self._follow(heard, step, spoken, talk, undone, say)
        elif not of_before:
            heard.request, heard.latest = request.begun(words or "", said or ""), None
        if years is not None and (spoken is None or (spoken.kind in _WITH_YEARS and not spoken.missing)):
            # Where the words that are kept do not hold the years, they are said once more.
            held = bool(words) and (spoken is None or spoken.kind == "goes_on")
            heard.request.bound((years.first, years.last), "" if held else years.said)
        if spoken is None or spoken.kind == "goes_on":
            heard.words = "" if of_before else heard.new or words or ""
        if heard.words:
            heard.request.untaught = spoke is not None and spoke not in self._taught
        return heard

    def _hear_several(
        self, several: Several, talk: Talk, undone: Callable[[], int | None], language: str | None
    ) -> Heard:
        """What is asked for before, if anything, what is said of an item, and then what else is said."""
        first = several.first
        if several.before:
            asked = self.hear(several.before, talk, undone, language)
            if first.denied and asked.reactions:  # "I've seen all of these, but not the second"
                asked.reactions = [one for one in asked.reactions if one[1] != first.item]
                if asked.kind == "seen":
                    several = several._replace(first=replace(first, kind="not_seen"))
            then = self._hear_several(several._replace(before=""), talk.after(asked), undone, language)
            # A request of its own is new as a whole.
            then.new = ", ".join(filter(None, (asked.new, then.new))) if asked.kind else ""
            return self._joined(asked, then)
        heard = Heard(talk.request.copy(), language or first.language, latest=talk.latest)
        self._follow(heard, several.said, first, talk, undone, phrases(heard.language))
        if first.missing or not several.rest:
            return heard
        told = [item for _, item in heard.reactions]  # the last of them is what "undo" means
        taken_back = (lambda: told[-1]) if told else undone
        return self._joined(heard, self.hear(several.rest, talk.after(heard), taken_back, language, first))

    @staticmethod
    def _joined(heard: Heard, then: Heard) -> Heard:
        """What was said later, with what there is to say of both."""
        then.note = phrases(then.language).notes(heard.note, then.note)
        reactions = list(dict.fromkeys([*heard.reactions, *then.reactions]))
        for kind, item in then.reactions:
            if kind == UNDO and any(other == item for _, other in heard.reactions):  # it was not stored yet
                reactions = [one for one in reactions if one[1] != item]
        then.reactions, then.reset = reactions, then.reset or heard.reset
        return then

    def _after(self, words: str, after: FollowUp, spoken: FollowUp | None, talk: Talk) -> FollowUp | None:
        """What words mean behind something that was said of an item."""
        if spoken is None or spoken.kind == "goes_on" or spoken.denied:
            more = another(words, after, talk.shown, self._catalogue.titled, talk.latest)
            spoken = more if more is not None else spoken
        if spoken is not None and spoken.denied and after.kind == "seen":
            return replace(spoken, kind="not_seen")  # "I've seen the first one but not the second"
        if spoken is not None and spoken.denied and after.kind in OF_ANY_ITEM:
            return replace(spoken, kind="less_like")
        if spoken is not None and spoken.kind == after.kind and patterns(spoken.language).joins.match(words):
            return replace(spoken, also=True)  # "and like Alien"
        return spoken

    @staticmethod
    def _goes_on(words: str, after: FollowUp | None) -> bool:
        """Whether words go on behind what was said of an item, which by themselves would be a request."""
        if after is None:
            return False
        if after.kind in OF_ANY_ITEM:
            return True
        return after.kind in REACTIONS and patterns(after.language).remarks.match(words) is not None

    def _follow(
        self,
        heard: Heard,
        said: str,
        spoken: FollowUp,
        talk: Talk,
        undone: Callable[[], int | None],
        say: Phrases,
    ) -> None:
        """Put into what is heard what a follow-up says."""
        heard.kind, heard.new = spoken.kind, spoken.alone
        item = undone() if spoken.kind == UNDO else spoken.item
        if item is not None:
            heard.latest = item
            heard.reactions += [(spoken.kind, item)] if spoken.kind in REACTIONS else []
        heard.note = self._change(heard, said, spoken, item, talk, say)

    def _change(self, heard: Heard, said: str, spoken: FollowUp, item: int | None, talk: Talk, say: Phrases) -> str:
        """What a follow-up makes of the request before it; what there is to say of it."""
        request, catalogue = heard.request, self._catalogue
        if spoken.missing:
            kind = "no_list" if not talk.shown else "which" if spoken.vague else "missing"
            return say.note(kind, said=said, n=len(talk.shown))
        if spoken.kind == RESET:
            heard.request, heard.latest, heard.reset = Request(), None, True
            return say.note("reset")
        if spoken.kind == "more":
            request.passed += talk.shown
        elif spoken.kind == "goes_on":
            cut = request.go_on(spoken, self._reads_whole)
            request.steps.append((spoken.kind, said))
            return say.note("too_long") if cut else ""
        elif spoken.kind == "unseen":
            request.unseen = True
            request.steps.append((spoken.kind, said))
            return say.note("unseen")
        elif spoken.kind == "any_year":
            request.bound(None, said)
            return say.note("any_year")
        elif spoken.kind in OF_A_LIST_THERE_IS:
            found = request.turned(spoken.kind, catalogue.years[list(talk.shown)])
            if found is None:
                return say.note("no_years")
            if found[0] > found[1]:
                return say.note("no_further")
            request.turn(found, Years(*found).said)
        elif item is not None:
            return self._of_item(request, spoken, item, talk, say)
        elif spoken.kind == UNDO:
            return say.note("nothing_undone")
        return ""

    def _of_item(self, request: Request, spoken: FollowUp, item: int, talk: Talk, say: Phrases) -> str:
        """What is said of an item."""
        title, kind = self._catalogue.titles[item], spoken.kind
        if kind == "why":
            return say.note("why", title=title, reason=talk.reasons.get(item) or say.note("no_reason"))
        if kind == "more_like":  # of what was asked for
            request.toward, request.passed = [*(request.toward if spoken.also else []), item], []
            request.away = [other for other in request.away if other != item]
            request.steps = [one for one in request.steps if one != ("less_like", f"less like {title}")]
            self._step_toward(request)
            return ""  # the request says so as long as it is so
        if kind == "not_seen":
            return ""
        if kind == "less_like":
            if item in request.toward:  # not any more
                request.toward = [other for other in request.toward if other != item]
                self._step_toward(request)
            if item not in request.away:
                request.away.append(item)
                request.steps.append((kind, f"less like {title}"))
        return say.note(kind, title=title)

    def _step_toward(self, request: Request) -> None:
        """Among the steps, ask for more of the items that more of is asked for, and of no others."""
        request.steps = [one for one in request.steps if one[0] != "more_like"]
        if request.toward:
            named = " and ".join(self._catalogue.titles[other] for other in request.toward)
            request.steps.append(("more_like", f"more like {named}"))

    def of_no_item(self, words: str, say: Phrases, heard: Mapping[str, Sequence[str]] | None = None) -> str:
        """What is said of a title that was named in vain.

        Parameters
        ----------
        words : str
            What was said.
        say : Phrases
            To answer with.
        heard : mapping of str to sequence of str, optional
            Attributes that were heard, and in which words. What is heard in a name counts: of "Hitchcock" that is more
            often right than wrong.

        Returns
        -------
        str
            Empty where no title was named, or what stands for one does not look like one.
        """
        title = title_sought(words)
        in_title = [name for name, parts in (heard or {}).items() if any(part in title for part in parts)]
        if not title or _named(in_title, title):
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
        named = say.chat("comma").join(map(say.attribute, in_title))
        return say.notes(told, say.note("name_alone", heard=named) if named else "")


def _named(attributes: Sequence[str], text: str) -> bool:
    """Whether one of some attributes is called by its name in a text, in any language."""
    said = bare(text)
    return any(bare(phrases(language).attribute(name)) in said for name in attributes for language in languages())
