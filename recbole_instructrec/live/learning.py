"""Online tuning: small steps on new feedback and old data, kept only if nothing held out suffers."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from recbole.data.interaction import Interaction

from recbole_instructrec.live.errors import LiveError
from recbole_instructrec.live.events import joins, standing
from recbole_instructrec.live.ranking import Ranker, Want
from recbole_instructrec.live.users import UserState
from recbole_instructrec.live.versions import put
from recbole_instructrec.model.losses import softmax_cross_entropy

if TYPE_CHECKING:
    from recbole_instructrec.live.recommender import Recommender

_K = 10
# One or two reactions say nothing about a version.
_FEWEST_HELD = 5


def safe_parts(model: Any) -> list[str]:
    """Parameters that online tuning may move: what item vectors are made of, and item biases.

    What turns histories and words into situations stays: a few odd clicks must not change how everybody is read.
    """
    return [name for name, _ in model.named_parameters() if name == "item_bias" or name.startswith("items.")]


@dataclass
class Example:
    """One reaction as something to learn from.

    Attributes
    ----------
    event : int
        Its number in the store.
    before : list of int
        What the user had taken before.
    text : str
        What the user had said.
    item : int
        What the user took.
    """

    event: int
    before: list[int]
    text: str
    item: int


class Learner:
    """Makes a version of the model from the feedback since the version in use.

    Parameters
    ----------
    recommender : Recommender
        With its store; the data set's training part is replayed.
    learning_rate : float
        Of Adam, constant.
    passes : int
        How often the new feedback is seen.
    batch_size : int
        Reactions a step; as many targets, at least, of old data come with them.
    replay : float
        Weight of the loss of the old data against that of the new.
    bound : float
        A version is rolled back when NDCG@10 of held-out feedback or of the data set's validation rows falls by more
        than this share, and by more than the standard error of the differences by row; of the validation rows also
        against the checkpoint, since small falls add up.
    held_out : float
        Share of the new feedback, the newest of it, that the guard keeps to itself; five reactions at least, or half
        of all.
    fewest : int
        With less new feedback than this nothing is done.
    progress : callable, optional
        Told the share that is done, 0 to 1.
    seed : int
        Of batches and dropout.

    References
    ----------
    Rolnick et al., Experience Replay for Continual Learning, NeurIPS 2019, for the mix of new and old.
    """

    def __init__(
        self,
        recommender: Recommender,
        learning_rate: float = 3e-4,
        passes: int = 1,
        batch_size: int = 64,
        replay: float = 1.0,
        bound: float = 0.02,
        held_out: float = 0.1,
        fewest: int = 20,
        progress: Callable[[float], None] | None = None,
        seed: int = 2020,
    ) -> None:
        wrong = {
            "learning_rate": not 0.0 < learning_rate < float("inf"),
            "passes": passes < 1,
            "batch_size": batch_size < 1,
            "replay": not 0.0 <= replay < float("inf"),
            "bound": not bound >= 0.0,
            "held_out": not 0.0 < held_out < 1.0,
        }
        if any(wrong.values()):
            raise LiveError(f"learn: {', '.join(name for name in wrong if wrong[name])} cannot be so. See Learner.")
        self._recommender, self._model = recommender, recommender.model
        self._rate, self._passes, self._batch = learning_rate, passes, batch_size
        self._replay, self._bound, self._held_out = replay, bound, held_out
        self._fewest = max(2, fewest)  # one to learn from, one for the guard
        self._progress = progress or (lambda share: None)
        self._rng, self._seed = np.random.default_rng(seed), seed
        codes = recommender.users.codes
        self._forgotten = torch.tensor(
            [codes[user] for user in recommender.store.has_forgotten(codes)], dtype=torch.long
        )

    def learn(self) -> dict[str, Any]:
        """Learn, compare, keep or roll back.

        Returns
        -------
        dict
            ``version`` in use, ``kept``, ``note``, ``examples``, and under ``before`` and ``after`` NDCG@10 of the
            held-out feedback (``feedback``) and of the validation rows (``validation``).

        Raises
        ------
        LiveError
            When the recommender was made without the data set's parts, or another process is learning.
        """
        recommender, store = self._recommender, self._recommender.store
        if recommender.parts is None:
            raise LiveError("learn: the data set's training part is needed; open the checkpoint with Recommender.load.")
        with store.held("learning") as ours:
            if not ours:
                raise LiveError("learn: another process is learning from this store. Wait for it.")
            with recommender.working:  # nobody loads another version while this one is copied
                parent = recommender.versions.sync()
                model = self._copy()
            learned = self._learned(parent)
            examples = self.examples(learned)
            if len(examples) < self._fewest:
                note = f"{len(examples)} new reactions, fewer than the {self._fewest} that a step is worth."
                return {"version": parent, "kept": False, "note": note, "examples": len(examples)}
            return self._make(parent, model, examples)

    def examples(self, after: int = 0) -> list[Example]:
        """Reactions by which users took an item and did not dislike it, in their order.

        Parameters
        ----------
        after : int
            Only those with numbers above this in the store.
        """
        recommender, found = self._recommender, list[Example]()
        longest = recommender.dataset.max_item_list_len
        states: dict[str, UserState] = {}
        for event in standing(recommender.store.events(reactions_only=True)):
            item = recommender.catalogue.index.get(event.item or "")
            if item is None or not joins(event.kind, event.value, recommender.rating_scale):
                continue
            if event.user not in states:
                states[event.user] = recommender.users.before_feedback(event.user)
            state = states[event.user]
            if state.items[-1:] == [item]:
                continue
            if event.id > after:
                found.append(Example(event.id, state.items[-longest:], event.instruction, item))
            state.items.append(item)
        return found

    def _learned(self, version: int) -> int:
        """Number of the last event that a version has learned from."""
        about = {one["id"]: one for one in self._recommender.store.versions()}.get(version)
        return 0 if about is None else int(about["about"]["last_event"])

    def _make(self, parent: int, model: Any, examples: list[Example]) -> dict[str, Any]:
        recommender = self._recommender
        n_held = min(max(_FEWEST_HELD, round(self._held_out * len(examples))), len(examples) // 2)
        new, held = examples[:-n_held], examples[-n_held:]
        gains = self._measure(model, held)
        began = self._of_checkpoint(model, parent, gains["validation"])
        self._train(model, new)
        gained = self._measure(model, held)
        fell = [name for name in gains if self._fell(gains[name], gained[name])]
        before, after = ({name: float(one.mean()) for name, one in each.items()} for each in (gains, gained))
        if not fell and self._fell(began, gained["validation"]):  # small falls add up
            fell = ["validation since the checkpoint"]
        about = {
            "before": before,
            "after": after,
            "examples": len(new),
            "events": [one.event for one in examples],
            "last_event": new[-1].event,  # what was held out is learned from the next time
            "settings": {
                "learning_rate": self._rate,
                "passes": self._passes,
                "batch_size": self._batch,
                "replay": self._replay,
                "bound": self._bound,
            },
        }
        own = dict(model.named_parameters())
        weights = {name: own[name].detach() for name in safe_parts(model)}
        note = f"Learned from {len(new)} reactions."
        if fell:
            note = f"Rolled back: {' and '.join(fell)} fell by more than {self._bound:.0%}."
        if not all(torch.isfinite(value).all() for value in weights.values()):  # such lists may hit by chance
            fell, note = ["weights"], "Rolled back: the weights grew out of all bounds. Lower the learning rate."
        with recommender.working:
            number = recommender.versions.add(parent, weights, about, keep=not fell)
        if not number:
            fell, note = ["events"], "Nothing was kept: a user was forgotten while this was learned. Learn again."
        version = parent if fell else number
        return {
            "version": version,
            "kept": not fell,
            "note": note,
            "examples": len(new),
            "before": before,
            "after": after,
        }

    # --- training ----------------------------------------------------------------------------

    def _copy(self) -> Any:
        """The model with item vectors and biases of its own; all else is shared, and so left as it is."""
        own = set(safe_parts(self._model))
        memo: dict[int, Any] = {}
        for name, value in [*self._model.named_parameters(), *self._model.named_buffers()]:
            if name not in own:
                memo[id(value)] = value
        for keep in self._shared():
            memo[id(keep)] = keep
        with torch.no_grad():
            return copy.deepcopy(self._model, memo)

    def _shared(self) -> list[Any]:
        """Parts that read texts: large, and none of their weights move."""
        parts = (self._model.instructions, self._model.frozen_instructions, self._model.intent)
        return [part for part in parts if part is not None]

    def _train(self, model: Any, examples: Sequence[Example]) -> None:
        own = dict(model.named_parameters())
        moved = [own[name] for name in safe_parts(model)]
        optimizer = torch.optim.Adam(moved, lr=self._rate)
        replayed = self._replayed()
        n_batches = self._passes * -(-len(examples) // self._batch)
        done = 0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._seed)
            for _ in range(self._passes):
                order = self._rng.permutation(len(examples))
                for begin in range(0, len(order), self._batch):
                    part = [examples[place] for place in order[begin : begin + self._batch]]
                    loss = self._loss(model, part)
                    if self._replay:
                        self._set_mode(model, training=True)  # as it was trained: with dropout
                        loss = loss + self._replay * model.calculate_loss(next(replayed))
                        self._set_mode(model, training=False)
                    gradients = torch.autograd.grad(loss, moved, allow_unused=True)
                    for parameter, gradient in zip(moved, gradients, strict=True):
                        parameter.grad = gradient
                    optimizer.step()
                    done += 1
                    self._progress(done / n_batches)

    def _set_mode(self, model: Any, training: bool) -> None:
        """Training or evaluation mode for what is the copy's own: answers are made with the rest at the same time."""
        shared = {id(part) for part in self._shared()}
        for part in model.children():
            if id(part) not in shared:
                part.train(training)
        model.training = training

    def _replayed(self) -> Iterator[Interaction]:
        """Batches of the data set's training rows, without end."""
        assert self._recommender.parts is not None
        train, epoch = self._recommender.parts[0], 0
        rows = max(1, self._batch * 4 // max(1, train.n_training_targets // max(1, len(train))))
        while True:
            train.start_epoch(10_000 + epoch)
            order = self._rng.permutation(len(train))
            for begin in range(0, len(order), rows):
                batch = train[order[begin : begin + rows]]
                batch = batch[self._remembered(batch[train.uid_field])]
                if len(batch):
                    yield batch.to(self._model.device)
            epoch += 1

    def _remembered(self, users: torch.Tensor) -> torch.Tensor:
        """Rows of users who have not been forgotten."""
        return torch.nonzero(~torch.isin(users, self._forgotten)).flatten()

    def _loss(self, model: Any, part: Sequence[Example]) -> torch.Tensor:
        """Cross-entropy of what was taken, after what was taken before and what was said."""
        device, width = model.device, max(1, max(len(one.before) for one in part))
        items = torch.zeros(len(part), width, dtype=torch.long)
        for row, one in enumerate(part):
            items[row, : len(one.before)] = torch.tensor(one.before, dtype=torch.long)
        items = items.to(device)
        length = torch.tensor([len(one.before) for one in part], device=device)
        earlier, read, length = model.latest(items, length)
        table, directions = model.item_directions()
        state = model.behaviour(read, table)[torch.arange(len(part), device=device), length]
        seen = torch.cat([earlier, read], dim=1)
        scores = model.scores(state, directions, model.hear([one.text for one in part]), None, seen)
        target = torch.tensor([one.item for one in part], device=device)
        first = torch.zeros_like(scores.seen, dtype=torch.float32)  # the repeat score stays
        return softmax_cross_entropy(scores, target, first, 0)

    # --- the guard ---------------------------------------------------------------------------

    def _measure(self, model: Any, held: Sequence[Example]) -> dict[str, np.ndarray]:
        """NDCG@10 of each held-out reaction, and of each of the data set's validation rows."""
        return {"feedback": self._of_reactions(model, held), "validation": self._of_rows(model)}

    @torch.no_grad()
    def _of_reactions(self, model: Any, held: Sequence[Example]) -> np.ndarray:
        """NDCG@10 of each held-out reaction."""
        ranker = Ranker(model, self._recommender.dataset)
        found = []
        for begin in range(0, len(held), 256):
            part = held[begin : begin + 256]
            lists = ranker([Want(UserState(one.before), one.text, _K) for one in part])
            found += [_gain(one.items, example.item) for one, example in zip(lists, part, strict=True)]
        return np.array(found)

    def _of_checkpoint(self, model: Any, version: int, own: np.ndarray) -> np.ndarray:
        """NDCG@10 of each validation row as the checkpoint has it, from which all versions come."""
        if not version:
            return own
        began, parameters = self._recommender.versions.weights(0), dict(model.named_parameters())
        now = {name: parameters[name].detach().clone() for name in began}
        put(model, began)
        found = self._of_rows(model)
        put(model, now)
        return found

    @torch.no_grad()
    def _of_rows(self, model: Any) -> np.ndarray:
        """NDCG@10 of each of the data set's validation rows; of a thousand of them, always the same, where there are
        more."""
        assert self._recommender.parts is not None
        valid = self._recommender.parts[1]
        rows = self._remembered(valid.inter_feat[valid.uid_field]).numpy()
        if len(rows) > 1000:
            rows = np.sort(np.random.default_rng(self._seed).choice(rows, 1000, replace=False))
        gains = []
        for begin in range(0, len(rows), 256):
            batch = valid[rows[begin : begin + 256]].to(model.device)
            scores = model.full_sort_predict(batch)
            scores[:, 0] = -torch.inf
            best = scores.topk(min(_K, scores.shape[1])).indices.tolist()
            gains += [_gain(items, target) for items, target in zip(best, batch[model.ITEM_ID].tolist(), strict=True)]
        return np.array(gains)

    def _fell(self, before: np.ndarray, after: np.ndarray) -> bool:
        """Whether the mean fell beyond the bound, and beyond its standard error: few rows go up and down by chance."""
        difference = after - before
        chance = float(difference.std(ddof=1)) / len(difference) ** 0.5 if len(difference) > 1 else 0.0
        return bool(difference.mean() < -max(self._bound * float(before.mean()), chance))


def _gain(items: Sequence[int], target: int) -> float:
    """NDCG of a list with one target."""
    return 1.0 / float(np.log2(2 + items.index(target))) if target in items else 0.0
