"""Learning from feedback: what moves, what is kept, what is undone and forgotten; feedback as training data."""

from __future__ import annotations

import multiprocessing
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recbole_instructrec.live import LiveError, NotFound, Recommender, StoreError
from recbole_instructrec.live.events import TAKEN, Event
from recbole_instructrec.live.learning import Learner, safe_parts
from recbole_instructrec.live.loading import load
from recbole_instructrec.live.ranking import Ranker
from recbole_instructrec.live.store import FeedbackStore
from recbole_instructrec.live.users import UserState
from recbole_instructrec.model.losses import all_scores
from tests.support import SILENT, build_data, make_config, trained_checkpoint, write_dataset


@pytest.fixture(scope="module")
def module_loaded(checkpoint: Path) -> tuple:
    return load(checkpoint)


@pytest.fixture
def loaded(module_loaded: tuple) -> Iterator[tuple]:
    """A model as it was trained."""
    model = module_loaded[1]
    weights = {name: value.clone() for name, value in model.named_parameters()}
    yield module_loaded
    with torch.no_grad():
        for name, value in model.named_parameters():
            value.copy_(weights[name])


def opened(loaded: tuple, store: Path) -> Recommender:
    _, model, dataset, parts = loaded
    return Recommender(model, dataset, store, parts=parts)


@pytest.fixture
def recommender(loaded: tuple, tmp_path: Path) -> Recommender:
    return opened(loaded, tmp_path / "feedback.sqlite")


def feed(recommender: Recommender, n: int = 40, user: str = "u{}", text: str = "a comedy", seed: int = 0) -> None:
    """Many users take one of a few films."""
    rng = np.random.default_rng(seed)
    recommender.store.append(
        [
            Event(user.format(number % 30), "s", "like", f"i{rng.integers(5, 10)}", None, text if number % 2 else "")
            for number in range(n)
        ]
    )


#: Whatever the guard measures is good enough.
KEEP = {"bound": 1.0}


def weights(recommender: Recommender) -> dict[str, torch.Tensor]:
    return {
        name: value.detach().clone() for name, value in recommender.model.state_dict().items() if torch.is_tensor(value)
    }


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def lists(recommender: Recommender) -> list[list[tuple[str, float]]]:
    """What a few users who never said anything are shown."""
    answers = [recommender.session(f"reader {n}").ask(text, 10) for n, text in enumerate(["", "a comedy", "no war"])]
    return [[(item.id, item.score) for item in answer] for answer in answers]


# --- what moves -----------------------------------------------------------------------------------


def test_learning_moves_item_vectors_and_biases_and_nothing_else(recommender: Recommender):
    feed(recommender)
    before, buffers = weights(recommender), [b.clone() for b in recommender.model.buffers()]
    result = recommender.learn(**KEEP)
    assert result["kept"] and result["version"] == 1 and result["examples"] > 30
    after = weights(recommender)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == set(safe_parts(recommender.model))
    assert {name for name in moved if not name.startswith("items.adaptors.text.")} == {"items.id.weight", "item_bias"}
    assert all(torch.equal(one, other) for one, other in zip(buffers, recommender.model.buffers(), strict=True))
    assert not after["items.id.weight"][0].any(), "the padding stays nothing"
    assert not recommender.model.training and all(p.grad is None for p in recommender.model.parameters())
    assert [p.requires_grad for p in recommender.model.parameters()].count(True) > 5, "it could be trained on"


def test_what_everybody_takes_comes_nearer_the_top(recommender: Recommender):
    def places() -> float:
        answers = [recommender.session(f"u{n}").ask("", 25, hide_seen=False) for n in range(20)]
        return float(np.mean([[item.id for item in answer].index(f"i{n}") for answer in answers for n in range(5, 10)]))

    feed(recommender, 90)
    before = places()
    result = recommender.learn(learning_rate=0.02, passes=6, replay=0.2, **KEEP)
    assert result["after"]["feedback"] > result["before"]["feedback"]
    assert places() < before - 2


def test_learning_is_the_same_each_time(recommender: Recommender):
    feed(recommender)
    found = []
    for _ in range(2):
        recommender.learn(**KEEP)
        found.append(weights(recommender))
        recommender.versions.use(0)
    assert same(*found)
    recommender.learn(seed=1, **KEEP)
    assert not same(found[0], weights(recommender))


def test_answers_are_those_of_the_version_in_use_until_the_new_one_is_whole(
    recommender: Recommender, monkeypatch: pytest.MonkeyPatch
):
    feed(recommender)
    before, seen = lists(recommender), []
    kind = type(recommender.model)
    real = kind.calculate_loss

    def loss(self: Any, *arguments: Any) -> Any:
        shared = (recommender.model, recommender.model.instructions, recommender.model.intent)
        assert self is not recommender.model and self.training and not any(part.training for part in shared)
        return real(self, *arguments)

    monkeypatch.setattr(kind, "calculate_loss", loss)
    recommender.learn(progress=lambda share: seen.append((share, lists(recommender))), batch_size=8, **KEEP)
    assert len(seen) > 3 and all(found == before for _, found in seen)
    assert [share for share, _ in seen] == sorted(share for share, _ in seen) and seen[-1][0] == 1.0
    assert lists(recommender) != before


# --- versions -------------------------------------------------------------------------------------


def test_an_update_is_a_version_that_is_told_used_and_undone(recommender: Recommender):
    feed(recommender)
    original, shown = weights(recommender), lists(recommender)
    recommender.learn(**KEEP)
    learned, shown_then = weights(recommender), lists(recommender)
    assert shown_then != shown and not same(original, learned)
    assert recommender.session("u1").ask("").version == recommender.store.current == recommender.about()["version"] == 1
    every = recommender.versions.every()
    assert [(one["id"], one["parent"], one["status"], one["current"]) for one in every] == [
        (0, None, "kept", False),
        (1, 0, "kept", True),
    ]
    about = every[1]["about"]
    assert about["examples"] < len(about["events"]) and set(about["before"]) == {"feedback", "validation"}
    for _ in range(2):
        recommender.versions.use(0)
        assert same(weights(recommender), original) and lists(recommender) == shown
        assert recommender.session("u1").ask("").version == 0
        recommender.versions.use(1)
        assert same(weights(recommender), learned) and lists(recommender) == shown_then


def test_versions_are_compared(recommender: Recommender):
    feed(recommender)
    before = weights(recommender)
    recommender.learn(**KEEP)
    after = weights(recommender)
    found = recommender.versions.compare(0, 1)
    assert set(found) == set(safe_parts(recommender.model)) > {"items.id.weight", "item_bias"}
    for name, moved in found.items():
        share = np.linalg.norm((after[name] - before[name]).numpy()) / max(np.linalg.norm(before[name].numpy()), 1e-12)
        assert moved == pytest.approx(share, rel=1e-4) and moved > 0
    assert set(recommender.versions.compare(1, 1).values()) == {0.0}
    for number in (7, -1):
        with pytest.raises(NotFound, match=rf"there is no version {number} that was kept"):
            recommender.versions.compare(0, number)


def test_what_was_learned_is_not_learned_again_unless_it_was_undone(recommender: Recommender):
    feed(recommender)
    first = recommender.learn(**KEEP)
    again = recommender.learn(**KEEP)
    held = len(recommender.versions.every()[1]["about"]["events"]) - first["examples"]
    assert held > 0 and again == {
        "version": 1, "kept": False, "examples": held,  # what the guard had kept to itself waits for the next step
        "note": f"{held} new reactions, fewer than the 20 that a step is worth.",
    }  # fmt: skip
    feed(recommender, 40, "v{}", seed=1)
    second = recommender.learn(**KEEP)
    assert second["version"] == 2 and recommender.versions.every()[2]["parent"] == 1
    recommender.versions.use(0)
    both = recommender.learn(**KEEP)
    assert both["version"] == 3 and both["examples"] > second["examples"] > first["examples"]


def test_too_little_feedback_does_nothing(recommender: Recommender):
    before = weights(recommender)
    feed(recommender, 19)
    found = recommender.learn()
    assert found["version"] == 0 and not found["kept"] and "fewer than the 20" in found["note"]
    assert recommender.versions.every()[1:] == [] and same(weights(recommender), before)
    assert not recommender.versions.files()
    assert recommender.learn(fewest=10, **KEEP)["version"] == 1


def test_no_feedback_at_all_does_nothing(recommender: Recommender):
    assert recommender.learn(fewest=0)["examples"] == 0 and recommender.store.current == 0
    feed(recommender, 1)
    assert recommender.learn(fewest=0)["examples"] == 1 and recommender.store.current == 0


def test_another_recommender_takes_over_the_new_version_at_its_next_answer(recommender: Recommender, checkpoint: Path):
    elsewhere = Recommender.load(checkpoint, recommender.store.file)
    assert lists(elsewhere) == lists(recommender)
    feed(recommender)
    recommender.learn(**KEEP)
    assert not same(weights(elsewhere), weights(recommender))
    assert lists(elsewhere) == lists(recommender)
    assert elsewhere.session("u1").ask("").version == 1 and same(weights(elsewhere), weights(recommender))
    elsewhere.versions.use(0)
    assert recommender.session("u1").ask("").version == 0 and same(weights(elsewhere), weights(recommender))
    assert elsewhere.learn(**KEEP)["version"] == 2
    assert recommender.session("u1").ask("").version == 2


@pytest.mark.parametrize("damage", ["a byte", "half", "gone"])
def test_a_damaged_version_is_said_in_words_and_another_can_be_used(
    recommender: Recommender, loaded: tuple, damage: str
):
    feed(recommender)
    before = lists(recommender)
    recommender.learn(**KEEP)
    (file,) = recommender.versions.files()
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(content if damage == "a byte" else content[: len(content) // 2])
    recommender.versions.use(0)
    with pytest.raises(StoreError, match=r"version 1: .*missing or damaged\. Use another version \(undo\)"):
        recommender.versions.use(1)
    assert recommender.store.current == 0 and lists(recommender) == before, "what is refused changes nothing"
    recommender.store.use(1)
    elsewhere = opened(loaded, recommender.store.file)
    with pytest.raises(StoreError, match=r"missing or damaged"):
        elsewhere.session("u1").ask("")
    recommender.versions.use(0)
    assert lists(elsewhere) == before


def test_versions_of_another_checkpoint_are_refused_in_words(recommender: Recommender, tmp_path: Path):
    feed(recommender)
    recommender.learn(**KEEP)
    other = trained_checkpoint(write_dataset(tmp_path / "again", "films"), seed=8, **SILENT)
    elsewhere = Recommender.load(other, recommender.store.file)
    before = weights(elsewhere)
    with pytest.raises(StoreError, match=r"version 1 was learned on another checkpoint .* Use version 0 \(undo\)"):
        elsewhere.session("u1").ask("")
    assert same(weights(elsewhere), before)
    elsewhere.versions.use(0)
    assert len(elsewhere.session("u1").ask("", 5)) == 5
    assert elsewhere.learn(**KEEP)["version"] == 2


def test_a_version_that_cannot_be_written_leaves_the_one_in_use(
    recommender: Recommender, monkeypatch: pytest.MonkeyPatch
):
    feed(recommender)
    before = weights(recommender)

    def full(*arguments: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(StoreError, match=r"could not be written .*No space left"):
        recommender.learn(**KEEP)
    monkeypatch.undo()
    assert recommender.store.current == 0 and recommender.versions.every()[1:] == []
    assert same(weights(recommender), before) and not recommender.versions.files()
    assert recommender.learn(**KEEP)["version"] == 1, "the lock is free"


# --- the guard ------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [30.0, 1e30])
def test_the_guard_undoes_what_harms(recommender: Recommender, rate: float):
    def take(item: str, users: str, n: int) -> None:
        recommender.store.append([Event(users.format(user), "s", "like", item) for user in range(n)])

    take("i6", "v{}", 60)
    assert recommender.learn(learning_rate=1.0, passes=10, **KEEP)["version"] == 1
    take("i5", "w{}", 54)  # to learn from
    take("i6", "x{}", 6)  # kept out, and what version 1 knows
    before, shown = weights(recommender), lists(recommender)
    result = recommender.learn(learning_rate=rate, passes=10)
    assert not result["kept"] and result["version"] == 1 and result["note"].startswith("Rolled back: ")
    if rate == 30.0:
        assert result["after"]["feedback"] < 0.7 < 0.9 < result["before"]["feedback"]
    assert same(weights(recommender), before) and lists(recommender) == shown
    assert recommender.store.current == 1 and len(recommender.versions.files()) == 1
    record = recommender.versions.every()[2]
    assert record["status"] == "rolled back" and record["about"]["after"] == result["after"]
    with pytest.raises(NotFound, match="there is no version 2 that was kept"):
        recommender.versions.use(2)
    assert recommender.learn(**KEEP)["examples"] == result["examples"], "the feedback is still there to learn from"


@pytest.mark.parametrize(
    ("after", "fell"),
    [
        ({"feedback": [0.5] * 4, "validation": [0.5] * 4}, []),
        ({"feedback": [0.491] * 4, "validation": [0.491] * 4}, []),
        ({"feedback": [0.9] * 4, "validation": [0.489] * 4}, ["validation"]),
        ({"feedback": [0.489] * 4, "validation": [0.9] * 4}, ["feedback"]),
        ({"feedback": [0.0] * 4, "validation": [0.0] * 4}, ["feedback", "validation"]),
        # .475 on average, with a standard error of .052: chance explains that
        ({"feedback": [0.35, 0.5, 0.6, 0.45], "validation": [0.35, 0.45, 0.6, 0.4]}, []),
        ({"feedback": [0.35, 0.4, 0.5, 0.45], "validation": [0.5] * 4}, ["feedback"]),
        ({"feedback": [0.4], "validation": [0.5] * 4}, ["feedback"]),
    ],
)
def test_the_guard_looks_at_both_figures(
    recommender: Recommender, monkeypatch: pytest.MonkeyPatch, after: dict[str, list[float]], fell: list[str]
):
    feed(recommender)
    gains = {name: np.array(values) for name, values in after.items()}
    figures = iter([{name: np.full(len(one), 0.5) for name, one in gains.items()}, gains])
    monkeypatch.setattr(Learner, "_measure", lambda *arguments: next(figures))
    result = recommender.learn()
    assert result["kept"] is not bool(fell) and result["before"] == {"feedback": 0.5, "validation": 0.5}
    assert result["after"] == pytest.approx({name: one.mean() for name, one in gains.items()})
    if fell:
        assert result["note"] == f"Rolled back: {' and '.join(fell)} fell by more than 2%."


def test_small_falls_do_not_add_up(recommender: Recommender, monkeypatch: pytest.MonkeyPatch):
    levels, seen = iter([0.5, 0.4925, 0.4925, 0.5, 0.4851]), list[dict[str, torch.Tensor]]()

    def rows(self: Learner, model: Any) -> np.ndarray:
        seen.append({name: value.detach().clone() for name, value in model.named_parameters()})
        return np.full(4, next(levels))

    began = weights(recommender)
    monkeypatch.setattr(Learner, "_of_rows", rows)
    feed(recommender, 40)
    assert recommender.learn(bound=0.02)["kept"], "1.5 % lower than the checkpoint"
    first = weights(recommender)
    feed(recommender, 40)
    monkeypatch.setattr(Learner, "_train", lambda self, model, new: seen.append(dict(model.named_parameters())))
    result = recommender.learn(bound=0.02)
    assert not result["kept"] and result["version"] == 1, "1.5 % lower again"
    assert result["note"] == "Rolled back: validation since the checkpoint fell by more than 2%."
    name = "item_bias"
    assert torch.equal(seen[3][name], began[name]) and torch.equal(seen[4][name], first[name])
    assert not torch.equal(began[name], first[name]), "compared with the checkpoint, and trained on from where it was"


@pytest.mark.parametrize(("n", "kept_out"), [(120, 12), (40, 5), (8, 4)])
def test_the_guard_has_five_reactions_at_least_or_half(recommender: Recommender, n: int, kept_out: int, monkeypatch):
    held: list[int] = []
    measure = Learner._measure
    monkeypatch.setattr(
        Learner, "_measure", lambda self, model, one: (held.append(len(one)), measure(self, model, one))[1]
    )
    recommender.store.append([Event(f"g{user}", "s", "like", f"i{user % 25}") for user in range(n)])
    assert recommender.learn(fewest=8, **KEEP)["examples"] == n - kept_out and set(held) == {kept_out}


def test_weights_that_are_no_numbers_are_never_kept(recommender: Recommender, monkeypatch: pytest.MonkeyPatch):
    feed(recommender)
    monkeypatch.setattr(Learner, "_measure", lambda *arguments: {"feedback": np.zeros(2), "validation": np.zeros(2)})
    before = weights(recommender)
    result = recommender.learn(learning_rate=1e30, passes=5, bound=1e9)
    assert not result["kept"] and "out of all bounds" in result["note"] and same(weights(recommender), before)


def test_the_guard_holds_back_the_newest_and_learns_from_the_others(
    recommender: Recommender, monkeypatch: pytest.MonkeyPatch
):
    feed(recommender, 60)
    seen: dict[str, list[int]] = {}
    train, measure = Learner._train, Learner._measure
    monkeypatch.setattr(
        Learner,
        "_train",
        lambda self, model, new: (seen.update(new=[one.event for one in new]), train(self, model, new)),
    )
    monkeypatch.setattr(
        Learner, "_measure",
        lambda self, model, held: (seen.update(held=[one.event for one in held]), measure(self, model, held))[1],
    )  # fmt: skip
    recommender.learn(held_out=0.25, **KEEP)
    every = [one.event for one in Learner(recommender).examples()]
    assert seen["new"] + seen["held"] == every and len(seen["held"]) == round(0.25 * len(every))


def test_the_figures_are_ndcg_of_feedback_and_of_validation_rows(recommender: Recommender):
    feed(recommender, 30)
    model, held = recommender.model, Learner(recommender).examples()[:9]

    def gain(scores: torch.Tensor, target: int) -> float:
        place = int((scores[1:] > scores[target]).sum())
        return 1 / np.log2(place + 2) if place < 10 else 0.0

    ranker = Ranker(model, recommender.dataset)
    lines = [all_scores(model.request(ranker.rows([UserState(e.before)]), model.hear([e.text])))[0] for e in held]
    feedback = np.mean([gain(line.detach(), one.item) for line, one in zip(lines, held, strict=True)])
    valid = recommender.parts[1]
    batches = [valid[np.array([row])] for row in range(len(valid))]
    validation = np.mean([gain(model.full_sort_predict(batch)[0], int(batch["item_id"])) for batch in batches])
    found = {name: one.mean() for name, one in Learner(recommender)._measure(model, held).items()}
    assert found == {"feedback": pytest.approx(feedback), "validation": pytest.approx(validation)}
    assert len(valid) == 30 and 0 < feedback < 1 and 0 < validation < 1


# --- examples -------------------------------------------------------------------------------------


def test_no_example_knows_what_came_later(recommender: Recommender):
    rng = np.random.default_rng(3)
    kinds = ["click", "like", "seen", "rating", "dislike", "skip", "ask"]
    for number in range(300):
        kind = kinds[rng.integers(len(kinds))]
        recommender.store.append(
            [
                Event(
                    f"{'u' if number % 3 else 'v'}{rng.integers(8)}", "s", kind,
                    None if kind == "ask" else f"i{rng.integers(25)}",
                    float(rng.integers(1, 6)) if kind == "rating" else None, f"text {number}",
                )
            ]
        )  # fmt: skip

    def joins(event: Event) -> bool:
        return event.kind in TAKEN and not (event.kind == "rating" and (event.value or 0) <= 2)

    index, events = recommender.catalogue.index, recommender.store.events(reactions_only=True)
    examples = {one.event: one for one in Learner(recommender).examples()}
    assert list(examples) == sorted(examples) and len(examples) > 80
    for event in events:
        taken = list(recommender.users.before_feedback(event.user).items)
        for earlier in events:
            if earlier.id < event.id and earlier.user == event.user and joins(earlier):
                item = index[earlier.item or ""]
                taken += [item] if taken[-1:] != [item] else []
        item = index[event.item or ""]
        one = examples.get(event.id)
        assert (one is not None) == (joins(event) and taken[-1:] != [item])
        if one is not None:
            longest = recommender.dataset.max_item_list_len
            assert (one.before, one.item, one.text) == (taken[-longest:], item, event.instruction)


def test_who_was_forgotten_is_learned_from_anew_without_what_the_data_set_knows(recommender: Recommender):
    recommender.forget("u1")
    feed(recommender, 3, "u1")
    feed(recommender, 3, "u2")
    by_user: dict[str, list[int]] = {}
    for one, event in zip(Learner(recommender).examples(), recommender.store.events(), strict=False):
        by_user.setdefault(event.user, []).append(len(one.before))
    longest = recommender.dataset.max_item_list_len
    assert by_user["u1"][0] == 0 and by_user["u2"][0] == min(longest, recommender.users.in_dataset("u2")) > 0


# --- at once --------------------------------------------------------------------------------------


def test_two_threads_do_not_learn_at_once(recommender: Recommender):
    feed(recommender)
    begun, go_on, results = threading.Event(), threading.Event(), []

    def wait(share: float) -> None:
        begun.set()
        go_on.wait(30)

    thread = threading.Thread(target=lambda: results.append(recommender.learn(progress=wait, **KEEP)))
    thread.start()
    assert begun.wait(30)
    with pytest.raises(LiveError, match=r"learn: another process is learning from this store\. Wait for it"):
        recommender.learn(**KEEP)
    assert len(recommender.session("u1").ask("a comedy", 5)) == 5, "answers go on"
    go_on.set()
    thread.join()
    assert results[0]["version"] == 1 and len(recommender.versions.every()) == 2
    assert "new reactions" in recommender.learn(**KEEP)["note"], "the lock is free again"


def test_two_processes_do_not_learn_at_once(recommender: Recommender):
    feed(recommender)
    fork = multiprocessing.get_context("fork")
    held, done = fork.Event(), fork.Event()

    def hold() -> None:
        with FeedbackStore(recommender.store.file).held("learning"):
            held.set()
            done.wait(30)

    process = fork.Process(target=hold, daemon=True)
    process.start()
    assert held.wait(30)
    with pytest.raises(LiveError, match="another process is learning"):
        recommender.learn(**KEEP)
    done.set()
    process.join()
    assert recommender.learn(**KEEP)["version"] == 1


def test_undoing_while_another_version_is_learned_keeps_its_parent_right(recommender: Recommender):
    feed(recommender)
    recommender.learn(**KEEP)
    feed(recommender, 40, seed=2)
    expected = recommender.learn(**KEEP)
    wanted = weights(recommender)
    recommender.versions.use(1)
    undone = []

    def undo(share: float) -> None:
        if not undone:
            undone.append(recommender.versions.use(0))

    again = recommender.learn(progress=undo, **KEEP)
    assert undone and recommender.versions.every()[-1]["parent"] == 1
    assert again["after"] == expected["after"] and same(weights(recommender), wanted)


# --- forgetting -----------------------------------------------------------------------------------


def test_forgetting_drops_versions_that_learned_from_the_user_and_those_built_on_them(recommender: Recommender):
    feed(recommender, 30, "ann-of-the-first")
    assert len(Learner(recommender).examples()) > 20
    recommender.learn(**KEEP)
    first, shown = weights(recommender), lists(recommender)
    feed(recommender, 40, "bob-of-the-second", seed=1)
    recommender.learn(**KEEP)
    feed(recommender, 40, "cat-of-the-third", seed=2)
    recommender.learn(**KEEP)
    assert recommender.store.current == 3 and len(recommender.versions.files()) == 3
    assert recommender.forget("nobody at all").versions == []
    found = recommender.forget("bob-of-the-second")
    assert found.versions == [2, 3] and found.events == 40 and found.traces == []
    assert recommender.store.current == 1 and len(recommender.versions.files()) == 1
    assert same(weights(recommender), first) and lists(recommender) == shown
    assert [one["id"] for one in recommender.versions.every()] == [0, 1]
    assert recommender.forget("ann-of-the-first").versions == [1]
    assert recommender.store.current == 0 and recommender.versions.files() == []


def test_forgetting_drops_what_was_rolled_back_too(recommender: Recommender):
    feed(recommender)
    recommender.learn(learning_rate=1e30)
    assert recommender.forget("u1").versions == [1] and recommender.versions.every()[1:] == []


def test_a_user_who_is_forgotten_while_the_model_learns_is_not_learned_from(recommender: Recommender):
    feed(recommender)
    before = weights(recommender)
    forgotten = []

    def forget(share: float) -> None:
        if not forgotten:
            forgotten.append(recommender.forget("u1"))

    result = recommender.learn(progress=forget, **KEEP)
    assert (
        not result["kept"]
        and result["version"] == 0
        and "a user was forgotten while this was learned" in result["note"]
    )
    assert recommender.versions.every()[1:] == [] and recommender.versions.files() == []
    assert same(weights(recommender), before)
    assert recommender.learn(**KEEP)["kept"]


def test_what_grew_from_a_version_that_is_dropped_meanwhile_is_not_kept(recommender: Recommender):
    feed(recommender, 40, "ann")
    recommender.learn(**KEEP)
    feed(recommender, 40, "bob", seed=1)
    forgotten = []

    def forget(share: float) -> None:
        if not forgotten:
            forgotten.append(recommender.forget("ann"))

    result = recommender.learn(progress=forget, **KEEP)
    assert forgotten[0].versions == [1] and not result["kept"]
    assert recommender.store.current == 0 and recommender.versions.files() == []


def test_a_damaged_version_does_not_keep_a_user_from_being_forgotten(recommender: Recommender):
    feed(recommender, 30, "ann")
    recommender.learn(**KEEP)
    feed(recommender, 40, "bob", seed=1)
    recommender.learn(**KEEP)
    for file in recommender.versions.files():
        file.write_bytes(b"damaged")
    found = recommender.forget("bob")
    assert found.events == 40 and found.versions == [2] and recommender.store.events("bob") == []
    with pytest.raises(StoreError, match="missing or damaged"):
        recommender.session("u1").ask("")
    recommender.versions.use(0)
    assert len(recommender.session("u1").ask("", 5)) == 5


# --- what cannot be -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"learning_rate": 0.0},
        {"learning_rate": -1.0},
        {"learning_rate": float("nan")},
        {"learning_rate": float("inf")},
        {"passes": 0},
        {"batch_size": 0},
        {"replay": -1.0},
        {"bound": float("nan")},
        {"held_out": 0.0},
        {"held_out": 1.0},
    ],
)
def test_options_that_cannot_be_are_refused_by_name(recommender: Recommender, options: dict[str, float]):
    feed(recommender)
    with pytest.raises(LiveError, match=f"learn: {next(iter(options))} cannot be so"):
        recommender.learn(**options)
    assert recommender.store.current == 0


def test_learning_without_old_data_is_refused_or_asked_for(recommender: Recommender, loaded: tuple):
    feed(recommender)
    _, model, dataset, _ = loaded
    with pytest.raises(LiveError, match=r"training part is needed; open the checkpoint with Recommender\.load"):
        Recommender(model, dataset, recommender.store).learn()
    assert recommender.learn(replay=0.0, **KEEP)["version"] == 1


# --- feedback as training data ----------------------------------------------------------------------

INTER = ["user_id", "item_id", "timestamp", "rating", "instruction_id"]


def exported(folder: Path, **options: Any) -> Any:
    """The data set that files of feedback make, beside the films."""
    shutil.copy(folder.parent / "films.item", folder / f"{folder.name}.item")
    load_col = {"inter": INTER, "item": ["item_id", "title", "genre"]}
    data_path = folder.parent
    return build_data(make_config(data_path, dataset=folder.name, **{**SILENT, "load_col": load_col, **options}))[0]


@pytest.fixture
def item_file(tmp_path: Path) -> Path:
    write_dataset(tmp_path, "films")
    return shutil.copy(tmp_path / "films" / "films.item", tmp_path / "films.item")


TEXTS = [
    'a "funny" comedy',
    "it's 5\" tall; 'quoted",
    "a\\b, c|d #e %f",
    "喜剧，谢谢 🎬",
    "'; DROP TABLE events; --",
    "NA",
    "=1+1",
]


def test_feedback_is_a_data_set_that_holds_what_was_taken_and_said(
    recommender: Recommender, item_file: Path, tmp_path: Path
):
    users = ["Ann  Lee", 'o"Brien', "用户", "NA", "nan", "1e5", "007"]
    for n, user in enumerate(users):
        session = recommender.session(user)
        for step in range(4):
            session.ask(TEXTS[(n + step) % len(TEXTS)], 3)
            kind = ["click", "like", "seen", "rating"][step]
            session.feedback(f"i{(3 * n + step) % 25}", kind, 4.5 if kind == "rating" else None)
        session.feedback("i24", "dislike")
        session.feedback("i23", "skip")
    found = recommender.export(tmp_path / "feedback")
    assert found == {"interactions": 28, "instructions": len(TEXTS), "users": 7}
    dataset = exported(
        tmp_path / "feedback", instruction_mix={"file": 1.0}, report_rows=["file"], instruction_encoder="bilstm"
    )
    assert set(TEXTS) < set(dataset.instructions.texts)
    assert set(dataset.field2id_token["user_id"][1:]) == set(users)
    told = dataset.sources["file"].numbers(np.arange(len(dataset.history)), None)
    events = [one for one in recommender.store.events(reactions_only=True) if one.kind in TAKEN]
    expected = {(e.user, e.item, int(round(e.time, 3)), e.instruction) for e in events}  # as it is written
    history = dataset.history
    assert {
        (
            str(dataset.id2token("user_id", int(user))), str(dataset.id2token("item_id", int(item))), int(time),
            dataset.instructions.texts[number],
        )
        for user, item, time, number in zip(history.user, history.item, history.time, told, strict=True)
    } == expected  # fmt: skip


def test_what_was_taken_back_is_neither_learned_nor_exported(recommender: Recommender, tmp_path: Path):
    feed(recommender, 40)
    expected = recommender.export(tmp_path / "a"), [(one.before, one.item) for one in Learner(recommender).examples()]
    session = recommender.session("u7")
    for item in ("i20", "i21"):
        session.feedback(item, "like")
    for item in ("i20", "i21"):
        session.feedback(item, "undo")
    found = recommender.export(tmp_path / "b"), [(one.before, one.item) for one in Learner(recommender).examples()]
    assert found == expected


def test_feedback_can_be_appended_to_a_file_of_the_same_columns(
    recommender: Recommender, item_file: Path, tmp_path: Path
):
    feed(recommender, 90)
    recommender.export(tmp_path / "both")
    file = tmp_path / "both" / "both.inter"
    header, *lines = file.read_text().splitlines()
    assert header == "user_id:token\titem_id:token\trating:float\ttimestamp:float\tinstruction_id:token"
    old = [f"u{n}\ti{n % 25}\t3\t{880_000_000 + n}\t" for n in range(30)]
    file.write_text("\n".join([header, *old, *lines]) + "\n")
    dataset = exported(tmp_path / "both")
    assert len(lines) == 90 and len(dataset.history) == 120


def test_an_export_replaces_the_one_before_and_holds_nobody_who_was_forgotten(recommender: Recommender, tmp_path: Path):
    feed(recommender, 40, text="what was said")
    recommender.session("somebody else").feedback("i1", "like")
    folder = tmp_path / "a" / "feedback"
    assert recommender.export(folder)["users"] == 31
    recommender.forget("somebody else")
    assert recommender.export(folder) == {"interactions": 40, "instructions": 1, "users": 30}
    assert sorted(file.name for file in folder.iterdir()) == ["feedback.inst", "feedback.inter"]
    assert "somebody else" not in (folder / "feedback.inter").read_text()
    assert (folder / "feedback.inst").read_text().splitlines()[1:] == ["1\twhat was said"]


def test_a_folder_is_named_however_it_is_written(
    recommender: Recommender, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert recommender.export(".") == {"interactions": 0, "instructions": 0, "users": 0}
    assert sorted(file.name for file in Path().iterdir()) == ["here.inst", "here.inter"]


def test_a_folder_that_cannot_be_made_is_refused_in_words(recommender: Recommender, tmp_path: Path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(LiveError, match=r"export: .* cannot be written .* Give another folder"):
        recommender.export(tmp_path / "file" / "below")
    assert (tmp_path / "file").read_text() == "x"
