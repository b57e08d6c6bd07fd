"""One conversation: ask, see a list with reasons, react, ask on."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from recbole_instructrec.data.words import legible
from recbole_instructrec.live.errors import LiveError
from recbole_instructrec.live.events import ASK, RATING, REACTIONS, TAKEN, UNDO, Event, check_rating, check_said
from recbole_instructrec.live.followups import OF_A_LIST_THERE_IS, RESET, FollowUp, follow_up, title_sought
from recbole_instructrec.live.followups.years import years_in
from recbole_instructrec.live.phrases import DEFAULT, Phrases, language_of, languages, phrases
from recbole_instructrec.live.ranking import Ranked, Want
from recbole_instructrec.live.reasons import Reasons
from recbole_instructrec.live.request import Request

if TYPE_CHECKING:
    from recbole_instructrec.live.recommender import Recommender

LONGEST_LIST = 100


@dataclass
class Item:
    """One item of an answer.

    Attributes
    ----------
    id, title : str
        As in the data set.
    score : float
        Of the model, not comparable between requests.
    attributes : list of str
        What the item is.
    reasons : Reasons or None
        Why it is there; None where nobody asked.
    """

    id: str
    title: str
    score: float
    attributes: list[str]
    reasons: Reasons | None = None


@dataclass
class Answer:
    """What a request is answered with.

    Attributes
    ----------
    items : list of Item
        The best first.
    understood : list of dict
        Attributes that were recognised: ``attribute``, ``sign`` (``want`` or ``avoid``), ``confidence``, and the
        ``words`` they were heard in.
    degree : str or None
        ``little``, ``normal`` or ``only``; None when nothing is asked for.
    heard : str
        The text that was read, with what was asked before where the request goes on from there.
    without : list of str
        Attributes that were left out.
    note : str
        What else there is to say, in a sentence; empty for nothing.
    steps : list of str
        Texts that ask for the same in a new conversation, one after the other.
    event : int
        Number of the request in the feedback store.
    version : int
        Of the model.
    language : str
        Of reasons and note.
    """

    items: list[Item]
    understood: list[dict[str, Any]] = field(default_factory=list)
    degree: str | None = None
    heard: str = ""
    without: list[str] = field(default_factory=list)
    note: str = ""
    steps: list[str] = field(default_factory=list)
    event: int = 0
    version: int = 0
    language: str = DEFAULT

    def __iter__(self) -> Any:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def plain(self) -> dict[str, Any]:
        """As plain data, for JSON; shares its lists with the answer."""
        items = [{**vars(item), "reasons": None if item.reasons is None else vars(item.reasons)} for item in self.items]
        return {**vars(self), "items": items}


@dataclass
class Asked:
    """A request on its way: what is ranked, and what the conversation will be when it is answered."""

    want: Want
    request: Request
    note: str
    language: str
    reasons: bool
    forgotten: int
    reaction: Event | None = None  # that was told in words
    over: bool = False  # whether the conversation begins anew
    latest: int | None = None  # the item that was spoken of last
    sought: str = ""  # a title that no item has

    @property
    def heard(self) -> str:
        """The text that is read."""
        return self.want.text


class Session:
    """A conversation with one user.

    Parameters
    ----------
    recommender : Recommender
        Answers.
    user : str, optional
        Who asks; somebody whom neither data set nor store knows starts without a history. Without it, somebody new.
    name : str, optional
        Of the session; drawn at random by default.

    Attributes
    ----------
    shown : list of int
        Internal ids of the last list.
    """

    def __init__(self, recommender: Recommender, user: str | None = None, name: str | None = None) -> None:
        self._recommender = recommender
        self.name = name or uuid.uuid4().hex
        self.user = user or f"guest-{self.name[:12]}"
        self._begin()

    def _begin(self) -> None:
        """Nothing has been said yet."""
        self.shown: list[int] = []
        self._request = Request()
        self._version = 0
        self._skipped: list[int] = []
        self._latest: int | None = None
        self._language = DEFAULT
        self._last_reasons: Mapping[int, str] = {}
        self._forgotten = self._recommender.store.times_forgotten(self.user)

    @property
    def heard(self) -> str:
        """What the last list was asked for with."""
        return self._request.heard

    def _forget(self) -> None:
        """Begin anew where the user has been forgotten since, perhaps by another process."""
        if self._recommender.store.times_forgotten(self.user) != self._forgotten:
            self._begin()

    # --- asking ------------------------------------------------------------------------------

    def ask(
        self,
        text: str | None = "",
        k: int = 10,
        *,
        must: Mapping[str, Any] | None = None,
        must_not: Mapping[str, Any] | None = None,
        without: Sequence[str] | None = None,
        hide_seen: bool | None = None,
        diversity: float = 0.0,
        reasons: bool = True,
        language: str | None = None,
    ) -> Answer:
        """Ask for a list.

        Parameters
        ----------
        text : str or None
            In plain words; a follow-up such as "more like the second one" or "but nothing scary" speaks of the list
            and the request before it. Empty for what fits the user anyway; None for the last request once more, after
            a reaction or with other options.
        k : int
            Length of the list, 1 to 100.
        must, must_not : mapping, optional
            Rules that every item of the list keeps, see :class:`~recbole_instructrec.live.rules.Rules`.
        without : sequence of str, optional
            Attributes that were understood in this text and are not meant; by default those of the request that this
            one goes on from, and none for a new one.
        hide_seen : bool, optional
            Whether what the user took is left out; by default where the model has learned that users do not take an
            item twice, or the user has asked for it. What was disliked is always left out.
        diversity : float
            0 for relevance alone, up to 1 (maximal marginal relevance).
        reasons : bool
            Whether each item comes with its reasons.
        language : str, optional
            Of reasons and notes, ``en`` or ``zh``; by default that of what was said.

        Returns
        -------
        Answer

        Raises
        ------
        LiveError
            For what cannot be read; nothing changes then.
        """
        asked = self.prepare(
            text,
            k,
            must=must,
            must_not=must_not,
            without=without,
            hide_seen=hide_seen,
            diversity=diversity,
            reasons=reasons,
            language=language,
        )
        return self._recommender.answer([(self, asked)])[0]

    def prepare(
        self,
        text: str | None = "",
        k: int = 10,
        *,
        must: Mapping[str, Any] | None = None,
        must_not: Mapping[str, Any] | None = None,
        without: Sequence[str] | None = None,
        hide_seen: bool | None = None,
        diversity: float = 0.0,
        reasons: bool = True,
        language: str | None = None,
    ) -> Asked:
        """The first half of :meth:`ask`, for callers that answer several requests at once."""
        said = None if text is None else check_said(text)
        if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= LONGEST_LIST:
            raise LiveError(f"k: a number from 1 to {LONGEST_LIST} is expected, not {k!r:.60}.")
        number = isinstance(diversity, (int, float)) and not isinstance(diversity, bool)
        if not number or not 0.0 <= diversity <= 1.0:
            raise LiveError(f"diversity: a number from 0 to 1 is expected, not {diversity!r:.60}.")
        named = () if without is None else without
        if isinstance(named, str) or not isinstance(named, Sequence) or not all(isinstance(n, str) for n in named):
            raise LiveError("without: a list of attributes is expected.")
        if language is not None and language not in languages():
            raise LiveError(f"language: one of {', '.join(languages())} is expected, not {language!r:.60}.")
        if hide_seen is not None and not isinstance(hide_seen, bool):
            raise LiveError(f"hide_seen: true or false is expected, not {hide_seen!r:.60}.")
        allowed = self._recommender.rules.allowed(must, must_not)
        self._forget()
        catalogue = self._recommender.catalogue
        years = years_in(said) if said and catalogue.dated else None
        words = said if years is None else years.rest  # that are read
        goes_on = years is not None and years.goes_on
        before, bounded = self._request.heard, self._request.years is not None
        spoken = follow_up(words, before, self.shown, catalogue.titled, self._latest, bounded) if words else None
        spoke = spoken.language if spoken is not None else language_of(said or "")
        language = language or spoke or self._language
        say = phrases(language)
        if said is None or goes_on:
            request, note = self._request.copy(), ""
        elif spoken is None:
            request, note = self._request.begun(words or "", said), ""
        else:
            request, note = self._follow(said, spoken, say)
        if years is not None:
            request.years, request.passed = (years.first, years.last), []
            request.steps += [("years", said or "")] if goes_on else []
        latest = spoken.alone if spoken is not None else ""
        if latest or (words and spoken is None):
            request.untaught |= spoke is not None and spoke not in self._recommender.languages
        told = self._reaction_in(spoken)
        state = self._recommender.users.state(self.user)
        if told is not None:
            state = self._recommender.users.after(state, told)
        over = spoken is not None and spoken.kind == RESET
        begins = over or (said is not None and spoken is None and not goes_on)
        spoken_of = None if begins else self._latest if spoken is None or spoken.item is None else spoken.item
        skipped = [] if over else self._skipped
        left_out = [*state.disliked, *request.passed, *request.toward, *request.away, *skipped]
        if request.unseen or self._recommender.never_twice if hide_seen is None else hide_seen:
            left_out += state.items
        want = Want(
            state,
            request.heard,
            k,
            request.toward,
            request.away,
            catalogue.with_twins(left_out),
            list(named),
            latest,
            request.settled,
            request.without if without is None else [],
            request.allowed(allowed, catalogue.years),
            float(diversity),
        )
        note = say.notes(note, *request.notes(say, catalogue.titles))
        sought = title_sought(words) if words and spoken is None else ""
        return Asked(want, request, note, language, reasons, self._forgotten, told, over, spoken_of, sought)

    def _follow(self, said: str, spoken: FollowUp, say: Phrases) -> tuple[Request, str]:
        """What a follow-up makes of the request before it, and a note."""
        request, catalogue = self._request.copy(), self._recommender.catalogue
        if spoken.missing:
            kind = "no_list" if not self.shown else "which" if spoken.vague else "missing"
            return request, say.note(kind, said=said, n=len(self.shown))
        if spoken.kind == RESET:
            return Request(), say.note("reset")
        if spoken.kind == "more":
            request.passed += self.shown
            return request, ""
        step, note = said, ""
        if spoken.kind == "goes_on":
            note = say.note("too_long") if request.go_on(spoken, self._recommender.model.reads_whole) else ""
        elif spoken.kind == "unseen":
            request.unseen, note = True, say.note("unseen")
        elif spoken.kind == "any_year":
            request.years, request.passed, note = None, [], say.note("any_year")
        elif spoken.kind in OF_A_LIST_THERE_IS:
            if not request.turn(spoken.kind, catalogue.years[self.shown]):
                return request, say.note("no_years")
        else:
            assert spoken.item is not None
            title = catalogue.titles[spoken.item]
            if spoken.kind == "why":
                reason = self._last_reasons.get(spoken.item)
                return request, say.note("why", title=title, reason=reason or say.note("no_reason"))
            if spoken.kind == "more_like":  # of what was asked for
                request.toward, request.passed, step = [spoken.item], [], f"more like {title}"
                request.steps = [one for one in request.steps if one[0] != spoken.kind]
            elif spoken.kind == "less_like":
                request.away.append(spoken.item)
                step, note = f"less like {title}", say.note("less_like", title=title)
            else:
                return request, say.note(spoken.kind, title=title)
        request.steps.append((spoken.kind, step))
        return request, note

    def _reaction_in(self, spoken: FollowUp | None) -> Event | None:
        """The reaction that a follow-up tells in words; it is stored with the request."""
        if spoken is None or spoken.item is None or spoken.kind not in REACTIONS:
            return None
        told = self.reaction(self._recommender.catalogue.tokens[spoken.item], spoken.kind)
        return replace(told, time=time.time())

    def finish(self, asked: Asked, ranked: Ranked, reasons: Sequence[Reasons], event: int, version: int) -> Answer:
        """The second half of :meth:`ask`: the list has been made and stored."""
        catalogue = self._recommender.catalogue
        explained: list[Reasons | None] = [*reasons] if reasons else [None] * len(ranked.items)
        items = [
            Item(catalogue.tokens[item], catalogue.titles[item], round(score, 4), catalogue.attributes_of(item), why)
            for item, score, why in zip(ranked.items, ranked.scores, explained, strict=True)
        ]
        self.shown, self._version, self._language = ranked.items, version, asked.language
        self._request = asked.request
        self._request.settled, self._request.without = ranked.settled
        self._latest = asked.latest
        if asked.over:
            self._skipped = []
        if asked.reaction is not None:
            self._put_aside(asked.reaction)
        self._last_reasons = {item: why.sentence for item, why in zip(ranked.items, explained, strict=True) if why}
        words = self._recommender.explainer.words
        understood = [
            {
                **one._asdict(),
                "confidence": round(one.confidence, 3),
                "words": words(ranked, asked.heard, one.attribute),
            }
            for one in ranked.understood.asked
        ]
        say = phrases(asked.language)
        few = say.note("few", n=len(items)) if len(items) < asked.want.k else ""
        unknown = self._of_no_item(asked.sought, say) if asked.sought and not understood else ""
        note = say.notes(asked.note, unknown, few, say.note("cut") if ranked.understood.cut else "")
        degree, without = ranked.understood.degree, ranked.settled.without
        steps = [text for _, text in asked.request.steps]
        return Answer(items, understood, degree, asked.heard, without, note, steps, event, version, asked.language)

    def _of_no_item(self, title: str, say: Phrases) -> str:
        """What is said of a title that no item has."""
        near = self._recommender.catalogue.near_title(title)
        return say.note("no_title_but" if near else "no_title", title=title, near=near)

    def asking(self, asked: Asked, ranked: Ranked, version: int) -> Event:
        """What the store keeps of a request."""
        tokens = self._recommender.catalogue.tokens
        shown = tuple(tokens[item] for item in ranked.items)
        return Event(self.user, self.name, ASK, None, None, asked.heard, shown, version, forgotten=asked.forgotten)

    # --- reacting ----------------------------------------------------------------------------

    def feedback(self, item: str, event: str = RATING, rating: float | None = None) -> int:
        """React to an item; it counts from the next answer on.

        Parameters
        ----------
        item : str
            Its id; it need not be of the last list.
        event : {"click", "like", "dislike", "seen", "skip", "rating", "undo"}
            What the user did; a rating, if nothing is said. All but ``dislike``, ``skip`` and a rating of the lowest
            quarter of the scale, which is a dislike, join the behaviour sequence. ``undo`` takes back the user's last
            reaction to the item; versions that learned from it before stay.
        rating : float, optional
            For ``rating``.

        Returns
        -------
        int
            Number of the event in the store, where it is when this returns.

        Raises
        ------
        LiveError
            For an unknown item or event, a rating out of the scale, or where there is nothing to take back.
        """
        made = self.reaction(item, event, rating)
        number = self._recommender.store.append([made])[0]
        self.reacted(made, number)
        return number

    def reaction(self, item: str, event: str, rating: float | None = None) -> Event:
        """The event of :meth:`feedback`, checked but not stored."""
        value = check_rating(event, rating, self._recommender.rating_scale)
        self._forget()
        token = self._recommender.catalogue.tokens[self._recommender.catalogue.item(item)]
        if event == UNDO and token not in self._recommender.users.reacted_to(self.user):
            raise LiveError(f"undo: {self.user:.60} has not reacted to the item {token!r:.80}, or took that back.")
        shown = tuple(self._recommender.catalogue.tokens[one] for one in self.shown)
        return Event(
            self.user,
            self.name,
            event,
            token,
            value,
            legible(self.heard),
            shown,
            self._version,
            forgotten=self._forgotten,
        )

    def reacted(self, made: Event, number: int) -> None:
        """What a stored reaction changes in the conversation.

        Raises
        ------
        LiveError
            When it was not stored, because the user was forgotten meanwhile.
        """
        if not number:
            raise LiveError("feedback: the user was forgotten meanwhile; nothing was stored. Begin again.")
        self._put_aside(made)

    def _put_aside(self, made: Event) -> None:
        """What was skipped or disliked does not come again in this conversation, unless it is taken after all, or that
        was taken back."""
        item = self._latest = self._recommender.catalogue.item(made.item)
        self._skipped = [other for other in self._skipped if other != item]
        if made.kind not in (*TAKEN, UNDO):
            self._skipped.append(item)

    def history(self, n: int = 50) -> list[dict[str, Any]]:
        """The last items that the user took, the latest first, as plain data."""
        state, catalogue = self._recommender.users.state(self.user), self._recommender.catalogue
        return [
            {"id": catalogue.tokens[item], "title": catalogue.titles[item], "attributes": catalogue.attributes_of(item)}
            for item in reversed(state.items[-n:])
        ]
