"""One conversation: ask, see a list with reasons, react, ask on."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from recbole_instructrec.data.words import legible
from recbole_instructrec.live.errors import LiveError
from recbole_instructrec.live.events import ASK, RATING, TAKEN, UNDO, Event, check_rating, check_said
from recbole_instructrec.live.listening import Heard, Talk
from recbole_instructrec.live.phrases import DEFAULT, languages, phrases
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
    reactions : list of dict
        That were told in words and are stored: ``item`` (its id), ``title`` and ``event``.
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
    reactions: list[dict[str, str]] = field(default_factory=list)

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
    meant: Heard
    note: str
    reasons: bool
    forgotten: int
    reactions: list[Event]  # that were told in words

    @property
    def request(self) -> Request:
        """What is asked for."""
        return self.meant.request

    @property
    def language(self) -> str:
        """Of reasons and notes."""
        return self.meant.language

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
    """

    def __init__(self, recommender: Recommender, user: str | None = None, name: str | None = None) -> None:
        self._recommender = recommender
        self.name = name or uuid.uuid4().hex
        self.user = user or f"guest-{self.name[:12]}"
        self._begin()

    def _begin(self) -> None:
        """Nothing has been said yet."""
        self._talk = Talk(language=DEFAULT)
        self._version = 0
        self._skipped: list[int] = []
        self._forgotten = self._recommender.store.times_forgotten(self.user)

    @property
    def heard(self) -> str:
        """What the last list was asked for with."""
        return self._talk.request.heard

    @property
    def shown(self) -> list[int]:
        """Internal ids of the last list."""
        return list(self._talk.shown)

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
        heard = self._recommender.listener.hear(said, self._talk, self._last_reacted_to, language)
        request, say = heard.request, phrases(heard.language)
        told = [self._told(kind, item) for kind, item in heard.reactions]
        state = self._recommender.users.state(self.user)
        if told:
            state = self._recommender.users.after(self.user, state, told)
        # What another conversation has taken back meanwhile may come again.
        skipped = [item for item in self._skipped if item in state.reacted_to and not heard.reset]
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
            heard.new,
            request.settled,
            request.without if without is None else [],
            request.allowed(allowed, catalogue.years),
            float(diversity),
        )
        note = say.notes(heard.note, *request.notes(say, catalogue.titles))
        return Asked(want, heard, note, reasons, self._forgotten, told)

    def _told(self, kind: str, item: int) -> Event:
        """A reaction that is told in words; it is stored with the request."""
        return replace(self.reaction(self._recommender.catalogue.tokens[item], kind), time=time.time())

    def finish(self, asked: Asked, ranked: Ranked, reasons: Sequence[Reasons], event: int, version: int) -> Answer:
        """The second half of :meth:`ask`: the list has been made and stored."""
        catalogue = self._recommender.catalogue
        explained: list[Reasons | None] = [*reasons] if reasons else [None] * len(ranked.items)
        items = [
            Item(catalogue.tokens[item], catalogue.titles[item], round(score, 4), catalogue.attributes_of(item), why)
            for item, score, why in zip(ranked.items, ranked.scores, explained, strict=True)
        ]
        sentences = {item: why.sentence for item, why in zip(ranked.items, explained, strict=True) if why}
        request = asked.request
        request.settled, request.without = ranked.settled
        reactions = []
        for made in asked.reactions:
            self._put_aside(made)
            token = made.item or ""
            reactions.append({"item": token, "title": catalogue.titles[catalogue.item(token)], "event": made.kind})
        self._talk = Talk(request, ranked.items, asked.meant.latest, sentences, asked.language)
        self._version = version
        if asked.meant.reset:
            self._skipped = []
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
        few = ""
        if len(items) < asked.want.k:
            few = request.beyond(say, catalogue.years) or say.note("few", n=len(items))
        new = {
            one["attribute"]: [word for word, _ in one["words"]]
            for one in understood
            if one["attribute"] not in asked.want.settled
        }
        unknown = self._recommender.listener.of_no_item(asked.meant.words, say, new)
        note = say.notes(asked.note, unknown, few, say.note("cut") if ranked.understood.cut else "")
        degree, without = ranked.understood.degree, ranked.settled.without
        steps = [text for _, text in request.steps]
        return Answer(
            items, understood, degree, asked.heard, without, note, steps, event, version, asked.language, reactions
        )

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
            quarter of the scale, which is a dislike, join the behaviour sequence. ``undo`` takes back all reactions of
            the user to the item; versions that learned from them before stay.
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

    def undo(self) -> str:
        """Take back what was said of the item that was reacted to last in this conversation.

        Returns
        -------
        str
            Its id.

        Raises
        ------
        LiveError
            Where there is nothing to take back.
        """
        item = self._last_reacted_to()
        if item is None:
            raise LiveError("undo: there is no reaction to take back in this conversation.")
        token = self._recommender.catalogue.tokens[item]
        self.feedback(token, UNDO)
        return token

    def _last_reacted_to(self) -> int | None:
        """The item of the last reaction of this conversation that was not taken back."""
        own = [one for one in self._recommender.users.reactions(self.user) if one.session == self.name]
        found = [self._recommender.catalogue.index.get(one.item or "") for one in own]
        return next((item for item in reversed(found) if item is not None), None)

    def reaction(self, item: str, event: str, rating: float | None = None) -> Event:
        """The event of :meth:`feedback`, checked but not stored."""
        value = check_rating(event, rating, self._recommender.rating_scale)
        self._forget()
        catalogue = self._recommender.catalogue
        number = catalogue.item(item)
        token = catalogue.tokens[number]
        if event == UNDO and token not in self._recommender.users.ever_reacted_to(self.user):
            title = catalogue.titles[number]
            raise LiveError(f"undo: {self.user:.60} has not reacted to {title:.80} (item {token:.80}).")
        shown = tuple(catalogue.tokens[one] for one in self.shown)
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
        item = self._talk.latest = self._recommender.catalogue.item(made.item)
        self._skipped = [other for other in self._skipped if other != item]
        if made.kind not in (*TAKEN, UNDO):
            self._skipped.append(item)

    @property
    def n_taken(self) -> int:
        """Number of items that the user took."""
        return len(self._recommender.users.state(self.user).items)

    def history(self, n: int = 50) -> list[dict[str, Any]]:
        """The last items that the user took, the latest first, as plain data."""
        return [self._plain(item) for item in reversed(self._recommender.users.state(self.user).items[-n:])]

    def reactions(self, n: int = 1000) -> list[dict[str, Any]]:
        """What the user said of items by reactions and did not take back, the latest item first, as plain data.

        Each item comes with its ``reactions``, in their order: ``event`` and ``rating``.
        """
        catalogue = self._recommender.catalogue
        by_item: dict[str, list[dict[str, Any]]] = {}
        for one in self._recommender.users.reactions(self.user):
            if one.item in catalogue.index:
                told = by_item.pop(str(one.item), [])
                by_item[str(one.item)] = [*told, {"event": one.kind, "rating": one.value}]
        latest = list(reversed(by_item.items()))[:n]
        return [{**self._plain(catalogue.index[token]), "reactions": told} for token, told in latest]

    def _plain(self, item: int) -> dict[str, Any]:
        """An item, as plain data."""
        catalogue = self._recommender.catalogue
        return {
            "id": catalogue.tokens[item],
            "title": catalogue.titles[item],
            "attributes": catalogue.attributes_of(item),
        }
