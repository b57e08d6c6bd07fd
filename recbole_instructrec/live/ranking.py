"""From what users want to lists: one forward pass for all requests at hand."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch.nn import functional as F

from recbole_instructrec.data.dataset import CONTEXT
from recbole_instructrec.live.diversity import CANDIDATES as DIVERSE_FROM
from recbole_instructrec.live.diversity import diverse
from recbole_instructrec.live.large import CANDIDATES, LARGE, LargeCatalogue, best_of_many
from recbole_instructrec.live.users import UserState
from recbole_instructrec.model.instructions import Said
from recbole_instructrec.model.intent import Intent
from recbole_instructrec.model.losses import all_scores
from recbole_instructrec.model.neighbours import Moved
from recbole_instructrec.model.understood import Understood, recognised

#: How far the situation, and the history that neighbours see, move towards items that more of is asked for, and away
#: from those that were not liked, as shares of its length (Rocchio, 1971).
TOWARD, AWAY = 1.0, 0.1

#: The last items that were not liked count.
_LAST_DISLIKED = 10


@dataclass
class Want:
    """One request, ready to be ranked.

    Attributes
    ----------
    state : UserState
        What the user did.
    text : str
        What the user says; empty for nothing.
    k : int
        Length of the list.
    toward, away : list of int
        Items that more, and less, of is asked for.
    left_out : list of int
        Items that must not stand in the list.
    without : list of str
        Attributes that were understood and are not meant.
    latest : str
        What was said last, where the text is of several steps: it has the last word on what it speaks of, which one
        who reads "some comedy, no comedy" as a whole could not know.
    settled : dict
        What earlier steps asked for, as in :class:`Settled`.
    withdrawn : list of str
        Attributes that earlier steps left out; what was said last may ask for them again.
    allowed : Tensor or None
        Items that may stand in the list, bool, ``[n_items]``; None for all.
    diversity : float
        0 for relevance alone.
    """

    state: UserState
    text: str = ""
    k: int = 10
    toward: list[int] = field(default_factory=list)
    away: list[int] = field(default_factory=list)
    left_out: list[int] = field(default_factory=list)
    without: list[str] = field(default_factory=list)
    latest: str = ""
    settled: dict[str, tuple[float, float]] = field(default_factory=dict)
    withdrawn: list[str] = field(default_factory=list)
    allowed: torch.Tensor | None = None
    diversity: float = 0.0


class Settled(NamedTuple):
    """What a request asks for after all of its steps.

    Attributes
    ----------
    attributes : dict
        Presence and sign, as logits, by attribute.
    without : list of str
        Attributes that were left out.
    """

    attributes: dict[str, tuple[float, float]]
    without: list[str]


@dataclass
class Ranked:
    """The list that answers a request.

    Attributes
    ----------
    items : list of int
        Internal ids, the best first; fewer than asked for where no more are allowed.
    scores : list of float
        Of these items.
    understood : Understood
        What the text was understood to ask for.
    attention : Tensor or None
        Of each attribute to the tokens, ``[n_tokens, n_attributes]``.
    history : list of int
        What the user took, as far as the model looks back.
    toward : list of int
        Items that more of was asked for.
    settled : Settled
        What was asked for and left out, this step included.
    """

    items: list[int]
    scores: list[float]
    understood: Understood
    attention: torch.Tensor | None
    history: list[int]
    toward: list[int]
    settled: Settled


class Ranker:
    """Ranks the catalogue for requests.

    Parameters
    ----------
    model : InstructRec
        Trained, in evaluation mode.
    dataset : InstructRecDataset
        For the names of its fields and the context.
    twin : ndarray, optional
        For each item the first that is shown alike, ``[n_items]``: of these a list has one, the best.
    """

    def __init__(self, model: Any, dataset: Any, twin: np.ndarray | None = None) -> None:
        self._twin = None if twin is None else torch.from_numpy(twin)
        self._model, self._context = model, dataset.context
        self._items = dataset.iid_field + dataset.config["LIST_SUFFIX"]
        self._length, self._longest = dataset.item_list_length_field, dataset.max_item_list_len
        self._columns = {name: place for place, name in enumerate(model.attribute_names)}
        self._large = LargeCatalogue(model) if model.n_items >= LARGE and LargeCatalogue.possible(model) else None

    @torch.no_grad()
    def __call__(self, wants: Sequence[Want]) -> list[Ranked]:
        """Rank for n requests.

        Parameters
        ----------
        wants : sequence of Want
            The requests.

        Returns
        -------
        list of Ranked
            One a request.
        """
        if not wants:
            return []
        model = self._model
        said, settled = self._heard(wants)
        understood = model.understood(said)
        state, context, seen = model.situations(self.rows([want.state for want in wants]), said)
        directions, moved = model.item_directions()[1], self._moves(wants)
        if self._large is None:
            scores = model.scores(state, directions, said, context, seen, moved=moved)
            scores = scores._replace(hidden=self._moved(scores.hidden, directions, wants))
            every = all_scores(scores)  # [n, n_items]
            for line, want in zip(every, wants, strict=True):
                self._mask(line, want)
            lists = [self._best(line, want, directions) for line, want in zip(every, wants, strict=True)]
        else:
            lists = self._of_many(wants, said, state, context, seen, directions, moved)
        result = []
        for row, want in enumerate(wants):
            values, items = lists[row]
            attended = int(said.line[row])
            result.append(
                Ranked(
                    items.tolist(),
                    values.tolist(),
                    understood[row],
                    said.attention[attended] if said.attention and attended >= 0 else None,
                    want.state.items[-self._longest :],
                    want.toward,
                    settled[row],
                )
            )
        return result

    @staticmethod
    def _mask(line: torch.Tensor, want: Want) -> None:
        """Put out of reach what must not stand in the list: the padding item, what is left out, what no rule allows."""
        line[0] = -torch.inf
        if want.left_out:
            line[want.left_out] = -torch.inf
        if want.allowed is not None:
            line.masked_fill_(~want.allowed.to(line.device), -torch.inf)

    def _of_many(
        self,
        wants: Sequence[Want],
        said: Said,
        state: torch.Tensor,
        context: torch.Tensor | None,
        seen: torch.Tensor,
        directions: torch.Tensor,
        moved: Moved | None,
    ) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Scores and items of the lists from a large catalogue."""
        model, large = self._model, self._large
        assert large is not None
        nothing = torch.zeros(0, dtype=torch.long, device=state.device)
        hidden = model.scores(state, directions, said, context, seen, nothing).hidden
        hidden = self._moved(hidden, directions, wants)
        every = large.scores(hidden, said, directions, seen, moved)
        lists = []
        for row, want in enumerate(wants):
            self._mask(every[row], want)
            n_candidates = min(len(every[row]) - 1, max(CANDIDATES, want.k * DIVERSE_FROM))
            values, items = best_of_many(every[row], n_candidates)
            items = items[torch.isfinite(values)]
            spoken = said.line[row : row + 1]
            own = said.of_lines(spoken.clamp(max=0), spoken[spoken >= 0])
            of_context = None if context is None else context[row : row + 1]
            one = slice(row, row + 1)
            of_one = moved and moved.part(one)
            scores = model.scores(state[one], directions, own, of_context, seen[one], items, moved=of_one)
            line = all_scores(scores._replace(hidden=hidden[one]))[0]
            line = line + scores.repeat * torch.isin(items, seen[row])
            values, places = self._best(line, want, directions[items], items)
            lists.append((values, items.cpu()[places]))
        return lists

    def rows(self, states: Sequence[UserState]) -> Interaction:
        """Evaluation rows for users as they are now: what they did last, and the context of this moment."""
        latest = [state.items[-self._longest :] for state in states]
        width = max(1, max(map(len, latest)))
        lists = torch.zeros(len(states), width, dtype=torch.long)
        for row, items in enumerate(latest):
            lists[row, : len(items)] = torch.tensor(items, dtype=torch.long)
        batch = {self._items: lists, self._length: torch.tensor([len(items) for items in latest])}
        if self._context.fields:
            now = time.time()
            codes = [self._context.now(now, state.last_time, state.code) for state in states]
            batch[CONTEXT] = torch.from_numpy(np.stack(codes))
        return Interaction(batch).to(self._model.device)

    def _heard(self, wants: Sequence[Want]) -> tuple[Said, list[Settled]]:
        """What is said, as the latest words settle it, and what is so settled for each request."""
        # What is new, read alone; of a request that is made once more, nothing.
        new = [want.latest or ("" if want.settled else want.text) for want in wants]
        said: Said = self._model.hear([*(want.text for want in wants), *new])  # each text once
        of_new = said.line[len(wants) :].tolist()
        said = said._replace(line=said.line[: len(wants)])
        lines = said.line.tolist()
        if said.intent is None:
            return said, [Settled(want.settled, want.without) for want in wants]
        spoken = recognised(said.intent)
        settled = []
        for want, line in zip(wants, of_new, strict=True):
            found = self._spoken(said.intent, spoken, line)
            withdrawn = [name for name in want.withdrawn if name not in found]
            settled.append(Settled({**want.settled, **found}, [*want.without, *withdrawn]))
        changed = [row for row, want in enumerate(wants) if want.latest or want.settled or settled[row].without]
        if not any(lines[row] >= 0 for row in changed):
            return said, settled
        # A line a request: others may say the same and mean all of it.
        speaks = [row for row, line in enumerate(lines) if line >= 0]
        said = said.of_lines(_places(speaks, said.line), said.line[speaks])
        assert said.intent is not None
        presence, sign = said.intent.presence.clone(), said.intent.sign.clone()
        for place, row in enumerate(speaks):
            if row in changed:
                for name, (there, wanted) in settled[row].attributes.items():
                    presence[place, self._columns[name]], sign[place, self._columns[name]] = there, wanted
                presence[place, [self._columns[name] for name in settled[row].without if name in self._columns]] = -1e4
        return said._replace(intent=said.intent._replace(presence=presence, sign=sign)), settled

    def _spoken(self, intent: Intent, spoken: torch.Tensor, line: int) -> dict[str, tuple[float, float]]:
        """Presence and sign of the attributes that one instruction speaks of."""
        if line < 0:
            return {}
        columns = torch.nonzero(spoken[line]).flatten().tolist()
        pairs = zip(intent.presence[line, columns].tolist(), intent.sign[line, columns].tolist(), strict=True)
        return {self._model.attribute_names[column]: pair for column, pair in zip(columns, pairs, strict=True)}

    @staticmethod
    def _moved(hidden: torch.Tensor, directions: torch.Tensor, wants: Sequence[Want]) -> torch.Tensor:
        """Situations after feedback: towards and away from the directions of items, their lengths kept."""
        for row, want in enumerate(wants):
            away = _away(want)
            if not want.toward and not away:
                continue
            length = hidden[row].norm()
            direction = hidden[row] / length.clamp(min=1e-6)
            if want.toward:
                direction = direction + TOWARD * F.normalize(directions[want.toward].mean(0), dim=0)
            if away:
                direction = direction - AWAY * F.normalize(directions[away].mean(0), dim=0)
            moved = F.normalize(direction, dim=0) * length
            hidden = hidden.index_copy(0, torch.tensor([row], device=hidden.device), moved.unsqueeze(0))
        return hidden

    def _moves(self, wants: Sequence[Want]) -> Moved | None:
        """The same of the histories that neighbours see; None where nothing moves."""
        shares: list[dict[int, float]] = []
        for want in wants:
            away = _away(want)
            shares.append({item: -AWAY / len(away) for item in away})
            shares[-1].update({item: TOWARD / len(want.toward) for item in want.toward})
        width = max(map(len, shares))
        if not width:
            return None
        items = [[*share, *[0] * (width - len(share))] for share in shares]
        values = [[*share.values(), *[0.0] * (width - len(share))] for share in shares]
        device = self._model.device
        return Moved(torch.tensor(items, device=device), torch.tensor(values, device=device))

    def _best(
        self, line: torch.Tensor, want: Want, table: torch.Tensor, of: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores and places in ``line`` of one list: scores of all items, or of the items ``of`` with their vectors."""
        n = want.k * (DIVERSE_FROM if want.diversity else 1)
        while True:
            best = line.topk(min(len(line), n))
            kept = torch.isfinite(best.values)
            values, places = best.values[kept].cpu(), best.indices[kept].cpu()
            if self._twin is None:
                break
            alone = _first_of_each(self._twin[places if of is None else of.cpu()[places]])
            if len(alone) >= want.k or len(places) < n:
                values, places = values[alone], places[alone]
                break
            n *= 2  # some look alike, so that there are fewer
        if want.diversity and len(places):
            chosen = diverse(values, table[places].cpu(), want.k, want.diversity)
            values, places = values[chosen], places[chosen]
        return values[: want.k], places[: want.k]


def _away(want: Want) -> list[int]:
    """Items that a list is to move away from, now and from what was not liked before."""
    return [*want.away, *want.state.disliked[-_LAST_DISLIKED:]]


def _first_of_each(values: torch.Tensor) -> torch.Tensor:
    """Places at which a value stands for the first time, in order."""
    _, first = np.unique(values.numpy(), return_index=True)
    return torch.from_numpy(np.sort(first))


def _places(rows: Sequence[int], of: torch.Tensor) -> torch.Tensor:
    """For each of n rows its place among those that are named, -1 for others; as another tensor of n."""
    places = torch.full_like(of, -1)
    places[list(rows)] = torch.arange(len(rows), device=of.device, dtype=of.dtype)
    return places
