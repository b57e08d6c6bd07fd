"""A recommender from a checkpoint, a folder, data that has moved."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from recbole_instructrec.checkpoint import CheckpointError
from recbole_instructrec.live import NotFound, Recommender, StoreError
from recbole_instructrec.live.events import Event
from tests.support import (
    GENRES,
    SILENT,
    build_all,
    make_config,
    trained_checkpoint,
    write_dataset,
)


def test_the_newest_checkpoint_of_a_folder_is_loaded_with_a_store_beside_it(checkpoint: Path, tmp_path: Path):
    folder = tmp_path / "saved"
    folder.mkdir()
    with pytest.raises(NotFound, match=r"there is no \.pth file in"):
        Recommender.load(folder)
    shutil.copy(checkpoint, folder / "a.pth")
    recommender = Recommender.load(folder)
    assert recommender.store.file == folder / "a.pth.feedback.sqlite" and recommender.store.file.is_file()
    about = recommender.about()
    assert about["items"] == 25 and about["attributes"] == GENRES and about["version"] == 0
    assert len(recommender.session("u1").ask("a comedy", 5)) == 5
    recommender.store.close()
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        Recommender.load(folder / "b.pth")


def test_data_that_has_moved_and_a_store_of_other_data(checkpoint: Path, tmp_path: Path):
    write_dataset(tmp_path / "moved", "films")
    recommender = Recommender.load(checkpoint, tmp_path / "f.sqlite", data_path=tmp_path / "moved")
    assert len(recommender.session("u1").ask("", 5)) == 5
    write_dataset(tmp_path / "other", "films", items=[(f"x{n}", "A film", "War") for n in range(25)],
                  interactions=[(f"u{n % 9}", f"x{n % 25}", n) for n in range(99)])  # fmt: skip
    other = trained_checkpoint(tmp_path / "other", **SILENT)
    with pytest.raises(StoreError, match="holds feedback on another catalogue"):
        Recommender.load(other, tmp_path / "f.sqlite")
    with pytest.raises(CheckpointError, match="another catalogue"):
        Recommender.load(checkpoint, tmp_path / "g.sqlite", data_path=tmp_path / "other")


def test_a_checkpoint_of_another_model_is_refused_in_words(films: Path, tmp_path: Path):
    options = {
        "train_neg_sample_args": None,
        "epochs": 1,
        "embedding_size": 8,
        "hidden_size": 8,
        "show_progress": False,
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
    }
    config = make_config(films, model="GRU4Rec", checkpoint_dir=str(tmp_path / "saved"), **options)
    _, trainer, train, _, _ = build_all(config)
    trainer.fit(train, verbose=False)
    with pytest.raises(CheckpointError, match="not a checkpoint of InstructRec"):
        Recommender.load(trainer.saved_model_file)


def test_an_item_that_left_the_catalogue_is_no_crash(recommender: Recommender):
    recommender.store.append([Event("u5", "s", "like", "an item of last year"), Event("u5", "s", "like", "i3")])
    session = recommender.session("u5")
    assert session.history(1)[0]["id"] == "i3" and len(session.ask("", 5)) == 5
