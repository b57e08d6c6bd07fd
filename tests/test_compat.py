"""Each mend of RecBole 1.2.1 is needed, small, and touches nothing else.

Mends for numpy 2 and pandas 3 are tested in an environment that has them
(``tests/run_new_libraries.sh``); here they are skipped.
"""

from __future__ import annotations

import ast
import io
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from recbole.config import Config
from recbole.quick_start import load_data_and_model, run_recbole
from recbole.trainer import Trainer

from recbole_instructrec import compat
from recbole_instructrec.checkpoint import CheckpointError
from tests.support import build_data, make_config, small_items, write_dataset
from tests.test_registry import free_port, in_new_process

NUMPY = int(np.__version__.split(".")[0])
PANDAS = int(pd.__version__.split(".")[0])
COLUMNS = {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id", "genre"]}


def stock_options(films, **more):
    options = {
        "data_path": str(films),
        "load_col": COLUMNS,
        "train_neg_sample_args": None,
        "epochs": 1,
        "hidden_size": 16,
        "inner_size": 32,
        "show_progress": False,
        "selected_features": ["genre"],
        "MAX_ITEM_LIST_LENGTH": 8,
    }
    return {**options, **more}


@pytest.mark.parametrize("model", ["SASRec", "GRU4Rec", "SASRecF", "FDSA"])
def test_other_models_train_save_reload_evaluate(films, model):
    options = stock_options(films)
    if model in ("SASRec", "GRU4Rec"):
        options["load_col"] = {"inter": COLUMNS["inter"]}
    result = run_recbole(model=model, dataset="films", config_dict=options)
    file = next(Path("saved").glob(f"{model}-*.pth"))
    config, loaded, _, _, _, test = load_data_and_model(str(file))
    again = Trainer(config, loaded).evaluate(test, load_best_model=False)
    assert again == result["test_result"]


def test_checkpoint_loading_is_needed(films):
    """torch's own loader refuses what RecBole writes, and RecBole's calls do not."""
    run_recbole(
        model="GRU4Rec", dataset="films", config_dict=stock_options(films, load_col={"inter": COLUMNS["inter"]})
    )
    file = str(next(Path("saved").glob("GRU4Rec-*.pth")))
    with pytest.raises(Exception, match=r"(?i)weights.only|unsupported"):
        torch.load(file)  # not called from RecBole: unchanged, and refused
    assert load_data_and_model(file)[0]["model"] == "GRU4Rec"


def test_trusted_checkpoints_may_hold_anything(films, monkeypatch):
    run_recbole(
        model="GRU4Rec", dataset="films", config_dict=stock_options(films, load_col={"inter": COLUMNS["inter"]})
    )
    file = str(next(Path("saved").glob("GRU4Rec-*.pth")))
    state = torch.load(file, weights_only=False)
    state["other_parameter"] = {"path": Path("x")}
    torch.save(state, "odd.pth")
    with pytest.raises(CheckpointError, match=r"pathlib.*TRUST_CHECKPOINTS=1"):
        load_data_and_model("odd.pth")
    monkeypatch.setenv("RECBOLE_INSTRUCTREC_TRUST_CHECKPOINTS", "1")
    load_data_and_model("odd.pth")


def test_text_columns(tmp_path):
    items = small_items()
    items[0] = ("i0", '"Quoted" opening', "Comedy")
    items[1] = ("i1", 'He said "NA', "NA")
    items[2] = ("i2", "null", "")
    items[3] = ("i3", "喜剧 ☕ naïve", "None")
    config = make_config(write_dataset(tmp_path / "d", "films", items=items))
    dataset = build_data(config)[0]
    text = dict(zip(dataset.field2id_token["item_id"], dataset.item_texts, strict=True))
    assert text["i0"] == '"Quoted" opening. Comedy'
    assert text["i1"] == 'He said "NA. NA'
    assert text["i2"] == "null"
    assert text["i3"] == "喜剧 ☕ naïve. None"
    # what was read before, seen from outside RecBole
    with pytest.raises((pd.errors.ParserError, AssertionError)):
        frame = pd.read_csv(tmp_path / "d" / "films" / "films.item", sep="\t", engine="python")
        assert len(frame) == len(items) and frame.iloc[1, 2] == "NA"


def test_missing_numbers_stay_missing(tmp_path):
    rows = [
        ("a", "i1", "1"),
        ("a", "i2", ""),
        ("a", "i3", "NA"),
        ("b", "i1", "2.5"),
        ("b", "i2", "nan"),
        ("b", "i3", "3"),
    ]
    data = write_dataset(tmp_path / "d", "films", rows)
    config = Config(
        "GRU4Rec",
        "films",
        config_dict={"data_path": str(data), "train_neg_sample_args": None, "load_col": {"inter": COLUMNS["inter"]}},
    )
    dataset = build_data(config)[0]
    assert dataset.inter_num == 4  # rows of two users, each without its first


@pytest.mark.skipif(NUMPY >= 2, reason="numpy 2: the mend is needed and used")
def test_numpy_aliases_are_not_touched_where_they_exist():
    assert "numpy_aliases" not in compat.applied


@pytest.mark.skipif(NUMPY < 2, reason="needs numpy 2: tests/run_new_libraries.sh")
def test_numpy_aliases():
    assert "numpy_aliases" in compat.applied and np.float_ is np.float64 and np.unicode_ is np.str_


@pytest.mark.skipif(PANDAS < 3, reason="needs pandas 3: tests/run_new_libraries.sh")
def test_pandas3(tmp_path):
    assert {"pandas3_sequences", "pandas3_fillna"} <= set(compat.applied)
    assert not isinstance(pd.Series([[1], [2, 3]]).agg(len), pd.Series)  # outside RecBole: unchanged
    items = [(i, t if k else "", g if k > 1 else "") for k, (i, t, g) in enumerate(small_items())]
    data = write_dataset(tmp_path / "d", "films", items=items)
    options = stock_options(data, load_col={**COLUMNS, "item": ["item_id", "title", "genre"]})
    config = Config("SASRecF", "films", config_dict=options)
    dataset = build_data(config)[0]
    assert dataset.item_feat["genre"].shape[0] == dataset.item_num


HIDE = """
import sys, importlib.abc
class Hide(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {names!r}:
            raise ImportError(name + " is hidden")
sys.meta_path.insert(0, Hide())
sys.argv = sys.argv[:1]
"""


def test_ray_missing(films):
    code = HIDE.format(names=["ray"]) + (
        "import recbole_instructrec\n"
        "from recbole_instructrec import compat\n"
        "from recbole.quick_start import objective_function\n"
        "assert 'missing_ray' in compat.applied\n"
        "import importlib.util, sys\n"
        "assert 'ray' not in sys.modules\n"
        "tune = sys.modules['recbole.quick_start.quick_start'].tune\n"
        "tune.report(ndcg=1)\n"
        "try:\n    tune.run()\n"
        "except ImportError as error:\n    print('SAID', error)\n"
        f"objective_function({{**{stock_options(films, load_col={'inter': COLUMNS['inter']})!r}, "
        "'model': 'GRU4Rec', 'dataset': 'films'}, saved=False)\nprint('DONE')\n"
    )
    done = in_new_process(code)
    assert "SAID ray.tune.run was asked for" in done.stdout and "ray[tune]==2.6.3" in done.stdout, done.stderr[-2000:]
    assert "DONE" in done.stdout, done.stderr[-2000:]


def test_thop_missing(films):
    code = HIDE.format(names=["thop"]) + (
        "import recbole_instructrec\n"
        "from recbole.quick_start import run_recbole\n"
        f"run_recbole('GRU4Rec', 'films', config_dict={stock_options(films, load_col={'inter': COLUMNS['inter']})!r})\n"
        "print('DONE')\n"
    )
    done = in_new_process(code)
    assert "DONE" in done.stdout, done.stderr[-2000:]
    assert "FLOPs are not counted" in done.stdout + done.stderr


def test_anomaly_detection_stays_off():
    """RecBole's SINE switches it on when any sequential model is imported."""
    code = "import sys\n{plugin}from recbole.utils import get_model\nget_model('SASRec')\n"
    code += "import torch\nprint('ON' if torch.is_anomaly_enabled() else 'OFF')\n"
    assert "OFF" in in_new_process(code.format(plugin="import recbole_instructrec\n")).stdout
    if "missing_ray" not in compat.applied and NUMPY < 2:
        assert "ON" in in_new_process(code.format(plugin="")).stdout
    with torch.autograd.set_detect_anomaly(True):  # elsewhere it works as ever
        assert torch.is_anomaly_enabled()


def test_functions_outside_recbole_are_untouched():
    assert pd.read_csv(io.StringIO("a\nNA\n"))["a"].isna().all()
    assert pd.Series([1, 2, 3]).agg("sum") == 6


DDP = """
import sys, torch
import recbole_instructrec
from recbole.quick_start import run

options = {options!r}
if __name__ == "__main__":
    alone = run("GRU4Rec", "films", config_dict=dict(options, epochs=0))
    both = run("GRU4Rec", "films", config_dict=dict(options, epochs=0), nproc=2, port="{port}")
    print("ALONE", {{name: float(value) for name, value in alone["test_result"].items()}})
    print("BOTH", {{name: float(value) for name, value in both["test_result"].items()}})
"""


@pytest.mark.skipif(torch.cuda.is_available(), reason="the mend is for machines without a GPU")
def test_ddp_on_cpu_with_right_weights(tmp_path):
    """Two processes evaluate 29 users as 15 and 14 (one is repeated): the metrics are those of all of them."""
    data = write_dataset(tmp_path / "data", "films")
    options = stock_options(data, load_col={"inter": COLUMNS["inter"]}, eval_batch_size=4, metric_decimal_place=8)
    script = tmp_path / "ddp.py"
    script.write_text(DDP.format(options={**options, "data_path": str(data)}, port=free_port()))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=False, env=environment, timeout=300
    )
    lines = dict(line.split(" ", 1) for line in done.stdout.splitlines() if line.startswith(("ALONE", "BOTH")))
    assert set(lines) == {"ALONE", "BOTH"}, done.stderr[-3000:]
    alone, both = ast.literal_eval(lines["ALONE"]), ast.literal_eval(lines["BOTH"])
    for name, value in alone.items():
        assert math.isclose(value, both[name], abs_tol=1e-4), (name, value, both[name])
