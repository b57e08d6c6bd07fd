"""A small trained recommender for the tests of what is live."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recbole_instructrec.live import Recommender, Session
from recbole_instructrec.live.loading import load
from tests.support import trained_checkpoint, write_dataset


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_checkpoint(write_dataset(tmp_path_factory.mktemp("live"), "films"), learning_rate=0.01)


@pytest.fixture(scope="module")
def loaded(checkpoint: Path) -> tuple:
    return load(checkpoint)


@pytest.fixture
def recommender(loaded: tuple, tmp_path: Path) -> Recommender:
    _, model, dataset, parts = loaded
    return Recommender(model, dataset, tmp_path / "feedback.sqlite", parts=parts)


@pytest.fixture
def of_neighbours(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Recommender:
    """A model whose lists are made from more item neighbours."""
    data = write_dataset(tmp_path_factory.mktemp("neighbours"), "films")
    return Recommender.load(
        trained_checkpoint(data, learning_rate=0.01, neighbour_weight=2.0, cooccurrence_weight=1.0, network_weight=0.8),
        tmp_path / "f.sqlite",
    )


@pytest.fixture
def of_none(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Recommender:
    """A model whose lists are made from no item neighbours."""
    data = write_dataset(tmp_path_factory.mktemp("none"), "films")
    return Recommender.load(trained_checkpoint(data, learning_rate=0.01, neighbour_weight=0.0), tmp_path / "f.sqlite")


@pytest.fixture
def session(recommender: Recommender) -> Session:
    return recommender.session("u1")


@pytest.fixture
def dated(recommender: Recommender) -> Recommender:
    """Items of the years 1971 to 1995, the last one of none."""
    recommender.catalogue.years = np.arange(1970, 1996)
    recommender.catalogue.years[[0, 25]] = 0
    return recommender
