"""The configurations in ``dataset_configs/`` load, and speak of the fields that are there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml
from recbole.config import Config

from tests.support import build_data

FOLDER = Path(__file__).parent.parent / "dataset_configs"
ROWS = {
    "ml-100k": ["none", "history", "intent", "shuffled"],
    "ml-1m": ["none", "history", "intent", "shuffled"],
    "lastfm-tags": ["none", "history", "intent", "shuffled"],
    "Amazon_Beauty": ["none"],
}


def load(name, **options):
    config = Config("InstructRec", name, [str(FOLDER / f"{name}.yaml")], config_dict=options)
    return build_data(config)


def test_one_file_for_each_data_set():
    converted = {"redial", "clinc150"}  # see test_converters.py
    assert {file.stem for file in FOLDER.glob("*.yaml")} == set(ROWS) | converted


def test_ml_100k_and_its_overlay_agree():
    file = yaml.safe_load((FOLDER / "ml-100k.yaml").read_text())
    plain = Config("InstructRec", "ml-100k")
    assert all(plain[key] == value for key, value in file.items() if key != "selected_features")
    dataset = load("ml-100k")[3]._dataset
    assert dataset.available_rows() == ROWS["ml-100k"]
    assert {"Comedy", "Film-Noir", "Children's"} <= set(dataset.attributes.names)


@pytest.mark.parametrize(("name", "fusion"), [("redial", "add"), ("clinc150", "none")])
def test_data_of_real_requests_keep_what_their_figures_were_measured_with(name, fusion):
    file = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    assert (file["item_fusion"], file["neighbour_weight"], file["MAX_ITEM_LIST_LENGTH"]) == (fusion, 0, 50)


@pytest.mark.shared_data
@pytest.mark.parametrize("name", ["ml-1m", "Amazon_Beauty", "lastfm-tags"])
def test_other_data_sets(name):
    _, train, _, test = load(name, data_path=os.environ["RECBOLE_INSTRUCTREC_DATA"])
    assert test._dataset.available_rows() == ROWS[name]
    assert len(test._dataset) == {"ml-1m": 6_040, "Amazon_Beauty": 22_363, "lastfm-tags": 1_089}[name]
    assert all(test._dataset.item_texts[1:]) or name == "Amazon_Beauty"
    batch = next(iter(train))
    assert (batch["item_id"] > 0).any()
