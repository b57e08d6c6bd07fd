"""What a reader is taught with, and how."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn
from tqdm import tqdm

from recbole_instructrec.checkpoint import save_atomically
from recbole_instructrec.data.instructions.wish import KINDS, Wish, wish_of
from recbole_instructrec.data.instructions.words import Templates
from recbole_instructrec.model.intent import Wishes, intent_loss
from recbole_instructrec.model.reading.reader import IntentReader, side_by_side

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

# Steps between two writings of what a teaching needs to go on: some minutes.
_KEPT_EVERY = 250

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
    learning_rate, adapter_rate : float
        Peaks, of the reader and of adapters; they rise for 100 steps and fall to zero.
    """

    texts: int = 24000
    epochs: int = 6
    batch_size: int = 64
    learning_rate: float = 0.002
    adapter_rate: float = 0.001


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
    near : ndarray of int
        Others that one is taken for most easily: a request that speaks of it is asked about one of these, too,
        ``[n_attributes, n_near]``.
    """

    vectors: torch.Tensor
    always: np.ndarray
    alike: np.ndarray
    near: np.ndarray

    @staticmethod
    def all(vectors: torch.Tensor) -> Known:
        """The attributes of a data set: a request is asked about every one."""
        n = len(vectors)
        return Known(vectors, np.ones(n, dtype=bool), np.zeros((n, n), dtype=bool), np.zeros((n, 0), dtype=int))


class States(Protocol):
    """Where the states of the requests' tokens come from.

    Attributes
    ----------
    length : ndarray of int
        Tokens of each request, ``[n]``.
    adapters : Module or None
        What is trained together with the reader.
    """

    length: np.ndarray
    adapters: nn.Module | None

    def of(self, batch: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """States ``[n, n_tokens, 2 * size]`` and mask ``[n, n_tokens]`` of some requests, and a loss of their own."""
        ...


class KeptStates:
    """States that were computed before: those of an encoder that is not trained.

    Parameters
    ----------
    states : sequence of Tensor
        ``[n_tokens, 2 * size]`` each.
    """

    adapters: nn.Module | None = None

    def __init__(self, states: Sequence[torch.Tensor]) -> None:
        self._states = states
        self.length = np.array([len(state) for state in states])

    def of(self, batch: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """As :class:`States` says; no loss."""
        return *side_by_side([self._states[i] for i in batch]), torch.zeros(())


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
    for number in range(n // 6):  # to speak of what was chosen before is not to ask for it
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
    states: States,
    wishes: Sequence[Wish],
    known: Known,
    lessons: Lessons,
    seed: int,
    progress: bool = True,
    work: Path | None = None,
) -> float:
    """Train a reader, and the adapters of its encoder if there are any.

    Parameters
    ----------
    reader : IntentReader
        Is trained in place, and left in evaluation mode.
    states : States
        Of the tokens of the requests.
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
    work : Path, optional
        A file for what is needed to go on, written every few minutes and deleted at the end: where it is there, the
        teaching goes on from it, and ends as one that was not interrupted.

    Returns
    -------
    float
        Mean loss of the last epoch.

    References
    ----------
    Polyak and Juditsky, Acceleration of Stochastic Approximation by Averaging,
    SIAM J. Control Optim. 1992, for the mean of the weights.
    """
    pupils = nn.ModuleList([reader] if states.adapters is None else [reader, states.adapters])
    rates = [lessons.learning_rate, lessons.adapter_rate]
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in pupil.parameters() if p.requires_grad], "lr": rate}
            for pupil, rate in zip(pupils, rates, strict=False)
        ],
        weight_decay=0.01,
    )
    trained = [p for group in optimizer.param_groups for p in group["params"]]
    per_epoch = -(-len(wishes) // lessons.batch_size)
    total = lessons.epochs * per_epoch
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / min(100, total), max(0.0, 1.0 - step / total))
    )
    mean = get_ema_multi_avg_fn(max(0.0, 1.0 - 1.0 / (_AVERAGED * total)))
    kept = [p.detach().clone() for p in trained]
    rng = np.random.default_rng(seed)
    bar = tqdm(total=total, desc="Learn to read instructions", ncols=100, disable=not progress)
    losses: list[float] = []
    epoch, done = 0, 0
    order, numbers = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    with torch.random.fork_rng(), torch.enable_grad():
        torch.manual_seed(seed)
        pupils.train()
        if work is not None and work.is_file():
            state = torch.load(work, weights_only=True)
            with torch.no_grad():
                for p, value, mean_value, stored in zip(trained, kept, state["kept"], state["trained"], strict=True):
                    p.copy_(stored)
                    value.copy_(mean_value)
            optimizer.load_state_dict(state["optimizer"])
            schedule.load_state_dict(state["schedule"])
            rng.bit_generator.state = state["order"]["rng"]
            torch.set_rng_state(state["rng"])
            epoch, done, losses = state["epoch"], state["done"], state["losses"]
            order, numbers = state["order"]["order"].numpy(), state["order"]["numbers"].numpy()
            bar.update(epoch * per_epoch + done)
        while epoch < lessons.epochs:
            if done == 0:
                losses = []
                order = rng.permutation(len(wishes))
                pool = 20 * lessons.batch_size  # texts of like length together, within pools
                for begin in range(0, len(order), pool):
                    part = order[begin : begin + pool]
                    order[begin : begin + pool] = part[np.argsort(states.length[part], kind="stable")]
                numbers = rng.permutation(per_epoch)
            begin = int(numbers[done]) * lessons.batch_size
            loss = _loss(reader, states, wishes, known, order[begin : begin + lessons.batch_size], rng)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            schedule.step()
            mean(kept, [p.detach() for p in trained], 0)
            losses.append(loss.item())
            done += 1
            bar.update()
            if len(losses) % 100 == 0:
                bar.set_postfix(loss=f"{np.mean(losses[-100:]):.3f}")
            if done == per_epoch:
                epoch, done = epoch + 1, 0
            if work is not None and (epoch * per_epoch + done) % _KEPT_EVERY == 0:
                state = {
                    "trained": [p.detach() for p in trained],
                    "kept": kept,
                    "optimizer": optimizer.state_dict(),
                    "schedule": schedule.state_dict(),
                    "rng": torch.get_rng_state(),
                    "order": {
                        "rng": rng.bit_generator.state,
                        "order": torch.from_numpy(order),
                        "numbers": torch.from_numpy(numbers),
                    },
                    "epoch": epoch,
                    "done": done,
                    "losses": losses,
                }
                save_atomically(state, work)
    loss_of_epoch = float(np.mean(losses))
    if work is not None:
        work.unlink(missing_ok=True)
    bar.close()
    with torch.no_grad():
        for p, value in zip(trained, kept, strict=True):
            p.copy_(value)
    pupils.eval()
    return loss_of_epoch


def _loss(
    reader: IntentReader,
    states: States,
    wishes: Sequence[Wish],
    known: Known,
    batch: np.ndarray,
    rng: np.random.Generator,
) -> torch.Tensor:
    """Cross-entropy of presence, of the sign of what is present, and of the degree; mean over the batch."""
    asked = known.always.copy()
    spoken_of_all = [v for i in batch for v in (*wishes[i].want, *wishes[i].avoid)]
    asked[spoken_of_all] = True
    if known.near.shape[1] and spoken_of_all:
        asked[known.near[spoken_of_all, rng.integers(known.near.shape[1], size=len(spoken_of_all))]] = True
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
    padded, mask, own = states.of(batch)
    names = known.vectors[torch.from_numpy(candidates)].to(device)
    intent, _ = reader(padded.to(device), mask.to(device), names)
    degree = torch.tensor([wishes[i].degree for i in batch], device=device)
    asked_for = Wishes(present=there, wanted=wanting, degree=degree, known=torch.ones_like(degree, dtype=torch.bool))
    return intent_loss(intent, asked_for, weight) + own.to(device)
