"""What a reader is taught with, and how."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from recbole_instructrec.data.instructions.wish import KINDS, Wish, wish_of
from recbole_instructrec.data.instructions.words import Templates
from recbole_instructrec.model.reading.reader import IntentReader

# Shares of the kinds of requests that the reader is trained on; those that are hard to read more often.
_SHARES = {
    "intent": 4.0,
    "both": 2.0,
    "avoid": 4.0,
    "but_not": 5.0,
    "both_but_not": 2.0,
    "neither": 2.5,
    "little": 2.0,
    "only": 2.5,
}

# The reader that is kept is the mean of its weights over about this share of the steps, the last ones most.
_AVERAGED = 0.2

# Share of requests in which something stands in an attribute's place that is none, and how many titles may stand there.
_UNKNOWN, _TITLES = 0.15, 200

# Attributes that are drawn for a batch beside those that it speaks of and those that are always asked about.
_DRAWN = 24


class Lessons(NamedTuple):
    """How much a reader is trained.

    Attributes
    ----------
    texts : int
        Requests that are made.
    epochs, batch_size : int
        Passes over them, and requests a step.
    learning_rate : float
        Peak; it rises for 100 steps and falls to zero.
    """

    texts: int = 24000
    epochs: int = 6
    batch_size: int = 64
    learning_rate: float = 0.002


class Group(NamedTuple):
    """Attributes that are asked for together.

    Attributes
    ----------
    members : sequence of int
        Their numbers.
    share : float
        Of the requests.
    """

    members: Sequence[int]
    share: float = 1.0


class Known(NamedTuple):
    """The attributes that a reader is taught with.

    Attributes
    ----------
    vectors : Tensor
        Of their names, ``[n_attributes, size]``.
    always : ndarray of bool
        Those about which every request is asked whether it speaks of them, ``[n_attributes]``; of the others a few.
    alike : ndarray of bool
        Whether a request that speaks of one may speak of another, too, so that nothing is taught about it,
        ``[n_attributes, n_attributes]``.
    """

    vectors: torch.Tensor
    always: np.ndarray
    alike: np.ndarray

    @staticmethod
    def all(vectors: torch.Tensor) -> Known:
        """The attributes of a data set: a request is asked about every one."""
        n = len(vectors)
        return Known(vectors, np.ones(n, dtype=bool), np.zeros((n, n), dtype=bool))


def make_requests(
    templates: Templates,
    names: Sequence[str],
    others: Sequence[str],
    n: int,
    seed: int,
    groups: Sequence[Group] = (),
) -> tuple[list[str], list[Wish]]:
    """Requests in training wordings, with what they ask for.

    Parameters
    ----------
    templates : Templates
        Words.
    names : sequence of str
        Attributes.
    others : sequence of str
        Texts that ask for nothing, such as titles; a few are mixed in.
    n : int
        Number of requests.
    seed : int
        Draws kinds, attributes and words.
    groups : sequence of Group
        Attributes that are asked for together; all of them by default.

    Returns
    -------
    tuple
        Texts and wishes, some more than ``n``.
    """
    rng = np.random.default_rng([seed, n])
    groups = groups or [Group(range(len(names)))]
    group_share = np.array([group.share for group in groups])
    group_share = group_share / group_share.sum()
    unknown = [*templates.others(names), *(f"something like {other}" for other in others[:_TITLES])]
    texts, wishes = [], []

    def members() -> np.ndarray:
        return np.asarray(groups[rng.choice(len(groups), p=group_share)].members)

    for _ in range(n):
        group = members()
        kinds = [kind for kind in KINDS if sum(KINDS[kind][:2]) <= len(group)]
        shares = np.array([_SHARES[kind] for kind in kinds])
        kind = kinds[rng.choice(len(kinds), p=shares / shares.sum())]
        values = tuple(int(v) for v in rng.choice(group, sum(KINDS[kind][:2]), replace=False))
        said, wish = [names[v] for v in values], wish_of(kind, values)
        if rng.random() < _UNKNOWN:  # a request need not be about any attribute
            place = int(rng.integers(len(values)))
            said[place] = unknown[rng.integers(len(unknown))]
            gone = values[place]
            wish = Wish(
                tuple(v for v in wish.want if v != gone), tuple(v for v in wish.avoid if v != gone), wish.degree
            )
        texts.append(templates.compose(kind, said, rng))
        wishes.append(wish)
    for number in range(n // 8):  # to speak of what was chosen before is not to ask for it
        group = members()
        pair = [names[v] for v in rng.choice(group, min(1 + number % 2, len(group)), replace=False)]
        if number % 4 == 0:
            said = templates.texts("history" if len(pair) > 1 else "history_single", "train", pair)
            texts.append(said[rng.integers(len(said))])
        else:
            texts.append(templates.compose("past", pair, rng))
        wishes.append(Wish())
    for _ in range(n // 50):  # nor is to say something else
        texts.append(templates.aside(rng))
        wishes.append(Wish())
    for other in rng.permutation(len(others))[: n // 40]:
        texts.append(others[other])
        wishes.append(Wish())
    return texts, wishes


def teach(
    reader: IntentReader,
    states: Sequence[torch.Tensor],
    wishes: Sequence[Wish],
    known: Known,
    lessons: Lessons,
    seed: int,
    progress: bool = True,
) -> float:
    """Train a reader.

    Parameters
    ----------
    reader : IntentReader
        Is trained in place, and left in evaluation mode.
    states : sequence of Tensor
        Token states of the requests.
    wishes : sequence of Wish
        What they ask for.
    known : Known
        Attributes that the wishes are of.
    lessons : Lessons
        How long.
    seed : int
        Of order and dropout; the caller's random numbers are left as they were.
    progress : bool
        Whether a bar is shown.

    Returns
    -------
    float
        Mean loss of the last epoch.

    References
    ----------
    Polyak and Juditsky, Acceleration of Stochastic Approximation by Averaging,
    SIAM J. Control Optim. 1992, for the mean of the weights.
    """
    length = np.array([len(state) for state in states])
    optimizer = torch.optim.AdamW(reader.parameters(), lessons.learning_rate, weight_decay=0.01)
    per_epoch = -(-len(states) // lessons.batch_size)
    total = lessons.epochs * per_epoch
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / min(100, total), max(0.0, 1.0 - step / total))
    )
    averaged = AveragedModel(reader, multi_avg_fn=get_ema_multi_avg_fn(max(0.0, 1.0 - 1.0 / (_AVERAGED * total))))
    rng = np.random.default_rng(seed)
    bar = tqdm(total=total, desc="Learn to read instructions", ncols=100, disable=not progress)
    loss_of_epoch = 0.0
    with torch.random.fork_rng(), torch.enable_grad():
        torch.manual_seed(seed)
        reader.train()
        for _ in range(lessons.epochs):
            order = rng.permutation(len(states))
            pool = 20 * lessons.batch_size  # texts of like length together, within pools
            for begin in range(0, len(order), pool):
                part = order[begin : begin + pool]
                order[begin : begin + pool] = part[np.argsort(length[part], kind="stable")]
            batches = [order[begin : begin + lessons.batch_size] for begin in range(0, len(order), lessons.batch_size)]
            losses = []
            for number in rng.permutation(len(batches)):
                loss = _loss(reader, states, wishes, known, batches[number], rng)
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(reader.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                averaged.update_parameters(reader)
                losses.append(loss.item())
                bar.update()
            loss_of_epoch = float(np.mean(losses))
    bar.close()
    reader.load_state_dict(averaged.module.state_dict())
    reader.eval()
    return loss_of_epoch


def _loss(
    reader: IntentReader,
    states: Sequence[torch.Tensor],
    wishes: Sequence[Wish],
    known: Known,
    batch: np.ndarray,
    rng: np.random.Generator,
) -> torch.Tensor:
    """Cross-entropy of presence, of the sign of what is present, and of the degree; mean over the batch."""
    asked = known.always.copy()
    asked[[v for i in batch for v in (*wishes[i].want, *wishes[i].avoid)]] = True
    asked[rng.integers(len(asked), size=_DRAWN)] = True
    candidates = np.flatnonzero(asked)
    place = np.full(len(asked), -1)
    place[candidates] = np.arange(len(candidates))
    present, wanted, counts = np.zeros((3, len(batch), len(candidates)), dtype=np.float32)
    counts += 1.0
    for row, i in enumerate(batch):
        spoken = [*wishes[i].want, *wishes[i].avoid]
        if spoken:
            counts[row] = ~known.alike[spoken][:, candidates].any(0)
        counts[row, place[spoken]] = 1.0
        present[row, place[spoken]] = 1.0
        wanted[row, place[list(wishes[i].want)]] = 1.0
    device = reader.for_degree.device
    there, wanting, weight = (torch.from_numpy(values).to(device) for values in (present, wanted, counts))
    intent, _ = reader.read([states[i] for i in batch], known.vectors[torch.from_numpy(candidates)].to(device))
    loss = F.binary_cross_entropy_with_logits(intent.presence, there, weight, reduction="sum")
    spoken_of = there > 0
    loss = loss + F.binary_cross_entropy_with_logits(intent.sign[spoken_of], wanting[spoken_of], reduction="sum")
    degree = torch.tensor([wishes[i].degree for i in batch], device=device)
    return (loss + F.cross_entropy(intent.degree, degree, reduction="sum")) / len(batch)
