"""Shared fixtures. Every test runs in its own folder, so that saved/ and log/ never land in the tree."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
import torch

import recbole_instructrec  # noqa: F401
from tests.support import write_dataset

# Tests never reach for a hub. (transformers reads these when a test first loads an encoder.)
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")
torch.set_num_threads(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the slow tests too")


# Files whose tests take longest: begun first, they are not what one process does while the other has ended.
_LONG = ("test_training", "test_runs", "test_generated_data", "test_committed", "test_trainer")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.stem not in _LONG)
    data = os.environ.get("RECBOLE_INSTRUCTREC_DATA")
    for item in items:
        if "slow" in item.keywords and not config.getoption("--slow"):
            item.add_marker(pytest.mark.skip(reason="slow: give --slow to run it"))
        if "shared_data" in item.keywords and not (data and Path(data).is_dir()):
            item.add_marker(
                pytest.mark.skip(reason="needs ml-1m, Amazon_Beauty and lastfm-tags: set RECBOLE_INSTRUCTREC_DATA")
            )


@pytest.fixture(scope="session", autouse=True)
def text_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache of encoded texts for the whole run, apart from the user's own."""
    folder = tmp_path_factory.mktemp("texts")
    os.environ["RECBOLE_INSTRUCTREC_CACHE"] = str(folder)
    return folder


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Work in an empty folder, with the command line and the logger of a fresh program."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["test"])
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    logging.disable(logging.NOTSET)  # a fixture of a whole file may have run before
    yield
    logging.disable(logging.NOTSET)
    for handler in root.handlers[:]:
        if handler not in handlers:
            root.removeHandler(handler)
            handler.close()
    root.setLevel(level)


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """A small catalogue with titles and genres; returns the data_path that holds it."""
    return write_dataset(tmp_path / "data", "films")
