"""Starting from a checkpoint of another data set: which items are the same, what is copied, what is refused."""

from __future__ import annotations

import logging
import random
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from recbole.data.interaction import Interaction
from recbole.quick_start import load_data_and_model

from recbole_instructrec import checkpoint
from recbole_instructrec.checkpoint import CheckpointError
from recbole_instructrec.main import guarded
from recbole_instructrec.model.item_matching import ItemTexts, match_items
from recbole_instructrec.model.losses import all_scores
from recbole_instructrec.model.text import PACKAGED_NAME
from recbole_instructrec.model.text_vectors import FrozenTextEncoder
from tests.support import build_all, make_config, small_interactions, small_items, write_dataset

# --- which items are the same ---------------------------------------------------------------------


def matched(source: list[tuple[str, str]], target: list[tuple[str, str]]) -> list[int]:
    texts = [ItemTexts([name for name, _ in items], [other for _, other in items]) for items in (source, target)]
    return match_items(*texts).tolist()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Matrix, The", "The Matrix"),
        ("AMÉLIE", "Amelie"),
        ("Schindler's List", "Schindlers List"),
        ("Schindler\u2019s List", "Schindler's list"),
        ("Romeo & Juliet", "Romeo and Juliet"),
        ("Spider-Man", "spider man!"),
        ("Matrix, The (1999)", "The Matrix"),
        ("千と千尋の神隠し", "千と千尋の神隠し。"),
    ],
)
def test_names_with_the_same_words_are_the_same(one, other):
    assert matched([(one, "")], [(other, "")]) == [0]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("The Matrix", ""), ("The Matrix Reloaded", "")),
        (("2001: A Space Odyssey", ""), ("A Space Odyssey", "")),
        (("That That", ""), ("That", "")),
        (("Hamlet", "1948 Drama"), ("Hamlet", "1990 Drama")),
        (("Hamlet (1948)", "Drama"), ("Hamlet", "1950. Drama")),
        (("...", "1999"), ("?!", "1999")),
        (("", "1999"), ("", "1999")),
    ],
)
def test_other_names_and_other_years_are_not_the_same(one, other):
    assert matched([one], [other]) == [-1]


def test_years_of_release_may_be_one_apart_or_missing():
    assert matched([("Hamlet", "1996. Drama")], [("Hamlet (1997)", "Drama")]) == [0]
    assert matched([("Hamlet", "1996. Drama")], [("Hamlet", "Drama")]) == [0]
    # A number in the name is no year of release.
    assert matched([("Blade Runner 2049", "2017")], [("Blade Runner 2049 (2017)", "")]) == [0]


def test_of_several_candidates_the_one_with_most_words_in_common_is_taken():
    source = [("Hamlet", "1948. Drama"), ("Hamlet", "Comedy Animation"), ("Hamlet", "1990. Drama War")]
    target = [("Hamlet", "Animation Comedy"), ("Hamlet", "1990. War Drama"), ("Hamlet", "1948. Drama")]
    assert matched(source, target) == [1, 2, 0]


def test_an_item_is_used_once():
    assert matched([("Hamlet", "Drama")], [("Hamlet", "Comedy"), ("Hamlet", "Drama")]) == [-1, 0]
    assert sorted(matched([("Hamlet", ""), ("Hamlet", "")], [("Hamlet", "")] * 3)) == [-1, 0, 1]


_NAMES = st.lists(st.sampled_from(["red", "Réd", "blue", "sky", "the", "2"]), max_size=3).map(" ".join)
_ITEMS = st.lists(st.tuples(_NAMES, st.sampled_from(["", "1990", "1991 War", "1993 War", "War Drama"])), max_size=8)


@given(_ITEMS, _ITEMS, st.randoms(use_true_random=False))
def test_matching_is_one_to_one_and_blind_to_spelling(source: list, target: list, rng: random.Random):
    found = matched(source, target)
    used = [number for number in found if number >= 0]
    assert len(used) == len(set(used))
    for number, (name, others) in zip(found, target, strict=True):
        if number >= 0:
            assert sorted(source[number][0].lower().replace("é", "e").split()) == sorted(
                name.lower().replace("é", "e").split()
            )
            assert {source[number][1][:4], others[:4]} != {"1990", "1993"}

    def respelled(name: str) -> str:
        words = name.upper().split()
        rng.shuffle(words)
        return ", ".join(words)

    assert matched(source, [(respelled(name), others) for name, others in target]) == found


@given(st.lists(st.tuples(st.text(), st.text()), max_size=5))
def test_texts_in_a_checkpoint_come_back(items):
    texts = ItemTexts([name for name, _ in items], [others for _, others in items])
    packed = texts.pack()
    assert packed.dtype == torch.uint8
    assert ItemTexts.unpack(packed) == texts


# --- what is copied -------------------------------------------------------------------------------


def trained(data_path: Path, **options) -> tuple:
    # A folder of its own: names of checkpoints differ in the second of their making alone.
    options = {"item_fusion": "add", "learning_rate": 0.05, "warmup_steps": 0, **options}
    config = make_config(data_path, checkpoint_dir=tempfile.mkdtemp(dir="."), **options)
    model, trainer, train, valid, test = build_all(config)
    trainer.fit(train, valid, verbose=False)
    trainer.evaluate(test)  # loads the best
    return model.eval(), trainer.saved_model_file, test


def started(data_path: Path, file: str, **options) -> tuple:
    return build_all(make_config(data_path, **{"item_fusion": "add", "pretrained": file, **options}))


def renamed(tmp_path: Path, keep: int = 25, title: str = "number {}, FILM") -> Path:
    """The films under other ids and in another order, titles written otherwise; those from ``keep`` on are others."""
    rows = [(user, f"x{item[1:]}", time) for user, item, time in small_interactions()]
    random.Random(1).shuffle(rows)
    items = [
        (f"x{item[1:]}", title.format(item[1:]) if int(item[1:]) < keep else f"Tale {item}", genre)
        for item, _, genre in reversed(small_items())
    ]
    return write_dataset(tmp_path / "renamed", "films", rows, items)


def numbers(model, test, letter: str) -> np.ndarray:
    """Internal ids of films 0 to 24."""
    known = test._dataset.field2token_id["item_id"]
    return np.array([known[f"{letter}{film}"] for film in range(25)])


@pytest.mark.parametrize("fusion", ["none", "add", "multiply", "start"])
def test_the_same_catalogue_in_another_order_gets_the_same_scores(films, tmp_path, fusion):
    source, file, test = trained(films, item_fusion=fusion)
    data = renamed(tmp_path, title="Film number {}")
    target, _, _, _, other_test = started(data, file, item_fusion=fusion)
    target.eval()
    here, there = numbers(source, test, "i"), numbers(target, other_test, "x")
    assert (here != there).any()
    place = np.zeros(26, dtype=np.int64)
    place[here] = there
    histories = test._dataset[:]
    moved = Interaction(
        {
            "item_id_list": torch.from_numpy(place[histories["item_id_list"].numpy()]),
            "item_length": histories["item_length"],
        }
    )
    before, after = source.full_sort_predict(histories), target.full_sort_predict(moved)
    torch.testing.assert_close(after[:, there], before[:, here], rtol=1e-4, atol=1e-4)
    # What is said has the same effect too: the attributes are the same.
    texts = ["something to laugh about"] * len(histories)
    before = all_scores(source.request(histories, source.hear(texts)))
    after = all_scores(target.request(moved, target.hear(texts)))
    torch.testing.assert_close(after[:, there], before[:, here], rtol=1e-4, atol=1e-4)


def test_item_rows_are_copied_for_matched_items_alone(films, tmp_path, caplog):
    source, file, test = trained(films)
    data = renamed(tmp_path, keep=15)
    with caplog.at_level(logging.INFO):
        target, _, _, _, other_test = started(data, file)
    fresh, *_ = build_all(make_config(data, item_fusion="add"))
    here, there = numbers(source, test, "i"), numbers(target, other_test, "x")
    for own, stored, initial in (
        (target.items.id.weight, source.items.id.weight, fresh.items.id.weight),
        (target.item_bias, source.item_bias, fresh.item_bias),
    ):
        assert torch.equal(own[there[:15]], stored[here[:15]])
        assert torch.equal(own[there[15:]], initial[there[15:]])
        assert not torch.isclose(stored[here], initial[there]).all(-1).any()
        assert torch.equal(own[0], initial[0])
    own, stored, initial = (dict(model.named_parameters()) for model in (target, source, fresh))
    for name in own.keys() - {"items.id.weight", "item_bias"}:
        assert torch.equal(own[name], stored[name]), name
    assert not torch.equal(own["behaviour.blocks.0.out.weight"], initial["behaviour.blocks.0.out.weight"])
    assert "15 of 25 items" in caplog.text
    assert "taken over: log_scale, repeat, items, behaviour, fusion, summary, answers, intent, match." in caplog.text


def test_texts_are_seen_in_the_space_of_the_checkpoint(films, tmp_path):
    """The vectors of a film are those that the adaptor was trained on, not those of a new whitening."""
    source, file, _ = trained(films)
    data = renamed(tmp_path, keep=15)
    target, _, _, _, other_test = started(data, file)
    fresh, *_ = build_all(make_config(data, item_fusion="add"))
    assert torch.equal(target.whitening["text"].basis, source.whitening["text"].basis)
    assert torch.equal(target.match.projection.basis, source.match.projection.basis)
    assert not torch.allclose(fresh.whitening["text"].basis, source.whitening["text"].basis, rtol=0.01)
    texts = other_test._dataset.item_texts
    encoder = FrozenTextEncoder(PACKAGED_NAME, 64, progress=False)  # instructions have another
    film = int(numbers(target, other_test, "x")[20])
    vector = torch.from_numpy(encoder([texts[film]]))[0].double()
    expected = ((vector - source.whitening["text"].mean) @ source.whitening["text"].basis).float()
    torch.testing.assert_close(target.items.text_vectors[film], expected, rtol=1e-4, atol=1e-4)


def test_what_stands_for_other_things_is_left(films, tmp_path, caplog):
    source, file, _ = trained(films, context_fields=["gap"], n_layers=2)
    items = [(item, title, f"{genre} Western") for item, title, genre in small_items()]
    data = write_dataset(tmp_path / "western", "films", None, items)
    with caplog.at_level(logging.INFO):
        target, *_ = started(
            data, file, context_fields=["hour"], MAX_ITEM_LIST_LENGTH=12, inner_size=16, item_fusion="multiply"
        )
    log = caplog.text
    assert "intent (other attributes)" in log
    assert "context (other context fields)" in log
    assert "item_fusion add there, multiply here" in log
    assert "behaviour.blocks.0.inner.0.weight (shape (32, 16) there, (16, 16) here)" in log
    assert "not used, for this model has no such part: behaviour.blocks" in log
    # Positions that both have are the same positions.
    assert torch.equal(target.behaviour.position.weight[:9], source.behaviour.position.weight)
    assert "behaviour.position.weight (from position 9 on)" in log
    assert torch.equal(target.answers.wish, source.answers.wish)


def test_what_this_run_sets_is_not_overwritten(films, caplog):
    source, file, _ = trained(films)
    with caplog.at_level(logging.INFO):
        target, _, train, _, _ = started(films, file, temperature=2.0, popularity_prior=True)
    assert torch.isclose(target.log_scale.exp(), torch.tensor(0.5))
    assert torch.equal(target.item_bias, torch.from_numpy(np.log1p(train._dataset.target_counts())).float())
    assert torch.equal(target.items.id.weight, source.items.id.weight)
    assert "temperature 0.07 there, 2.0 here" in caplog.text


def test_another_packaged_reader_is_not_taken_over(films, caplog):
    model, file, _ = trained(films)
    state = checkpoint.read(file)
    state["state_dict"]["_extra_state"]["reader of requests"] = "of an earlier version"
    checkpoint.save_atomically(state, file)
    with caplog.at_level(logging.INFO):
        started(films, file)
    assert "intent (other reader of requests)" in caplog.text
    assert model.made_for["reader of requests"] != "of an earlier version"


def test_words_of_a_bilstm_are_left_where_they_differ(films, tmp_path, caplog):
    _, file, _ = trained(films, instruction_encoder="bilstm")
    with caplog.at_level(logging.INFO):
        started(films, file, instruction_encoder="bilstm")
    assert "left as initialised" not in caplog.text
    items = [(item, title, genre.replace("War", "Western")) for item, title, genre in small_items()]
    with caplog.at_level(logging.INFO):
        started(write_dataset(tmp_path / "w", "films", None, items), file, instruction_encoder="bilstm")
    assert "instructions (other vocabulary)" in caplog.text
    assert "summary (other vocabulary)" in caplog.text


# --- checkpoints of a training that started from another ------------------------------------------


def test_a_started_training_is_loaded_and_resumed_without_its_source(films, tmp_path):
    """Also where the catalogue is too small to have a whitening of that size."""
    _, file, _ = trained(films)
    rows = [(f"u{user}", f"i{item}", 880_000_000 + step) for user in range(6) for step, item in enumerate("03152")]
    data = write_dataset(tmp_path / "few", "films", rows, small_items(6))
    options = {"item_fusion": "add", "epochs": 3}
    model, trainer, train, valid, test = build_all(make_config(data, pretrained=file, **options))
    assert model.whitening["text"].basis.shape[1] == 8
    trainer.fit(train, valid, verbose=False)
    trainer.evaluate(test)
    Path(file).unlink()
    saved = trainer.saved_model_file
    assert "pretrained" not in checkpoint.read(saved)["config"]
    _, loaded, _, _, _, test_again = load_data_and_model(saved)
    torch.testing.assert_close(
        loaded.eval().full_sort_predict(test_again._dataset[:]), model.eval().full_sort_predict(test._dataset[:])
    )
    _, trainer, train, valid, _ = build_all(make_config(data, resume=saved, **{**options, "epochs": 5}))
    trainer.fit(train, valid, verbose=False)
    assert checkpoint.read(saved)["epoch"] >= trainer.start_epoch - 1 and trainer.start_epoch > 0


def test_checkpoints_of_former_versions_are_loaded_but_not_started_from(films):
    model, file, test = trained(films)
    state = checkpoint.read(file)
    state["state_dict"] = {
        name: value for name, value in state["state_dict"].items() if not name.endswith((".mean", ".basis"))
    }
    del state["catalogue"]
    checkpoint.save_atomically(state, "old.pth")
    scores = model.full_sort_predict(test._dataset[:])
    _, loaded, _, _, _, test_again = load_data_and_model("old.pth")
    torch.testing.assert_close(loaded.eval().full_sort_predict(test_again._dataset[:]), scores)
    _, trainer, _, _, test = build_all(make_config(films, item_fusion="add"))
    trainer.evaluate(test, model_file="old.pth")
    with pytest.raises(CheckpointError, match="earlier version"):
        started(films, "old.pth")


# --- what is refused ------------------------------------------------------------------------------


def test_what_cannot_be_started_from_is_refused_in_words(films, tmp_path, capsys):
    _, file, _ = trained(films, epochs=1)
    bare = {"item_text_fields": [], "item_fusion": "none", "epochs": 1}
    _, without_texts, _ = trained(films, **bare)
    Path("text.pth").write_text("hello")
    stock = {"load_col": {"inter": ["user_id", "item_id", "timestamp"]}, "train_neg_sample_args": None, "epochs": 1}
    _, trainer, train, valid, _ = build_all(make_config(films, model="GRU4Rec", **stock))
    trainer.fit(train, valid, verbose=False)
    other = checkpoint.read(file)
    other["catalogue"]["text_encoder"] = "0" * 16
    checkpoint.save_atomically(other, "other.pth")
    holed = checkpoint.read(file)
    holed["catalogue"]["texts"] = holed["catalogue"]["texts"][:-9]
    checkpoint.save_atomically(holed, "holed.pth")
    fewer = checkpoint.read(file)
    fewer["catalogue"]["texts"] = ItemTexts(["", "one"], ["", ""]).pack()
    checkpoint.save_atomically(fewer, "fewer.pth")
    for start, options, message in (
        ("absent.pth", {}, "pretrained: there is no checkpoint absent.pth"),
        ("text.pth", {}, "pretrained: text.pth is truncated or not a checkpoint"),
        (trainer.saved_model_file, {}, "not a checkpoint of InstructRec"),
        ("other.pth", {}, "another text encoder"),
        ("holed.pth", {}, "damaged"),
        ("fewer.pth", {}, "damaged"),
        (file, {"hidden_size": 32}, "hidden_size 16, and this run has hidden_size 32"),
        (file, bare, "item_text_fields"),
        (without_texts, {}, "holds no item texts"),
    ):
        with pytest.raises(CheckpointError, match=message):
            started(films, start, **options)
    with pytest.raises(ValueError, match="pretrained must be left out"):
        started(films, file, resume=file)
    with pytest.raises(ValueError, match="pretrained must be the path"):
        started(films, file, pretrained=5)
    assert guarded(lambda: started(films, "absent.pth")) == 1
    shown = capsys.readouterr().err
    assert "error: pretrained: there is no checkpoint" in shown and "Traceback" not in shown and "set " not in shown


def test_nothing_in_common_is_said(films, tmp_path, caplog):
    _, file, _ = trained(films, epochs=1)
    with caplog.at_level(logging.WARNING):
        started(renamed(tmp_path, keep=0), file)
    assert "0 of 25 items" in caplog.text
