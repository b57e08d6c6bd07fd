"""What tests of what is live look at."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
import torch
from recbole.data.interaction import Interaction

from recbole_instructrec.data.dataset import INSTRUCTION
from recbole_instructrec.live import Answer, Recommender
from recbole_instructrec.live.followups import bare_title
from tests.support import small_items

ATTRIBUTES = {item: set(genre.split()) for item, _, genre in small_items()}


def by_title(titles: Mapping[int, str]) -> Callable[[str], list[int]]:
    """Finds items of a title, as a catalogue does."""
    return lambda title: [item for item, name in titles.items() if bare_title(name) == title]


def ids(answer: Answer) -> list[str]:
    return [item.id for item in answer]


def history(recommender: Recommender, user: str) -> list[int]:
    return list(recommender.users.state(user).items)


def rows(recommender: Recommender, histories: list[list[int]], number: int = 0) -> Interaction:
    """Evaluation rows, made by hand."""
    latest = [items[-8:] for items in histories]
    width = max(1, *map(len, latest)) if len(latest) > 1 else max(1, len(latest[0]))
    lists = torch.tensor([items + [0] * (width - len(items)) for items in latest])
    model = recommender.model
    return Interaction(
        {
            model.ITEM_SEQ: lists,
            model.ITEM_SEQ_LEN: torch.tensor([len(items) for items in latest]),
            INSTRUCTION: torch.full((len(lists),), number),
        }
    )


def ranking(recommender: Recommender, scores: torch.Tensor) -> list[tuple[str, float]]:
    """Items and scores, the best first."""
    scores = scores.clone()
    scores[0] = -torch.inf
    order = scores.argsort(descending=True)[:-1]
    return [(recommender.catalogue.tokens[item], float(scores[item])) for item in order.tolist()]


def check_list(answer: Answer, expected: list[tuple[str, float]], tolerance: float = 2e-4) -> None:
    """The same scores for the same items; what scores alike may change places."""
    assert len(answer) == len(expected)
    wanted = dict(expected)
    for item, (_, score) in zip(answer, expected, strict=True):
        assert item.score == pytest.approx(score, abs=tolerance)
        assert item.score == pytest.approx(wanted[item.id], abs=tolerance)


def asked_for(answer: Answer) -> dict[str, str]:
    return {one["attribute"]: one["sign"] for one in answer.understood}


def years(recommender: Recommender, answer: Answer) -> list[int]:
    """Of the items of a list, the best first; 0 where none is known."""
    return [int(recommender.catalogue.years[recommender.catalogue.index[item.id]]) for item in answer]
