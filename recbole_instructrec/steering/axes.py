"""The axes of the steering benchmark: what is asked, and what is measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from recbole_instructrec.data.instructions.wish import Wish
from recbole_instructrec.data.instructions.words import Templates
from recbole_instructrec.steering import measures
from recbole_instructrec.steering.nearness import NearTraining
from recbole_instructrec.steering.rankers import Ranker
from recbole_instructrec.steering.requests import RequestMaker, Requests

K = 10
UNLIKE = "unlike training"
FREE = {
    "usual": "without the attribute's own words",
    "uncommon": "without its own words, uncommon",
    "fresh": "without its own words, fresh",
}
MODEL, PLAIN, FILTER, BOUND = "InstructRec", "un-instructed", "un-instructed + hard filter", "reader without error"


@dataclass
class Line:
    """One figure: an axis, the wording, the measure, and its value for each ranker."""

    axis: str
    wording: str
    measure: str
    values: dict[str, dict[str, float]] = field(default_factory=dict)


class Steering:
    """Runs the axes on one trained model.

    Parameters
    ----------
    rankers : dict of str to Ranker
        By name; :data:`MODEL` and :data:`PLAIN` are among them.
    maker : RequestMaker
        Draws the requests.
    templates : dict of str to Templates
        By language; ``en`` is among them.
    progress : callable
        Is told the name of each axis as it begins.
    """

    def __init__(
        self,
        rankers: dict[str, Ranker],
        maker: RequestMaker,
        templates: dict[str, Templates],
        progress: Callable[[str], Any] = lambda axis: None,
    ) -> None:
        self.rankers, self.maker, self.templates, self.progress = rankers, maker, templates, progress
        self.lines: list[Line] = []
        self._near = NearTraining(templates["en"])
        self._has, self._target = maker.has, maker.target
        every = Requests(np.arange(len(self._target)), [""] * len(self._target), [Wish()] * len(self._target))
        self._every = every
        self._plain_lists = measures.top(rankers[PLAIN](every), K)

    def run(self) -> list[Line]:
        """All axes, in the order of the table."""
        for axis in (
            self.ask,
            self.ask_anything,
            self.avoid,
            self.ask_and_avoid,
            self.several,
            self.degree,
            self.paraphrase,
            self.language,
            self.control,
            self.behaviour_kept,
        ):
            self.progress(axis.__name__.replace("_", " "))
            axis()
        return self.lines

    def _add(self, axis: str, wording: str, measure: str, values: dict[str, np.ndarray], requests: Requests) -> None:
        means = {name: measures.mean(found, requests.wordings) for name, found in values.items()}
        self.lines.append(Line(axis, wording, measure, means))

    def _ndcg(self, scores: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return measures.ndcg(measures.rank_of(scores, self._target[rows]), K)

    def _measure(
        self,
        axis: str,
        wording: str,
        requests: Requests,
        share: str,
        names: list[str] | None = None,
        unlike: np.ndarray | None = None,
    ) -> None:
        """Share of the (first) attribute and NDCG of the target for the rankers, also of the rows ``unlike`` alone."""
        if not len(requests):
            return  # nothing in this catalogue can be asked so
        attribute = np.array([(wish.want or wish.avoid)[0] for wish in requests.wishes])
        shares, gains = {}, {}
        for name in names or self.rankers:
            if name == BOUND and not all(wish.want and not wish.avoid for wish in requests.wishes):
                continue
            scores = self.rankers[name](requests)
            shares[name] = measures.share(measures.top(scores, K), attribute, self._has)
            gains[name] = self._ndcg(scores, requests.rows)
        figures = {share: shares, f"NDCG@{K} of the target": gains}
        if MODEL in gains and FILTER in gains:
            figures[f"NDCG@{K} above {FILTER}, row by row"] = {MODEL: gains[MODEL] - gains[FILTER]}
        parts = {wording: np.ones(len(requests), dtype=bool)}
        if unlike is not None and unlike.any():
            parts[f"{wording}, {UNLIKE}"] = unlike
        for part, rows in parts.items():
            for figure, values in figures.items():
                self._add(axis, part, figure, {name: v[rows] for name, v in values.items()}, requests.take(rows))

    def _say(self, kind: str, rows: np.ndarray, values: list[tuple[int, ...]], part: str = "held_out") -> Requests:
        return self.maker.say(kind, rows, values, self.templates["en"], part)

    def _unlike(self, kind: str, requests: Requests) -> np.ndarray:
        """Which held-out requests are in wordings that are near no sentence of training, ``[n]``."""
        wordings = self.templates["en"].texts(kind, "held_out", ["{a}", "{b}", "{c}"])
        near = np.array([self._near.template(text) for text in wordings])
        return ~near[requests.wordings]

    # --- axes --------------------------------------------------------------------------------

    def ask(self) -> None:
        """Ask for one attribute of the target."""
        requests = self._say("intent", *self.maker.of_target("intent"))
        unlike = self._unlike("intent", requests)
        self._measure("ask for an attribute", "held out", requests, f"share in the top {K}", unlike=unlike)

    def ask_anything(self) -> None:
        """Ask for any attribute, whatever the target is."""
        requests = self._say("intent", *self.maker.any_attribute())
        attribute = np.array([wish.want[0] for wish in requests.wishes])
        values = {
            name: measures.share(measures.top(ranker(requests), K), attribute, self._has)
            for name, ranker in self.rankers.items()
            if name != BOUND
        }
        self._add("ask for any attribute", "held out", f"share in the top {K}", values, requests)

    def avoid(self) -> None:
        """Avoid what the un-instructed list has most of."""
        avoided = self.maker.avoidable(self._plain_lists)
        rows = np.flatnonzero(avoided >= 0)
        requests = self._say("avoid", rows, [(int(avoided[row]),) for row in rows])
        unlike = self._unlike("avoid", requests)
        self._measure("avoid an attribute", "held out", requests, f"share left in the top {K}", unlike=unlike)

    def ask_and_avoid(self) -> None:
        """The target is in the list when its attribute is asked for, and not when that is to be avoided."""
        rows, values = self.maker.of_target("intent")
        if not len(rows):
            return
        asked, avoided = self._say("intent", rows, values), self._say("avoid", rows, values)
        found = {}
        for name, ranker in self.rankers.items():
            if name == BOUND:
                continue
            hit = measures.rank_of(ranker(asked), self._target[rows]) <= K
            hit_though_avoided = measures.rank_of(ranker(avoided), self._target[rows]) <= K
            found[name] = (hit & ~hit_though_avoided).astype(float)
        self._add("ask, then avoid", "held out", f"hit in {K} when asked and none when avoided", found, asked)

    def several(self) -> None:
        """Two wishes at once, and wishes with an exception."""
        avoided = self.maker.avoidable(self._plain_lists)
        for kind, said in (
            ("both", "two wishes"),
            ("but_not", "a wish with an exception"),
            ("both_but_not", "two wishes with an exception"),
        ):
            requests = self._say(kind, *self.maker.of_target(kind, avoided if "but_not" in kind else None))
            if not len(requests):
                continue  # such as two wishes where each item has one attribute
            shares, gains = {}, {}
            for name, ranker in self.rankers.items():
                if name == BOUND:
                    continue
                scores = ranker(requests)
                shares[name] = measures.satisfied(measures.top(scores, K), requests.wishes, self._has)
                gains[name] = self._ndcg(scores, requests.rows)
            self._add(said, "held out", f"share of the top {K} that fits in full", shares, requests)
            self._add(said, "held out", f"NDCG@{K} of the target", gains, requests)

    def degree(self) -> None:
        """A bit more, more, only: the share rises."""
        rows, values = self.maker.any_attribute()
        attribute = np.array([value[0] for value in values])
        steps = []
        for kind, said in (("", "nothing"), ("little", "a bit more"), ("intent", "more"), ("only", "only")):
            requests = self._say(kind, rows, values) if kind else self._every.take(rows)
            lists = measures.top(self.rankers[MODEL](requests), K)
            steps.append(measures.share(lists, attribute, self._has))
            self._add("degree", "held out", f"share in the top {K}, told: {said}", {MODEL: steps[-1]}, requests)
        rises = np.all(np.diff(np.stack(steps), axis=0) >= 0, axis=0)
        self._add("degree", "held out", "rows in which no step falls", {MODEL: rises.astype(float)}, requests)

    def paraphrase(self) -> None:
        """The same requests in training words, held-out words, and words other than the attribute's own."""
        rows, values = self.maker.of_target("intent")
        others = {which: self.maker.paraphrase(rows, values, which) for which in FREE}
        places = others["usual"][1]  # all have the same attributes
        if len(places):  # all on the same rows
            rows, values = rows[places], [values[place] for place in places]
        for wording, requests in (
            ("training words", self._say("intent", rows, values, "train")),
            ("held out", self._say("intent", rows, values)),
        ):
            self._measure("paraphrase", wording, requests, f"share in the top {K}")
        names = self.maker.attributes.names
        for which, wording in FREE.items():
            free = others[which][0]
            asked = zip(free.texts, free.wishes, strict=True)
            unlike = np.array([not self._near.unnamed(text, names[wish.want[0]]) for text, wish in asked], dtype=bool)
            self._measure("paraphrase", wording, free, f"share in the top {K}", unlike=unlike)
        avoided = self.maker.avoidable(self._plain_lists)
        rows = np.flatnonzero(avoided >= 0)
        for wording, part in (("training words", "train"), ("held out", "held_out")):
            requests = self._say("avoid", rows, [(int(avoided[row]),) for row in rows], part)
            self._measure("paraphrase, avoid", wording, requests, f"share left in the top {K}", [MODEL])

    def language(self) -> None:
        """The same requests in every language that there are templates for."""
        rows, values = self.maker.of_target("intent")
        avoided = self.maker.avoidable(self._plain_lists)
        avoid_rows = np.flatnonzero(avoided >= 0)
        for language, templates in self.templates.items():
            asked = self.maker.say("intent", rows, values, templates, "held_out")
            self._measure("language, ask", language, asked, f"share in the top {K}", [MODEL])
            without = self.maker.say(
                "avoid", avoid_rows, [(int(avoided[row]),) for row in avoid_rows], templates, "held_out"
            )
            self._measure("language, avoid", language, without, f"share left in the top {K}", [MODEL])

    def control(self) -> None:
        """Another user's request, and an empty one."""
        requests = self._say("intent", *self.maker.of_target("intent"))
        if not len(requests):
            return
        empty = Requests(requests.rows, [" "] * len(requests), [Wish()] * len(requests))
        for said, changed in (
            ("another user's request", self.maker.of_another_user(requests)),
            ("an empty request", empty),
        ):
            if not len(changed):
                continue  # all rows are one user's
            gains = {name: self._ndcg(self.rankers[name](changed), changed.rows) for name in (MODEL, PLAIN)}
            self._add("control", said, f"NDCG@{K} of the target", gains, changed)

    def behaviour_kept(self) -> None:
        """Among the items that have the attribute, does the user's taste still count?"""
        requests = self._say("intent", *self.maker.of_target("intent"))
        if not len(requests):
            return
        attribute = np.array([wish.want[0] for wish in requests.wishes])
        gains = {}
        for name in (MODEL, PLAIN):
            scores = self.rankers[name](requests).copy()
            scores[~self._has[:, attribute].T] = -np.inf
            gains[name] = self._ndcg(scores, requests.rows)
        self._add("behaviour kept", "held out", f"NDCG@{K} among the items that have the attribute", gains, requests)
