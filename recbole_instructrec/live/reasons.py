"""Why a list is as it is: what was understood, and which words and earlier items weighed most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from recbole_instructrec.data.words import DENSE
from recbole_instructrec.live.catalogue import Catalogue
from recbole_instructrec.live.phrases import DEFAULT, languages, phrases
from recbole_instructrec.live.ranking import Ranked

#: The last items of a history that are left out in turn, to see what a list owes to each.
LAST = 10

_MOST_WORDS, _MOST_ITEMS = 3, 2
_LEAST_WEIGHT = 0.15

# An item is near another where it is among this share of the nearest (of the first so many of the catalogue), or
# among the nearest few.
_NEAR, _FEW, _SAMPLE = 0.02, 3, 100_000


@dataclass
class Reasons:
    """Why an item stands in a list.

    Attributes
    ----------
    sentence : str
        In plain words.
    attributes : list of str
        Attributes of the item that were asked for.
    words : list of tuple of (str, float)
        Words of the instruction that the reader attended to for them, with their shares of the attention.
    history : list of tuple of (str, float)
        Items (ids) of the history by how much the item's score (without the instruction) falls without each, the most
        first; only falls.
    """

    sentence: str
    attributes: list[str] = field(default_factory=list)
    words: list[tuple[str, float]] = field(default_factory=list)
    history: list[tuple[str, float]] = field(default_factory=list)


class Explainer:
    """Finds the reasons of lists.

    Parameters
    ----------
    model : InstructRec
        Trained, in evaluation mode.
    catalogue : Catalogue
        For titles and attributes.

    Notes
    -----
    Attention over a history is no measure of what a list owes to it (Jain and Wallace, NAACL 2019), so each of the
    last items is left out in turn and the score computed again, without the instruction. Attention to the words is
    that of the reader, of which there is one number a word and attribute.
    """

    def __init__(self, model: Any, catalogue: Catalogue) -> None:
        self._model, self._catalogue = model, catalogue
        self._columns = {name: place for place, name in enumerate(model.attribute_names)}
        self._tokens = lru_cache(maxsize=256)(self._tokens_of)

    def __call__(
        self, ranked: Sequence[Ranked], texts: Sequence[str], spoken: Sequence[str] | None = None
    ) -> list[list[Reasons]]:
        """Reasons of every item of some lists.

        Parameters
        ----------
        ranked : sequence of Ranked
            The lists.
        texts : sequence of str
            What was said, legible, one a list.
        spoken : sequence of str, optional
            Languages of the sentences, one a list; English by default.

        Returns
        -------
        list of list of Reasons
            As the lists.
        """
        lists = zip(ranked, texts, self._owed(ranked), spoken or [DEFAULT] * len(ranked), strict=True)
        return [self._of_list(*one) for one in lists]

    def words(self, one: Ranked, text: str, attribute: str) -> list[tuple[str, float]]:
        """Words that an attribute was heard in, the most attended first."""
        column = self._columns.get(attribute)
        if one.attention is None or column is None or not text:
            return []
        attention = one.attention[:, column].tolist()
        weights: dict[tuple[int, int], float] = {}
        for place, span in self._tokens(text):
            if place < len(attention):
                weights[span] = weights.get(span, 0.0) + attention[place]
        total = sum(weights.values()) or 1.0
        parts = _joined(text, {span: weight / total for span, weight in weights.items()})
        names = [phrases(language).attribute(attribute) for language in languages()]
        whole: dict[tuple[int, int], float] = {}
        for part, share in parts.items():  # several characters may belong to one name
            span = _named(text, part, names)
            whole[span] = whole.get(span, 0.0) + share
        found = sorted(((text[b:e], weight) for (b, e), weight in whole.items()), key=lambda pair: -pair[1])
        return [(word, round(weight, 3)) for word, weight in found[:_MOST_WORDS] if weight >= _LEAST_WEIGHT]

    def _tokens_of(self, text: str) -> list[tuple[int, tuple[int, int]]]:
        """Places of the tokens that are of words, and the word that each is a part of."""
        spans = enumerate(self._model.spans(text))
        told = [(place, span) for place, span in spans if any(map(str.isalnum, text[slice(*span)]))]
        return [(place, _whole_word(text, *span)) for place, span in told]

    def _of_list(self, one: Ranked, text: str, falls: np.ndarray, language: str) -> list[Reasons]:
        wanted = [asked.attribute for asked in one.understood.asked if asked.sign == "want"]
        avoided = [asked.attribute for asked in one.understood.asked if asked.sign == "avoid"]
        words = {name: self.words(one, text, name) for name in wanted}
        last = one.history[-falls.shape[1] :] if falls.shape[1] else []
        near = {other: self._near(other, one.items) for other in one.toward}
        order = (-falls).argsort(1, kind="stable")[:, :_MOST_ITEMS]
        result = []
        for place, item in enumerate(one.items):
            has = set(self._catalogue.attributes_of(item))
            fits = [name for name in wanted if name in has]
            owes = [(last[at], float(falls[place, at])) for at in order[place] if falls[place, at] > 0]
            heard = list(dict.fromkeys(pair for name in fits for pair in words[name]))
            clear = [name for name in avoided if name not in has]
            history = [(self._catalogue.tokens[earlier], round(fall, 3)) for earlier, fall in owes]
            titles = [self._catalogue.titles[earlier] for earlier, _ in owes]
            like = [self._catalogue.titles[other] for other in one.toward if near[other][place]]
            named = [(name, words[name][0][0] if words[name] else "") for name in fits]
            sentence = phrases(language).because(named, clear, like, titles, bool(text), bool(one.history))
            result.append(Reasons(sentence, fits, heard, history))
        return result

    @torch.no_grad()
    def _near(self, item: int, others: list[int]) -> list[bool]:
        """Whether each of some items is among the nearest of one, by their vectors or as neighbours."""
        directions = self._model.item_directions()[1]
        near = _among_nearest(directions @ directions[item], item, others)
        if len(self._model.neighbours):
            alone = torch.tensor([[item]], device=directions.device)
            nearness = sum(one.of_histories(alone)[0] for one in self._model.neighbours)
            near |= _among_nearest(nearness, item, others) & (nearness[others] > 0)
        return near.tolist()

    @torch.no_grad()
    def _owed(self, ranked: Sequence[Ranked]) -> list[np.ndarray]:
        """How much the scores of each list's items fall without each of the last items, ``[k, n_last]`` each."""
        model = self._model
        table, directions = model.item_directions()
        scale = model.network_weight * model.scale
        result = [np.zeros((len(one.items), 0)) for one in ranked]
        alike: dict[int, list[int]] = {}  # lists by how many items are left out
        for place, one in enumerate(ranked):
            n = min(LAST, model.encoder_length, len(one.history)) if one.items else 0
            if n:
                alike.setdefault(n, []).append(place)
        for n, places in alike.items():
            histories = [torch.tensor(ranked[place].history, device=table.device) for place in places]
            read = [history[-model.encoder_length :] for history in histories]
            states = F.normalize(model.behaviour.without_each(read, table, n).float(), dim=-1)
            for place, history, own in zip(places, histories, scale * states, strict=True):
                scores = own @ directions[ranked[place].items].T  # [n + 1, k]
                items = torch.tensor(ranked[place].items, device=table.device)
                for near in model.neighbours:
                    scores = scores + near.without_each(history, items, n)
                result[place] = (scores[-1:] - scores[:-1]).T.cpu().numpy()
        return result


def _among_nearest(likeness: torch.Tensor, item: int, others: list[int]) -> torch.Tensor:
    """Whether some items are among those of the catalogue that are most like one, ``[n_others]``."""
    likeness[item] = torch.inf  # itself is the nearest
    sample = likeness[1:][:_SAMPLE]
    n = min(len(sample), 1 + max(_FEW, round(_NEAR * len(sample))))
    return likeness[others] >= sample.topk(n).values[-1]


def _whole_word(text: str, begin: int, end: int) -> tuple[int, int]:
    """The word that a token is a part of; characters of scripts without spaces are their own."""
    while begin > 0 and _is_spaced(text[begin - 1]) and _is_spaced(text[begin]):
        begin -= 1
    while end < len(text) and _is_spaced(text[end]) and _is_spaced(text[end - 1]):
        end += 1
    return begin, end


def _is_spaced(character: str) -> bool:
    """Whether a character is part of a word of a script with spaces between words."""
    return (character.isalnum() and not DENSE.match(character)) or character in "'-’"


def _joined(text: str, shares: dict[tuple[int, int], float]) -> dict[tuple[int, int], float]:
    """Neighbouring characters of a script without spaces that both count, as one word."""
    joined: dict[tuple[int, int], float] = {}
    last: tuple[int, int] | None = None
    for span, share in sorted(shares.items()):
        if share < _LEAST_WEIGHT / 2 or not DENSE.match(text[span[0]]):
            joined[span], last = share, None
        elif last is not None and last[1] == span[0]:
            whole = (last[0], span[1])
            joined[whole], last = joined.pop(last) + share, whole
        else:
            joined[span], last = share, span
    return joined


def _named(text: str, span: tuple[int, int], names: Sequence[str]) -> tuple[int, int]:
    """In a script without spaces: as much around as belongs to the name of the attribute."""
    begin, end = span
    if not DENSE.match(text[begin]):
        return span
    for name in names:
        while begin > 0 and text[begin - 1 : end] in name:
            begin -= 1
        while end < len(text) and text[begin : end + 1] in name:
            end += 1
    return begin, end
