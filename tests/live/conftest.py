"""A small trained recommender for the tests of what is live."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recbole_instructrec.live import Recommender, Session
from recbole_instructrec.live.loading import load
from tests.support import trained_checkpoint, write_dataset


def trained(folder: Path, **options: Any) -> Path:
    return trained_checkpoint(write_dataset(folder, "films"), learning_rate=0.01, **options)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("live"))


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
    folder = tmp_path_factory.mktemp("neighbours")
    file = trained(folder, neighbour_weight=2.0, cooccurrence_weight=1.0, network_weight=0.8)
    return Recommender.load(file, tmp_path / "f.sqlite")


@pytest.fixture(scope="module")
def without_neighbours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("none"), neighbour_weight=0.0)


@pytest.fixture
def of_none(without_neighbours: Path, tmp_path: Path) -> Recommender:
    """A model whose lists are made from no item neighbours."""
    return Recommender.load(without_neighbours, tmp_path / "f.sqlite")


@pytest.fixture
def session(recommender: Recommender) -> Session:
    return recommender.session("u1")


@pytest.fixture
def dated(recommender: Recommender) -> Recommender:
    """Items of the years 1971 to 1995, the last one of none."""
    recommender.catalogue.years = np.arange(1970, 1996)
    recommender.catalogue.years[[0, 25]] = 0
    return recommender
