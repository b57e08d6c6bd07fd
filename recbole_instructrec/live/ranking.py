"""From what users want to lists: one forward pass for all requests at hand."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch.nn import functional as F

from recbole_instructrec.data.dataset import CONTEXT
from recbole_instructrec.live.diversity import CANDIDATES, diverse
from recbole_instructrec.live.users import UserState
from recbole_instructrec.model.instructions import Said
from recbole_instructrec.model.losses import Scores, all_scores
from recbole_instructrec.model.understood import Understood

#: How far the situation moves towards items that more of is asked for, and away from those that were not liked, as
#: shares of its length (Rocchio, 1971).
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
    allowed: torch.Tensor | None = None
    diversity: float = 0.0


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
    hidden : Tensor
        The situation, times the scale of the scores, ``[d]``.
    items_read : Tensor
        The part of the history that the situation was read from, ``[n_read]``.
    toward : list of int
        Items that more of was asked for.
    """

    items: list[int]
    scores: list[float]
    understood: Understood
    attention: torch.Tensor | None
    hidden: torch.Tensor
    items_read: torch.Tensor
    toward: list[int]


class Ranker:
    """Ranks the catalogue for requests.

    Parameters
    ----------
    model : InstructRec
        Trained, in evaluation mode.
    dataset : InstructRecDataset
        For the names of its fields and the context.
    """

    def __init__(self, model: Any, dataset: Any) -> None:
        self._model, self._context = model, dataset.context
        self._items = dataset.iid_field + dataset.config["LIST_SUFFIX"]
        self._length, self._longest = dataset.item_list_length_field, dataset.max_item_list_len
        self._columns = {name: place for place, name in enumerate(model.attribute_names)}

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
        said = self._heard(wants)
        understood = model.understood(said)
        rows = self.rows([want.state for want in wants])
        scores: Scores = model.request(rows, said)
        hidden = self._moved(scores, wants)
        every = all_scores(scores._replace(hidden=hidden))  # [n, n_items]
        every[:, 0] = -torch.inf
        result = []
        for row, want in enumerate(wants):
            line = every[row]
            if want.left_out:
                line[want.left_out] = -torch.inf
            if want.allowed is not None:
                line.masked_fill_(~want.allowed.to(line.device), -torch.inf)
            values, items = self._best(line, want, scores.table)
            attended = int(said.line[row])
            result.append(
                Ranked(
                    items.tolist(),
                    values.tolist(),
                    understood[row],
                    said.attention[attended] if said.attention and attended >= 0 else None,
                    hidden[row],
                    torch.tensor(want.state.items[-model.encoder_length :], dtype=torch.long),
                    want.toward,
                )
            )
        return result

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

    def _heard(self, wants: Sequence[Want]) -> Said:
        """What is said, without the attributes that are not meant."""
        said: Said = self._model.hear([want.text for want in wants])
        if said.intent is None or not any(want.without for want in wants):
            return said
        # A line a request: others may say the same and mean all of it.
        speaks = torch.nonzero(said.line >= 0).flatten()
        lines = said.line[speaks]

        def taken(rows: Any) -> Any:
            return rows[lines] if isinstance(rows, torch.Tensor) else [rows[line] for line in lines.tolist()]

        presence = said.intent.presence[lines].clone()
        for place, row in enumerate(speaks.tolist()):
            columns = [self._columns[name] for name in wants[row].without if name in self._columns]
            presence[place, columns] = -1e4
        intent = said.intent._replace(presence=presence, sign=said.intent.sign[lines], degree=said.intent.degree[lines])
        line = said.line.clone()
        line[speaks] = torch.arange(len(speaks), device=line.device)
        return said._replace(
            line=line,
            numbers=said.numbers[lines],
            vectors=None if said.vectors is None else said.vectors[lines],
            intent=intent,
            mentions=taken(said.mentions) if said.mentions else [],
            frozen=None if said.frozen is None else said.frozen[lines],
            cut=taken(said.cut) if said.cut else [],
            attention=taken(said.attention) if said.attention else [],
        )

    @staticmethod
    def _moved(scores: Scores, wants: Sequence[Want]) -> torch.Tensor:
        """Situations after feedback: towards and away from the directions of items, their lengths kept."""
        hidden = scores.hidden
        for row, want in enumerate(wants):
            away = [*want.away, *want.state.disliked[-_LAST_DISLIKED:]]
            if not want.toward and not away:
                continue
            length = hidden[row].norm()
            direction = hidden[row] / length.clamp(min=1e-6)
            if want.toward:
                direction = direction + TOWARD * F.normalize(scores.table[want.toward].mean(0), dim=0)
            if away:
                direction = direction - AWAY * F.normalize(scores.table[away].mean(0), dim=0)
            moved = F.normalize(direction, dim=0) * length
            hidden = hidden.index_copy(0, torch.tensor([row], device=hidden.device), moved.unsqueeze(0))
        return hidden

    @staticmethod
    def _best(line: torch.Tensor, want: Want, table: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores and items of one list."""
        candidates = want.k * (CANDIDATES if want.diversity else 1)
        best = line.topk(min(candidates, len(line) - 1))
        kept = torch.isfinite(best.values)
        values, items = best.values[kept].cpu(), best.indices[kept].cpu()
        if want.diversity and len(items):
            chosen = diverse(values, table[items].cpu(), want.k, want.diversity)
            values, items = values[chosen], items[chosen]
        return values, items
