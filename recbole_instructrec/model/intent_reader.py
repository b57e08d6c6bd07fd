"""Reads what an instruction asks for from the states of its tokens.

Which attribute is wanted and which is avoided cannot be told from one vector of
a sentence ("a 90s thriller but not a war film"), so the reader attends to the
tokens of a frozen transformer. It is trained on made requests before the
recommender is, once for each encoder and set of attributes, and kept on disk.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from functools import lru_cache
from logging import getLogger
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from recbole_instructrec.checkpoint import CheckpointError, save_atomically
from recbole_instructrec.data.instructions.wish import KINDS, Wish, wish_of
from recbole_instructrec.data.instructions.words import Templates
from recbole_instructrec.model.intent import N_DEGREES, Intent, Wishes, intent_loss

TokenStates = Callable[[list[str]], list[torch.Tensor]]

# Change when training or shape change: readers kept on disk are of one version.
_VERSION = 5

# Shares of the kinds of requests that the reader is trained on; those that are hard to read more often.
_SHARES = {
    "intent": 4.0,
    "both": 2.0,
    "avoid": 4.0,
    "but_not": 4.0,
    "both_but_not": 2.0,
    "neither": 2.5,
    "little": 2.0,
    "only": 3.0,
}


# The reader that is kept is the mean of its weights over about this share of the steps, the last ones most.
_AVERAGED = 0.2

# Share of requests in which something stands in an attribute's place that is none, and how many titles may stand there.
_UNKNOWN, _TITLES = 0.15, 200


class IntentReader(nn.Module):
    """Attention of each attribute to the tokens of an instruction.

    Parameters
    ----------
    size : int
        Width of a token's state in one layer; two of them come side by side.
    n_attributes : int
        Attributes that can be asked for.
    hidden_size, n_layers, n_heads : int
        Of the transformer layers that are trained over the frozen states.
    dropout : float
        Of those layers.

    References
    ----------
    Mullenbach et al., Explainable Prediction of Medical Codes from Clinical Text,
    NAACL 2018, for attention with a query for each label.
    """

    def __init__(
        self,
        size: int,
        n_attributes: int,
        hidden_size: int = 128,
        n_layers: int = 2,
        n_heads: int = 4,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.n_attributes = n_attributes
        self.project = nn.Sequential(nn.LayerNorm(2 * size), nn.Linear(2 * size, hidden_size))
        layer = nn.TransformerEncoderLayer(
            hidden_size, n_heads, 2 * hidden_size, dropout, "gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, n_layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(hidden_size)
        self.key = nn.Linear(hidden_size, hidden_size)
        # One query for each attribute, and one for the degree.
        self.query = nn.Parameter(torch.randn(n_attributes + 1, hidden_size) * 0.05)
        self.presence = nn.Parameter(torch.randn(n_attributes, hidden_size) * 0.05)
        self.whole = nn.Linear(size, n_attributes)
        nn.init.constant_(self.whole.bias, -3.0)  # most attributes are not spoken of
        self.sign, self.degree = nn.Linear(hidden_size, 1), nn.Linear(hidden_size, N_DEGREES)
        self._sharpness = 4.0 / hidden_size**0.5

    def forward(self, states: torch.Tensor, mask: torch.Tensor) -> tuple[Intent, torch.Tensor]:
        """Read n texts.

        Parameters
        ----------
        states : Tensor
            Of the tokens, ``[n, n_tokens, 2 * size]``.
        mask : Tensor of bool
            Which are there, ``[n, n_tokens]``.

        Returns
        -------
        tuple
            Their intents, and the attention of each attribute to the tokens,
            ``[n, n_tokens, n_attributes]``.
        """
        hidden = self.project(states)
        hidden = hidden + _positions(hidden.shape[1], hidden.shape[2]).to(hidden)
        hidden = self.norm(self.layers(hidden, src_key_padding_mask=~mask))
        weight = self.key(hidden) @ self.query.T * self._sharpness
        weight = weight.masked_fill(~mask.unsqueeze(-1), -1e9).softmax(1)
        attention, for_degree = weight[..., :-1], weight[..., -1:]
        last = states[..., -self.whole.in_features :]
        whole = F.normalize((last * mask.unsqueeze(-1)).sum(1), dim=-1)
        presence = (attention * (hidden @ self.presence.T)).sum(1) + self.whole(4.0 * whole)
        sign = (attention * self.sign(hidden)).sum(1)
        degree = (for_degree * self.degree(hidden)).sum(1)
        return Intent(presence, sign, degree), attention

    def read(self, states: Sequence[torch.Tensor]) -> tuple[Intent, torch.Tensor]:
        """As :meth:`forward`, of texts of any number of tokens, ``[n_tokens, 2 * size]`` each."""
        device = self.query.device
        padded = pad_sequence([state.float() for state in states], batch_first=True).to(device)
        length = torch.tensor([len(state) for state in states], device=device)
        return self(padded, torch.arange(padded.shape[1], device=device) < length.unsqueeze(1))


@lru_cache(maxsize=64)
def _positions(n: int, size: int) -> torch.Tensor:
    """Sines and cosines of the place of each token, ``[n, size]`` (Vaswani et al., 2017, section 3.5)."""
    angle = torch.arange(n).unsqueeze(1) / 10000.0 ** (torch.arange(0, size, 2) / size)
    return 0.3 * torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)[:, :size]


class Lessons(NamedTuple):
    """What a reader is trained on, and how long.

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


def make_requests(
    templates: Templates, names: Sequence[str], others: Sequence[str], n: int, seed: int
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

    Returns
    -------
    tuple
        Texts and wishes, some more than ``n``.
    """
    rng = np.random.default_rng([seed, n])
    unknown = [*templates.others(names), *(f"something like {other}" for other in others[:_TITLES])]
    kinds = [kind for kind in KINDS if sum(KINDS[kind][:2]) <= len(names)]
    shares = np.array([_SHARES[kind] for kind in kinds])
    texts, wishes = [], []
    for kind in rng.choice(len(kinds), n, p=shares / shares.sum()):
        values = tuple(int(v) for v in rng.choice(len(names), sum(KINDS[kinds[kind]][:2]), replace=False))
        said, wish = [names[v] for v in values], wish_of(kinds[kind], values)
        if rng.random() < _UNKNOWN:  # a request need not be about any attribute
            place = int(rng.integers(len(values)))
            said[place] = unknown[rng.integers(len(unknown))]
            gone = values[place]
            wish = Wish(
                tuple(v for v in wish.want if v != gone), tuple(v for v in wish.avoid if v != gone), wish.degree
            )
        texts.append(templates.compose(kinds[kind], said, rng))
        wishes.append(wish)
    for number in range(n // 8):  # to speak of what was chosen before is not to ask for it
        pair = [names[v] for v in rng.choice(len(names), min(1 + number % 2, len(names)), replace=False)]
        if number % 4 == 0:
            said = templates.texts("history" if len(pair) > 1 else "history_single", "train", pair)
            texts.append(said[rng.integers(len(said))])
        else:
            texts.append(templates.compose("past", pair, rng))
        wishes.append(Wish())
    for other in rng.permutation(len(others))[: n // 40]:
        texts.append(others[other])
        wishes.append(Wish())
    return texts, wishes


def teach(
    reader: IntentReader,
    states: Sequence[torch.Tensor],
    wishes: Sequence[Wish],
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
    targets = Wishes.of(wishes, reader.n_attributes)
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
                batch = batches[number]
                intent, _ = reader.read([states[i] for i in batch])
                loss = intent_loss(intent, targets.take(torch.from_numpy(batch)))
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


def reader_of(
    encoder: str,
    size: int,
    token_states: TokenStates,
    templates: Templates,
    names: Sequence[str],
    others: Sequence[str],
    folder: Path,
    progress: bool = True,
    lessons: Lessons | None = None,
    seed: int = 2020,
) -> IntentReader:
    """The reader of an encoder and a set of attributes: from disk, or trained now and kept there.

    Parameters
    ----------
    encoder : str
        Hash of the encoder's weights and settings.
    size : int
        Width of a token's state in one layer.
    token_states : callable
        Gives the states of texts.
    templates : Templates
        Words that it is trained on.
    names : sequence of str
        Attributes.
    others : sequence of str
        Texts that ask for nothing.
    folder : Path
        Where readers are kept.
    progress : bool
        Whether bars are shown.
    lessons : Lessons, optional
        How long it is trained.
    seed : int
        Of its training.

    Returns
    -------
    IntentReader
        In evaluation mode, without gradients.
    """
    lessons = lessons or Lessons()
    told = hashlib.sha256(json.dumps(list(others)).encode()).hexdigest()
    known = [_VERSION, encoder, templates.fingerprint, list(names), told, lessons._asdict(), seed]
    name = hashlib.sha256(json.dumps(known).encode()).hexdigest()[:16]
    file = folder / f"reader-{name}.pt"
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        reader = IntentReader(size, len(names))
    if file.is_file():
        try:
            reader.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
            return reader.eval().requires_grad_(False)
        except Exception as error:
            getLogger().warning(f"the reader {file} cannot be used ({error}); it is trained again.")
    getLogger().info(f"Learning to read instructions about {len(names)} attributes; done once and kept in {file}.")
    texts, wishes = make_requests(templates, names, others, lessons.texts, seed)
    loss = teach(reader, token_states(texts), wishes, lessons, seed, progress)
    getLogger().info(f"The reader has learned (loss {loss:.3f}).")
    try:
        save_atomically(reader.state_dict(), file)
    except (OSError, CheckpointError) as error:
        getLogger().warning(f"the reader is not kept in {file} ({error}); it will be trained again.")
    return reader.requires_grad_(False)
