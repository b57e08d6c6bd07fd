"""Every entry point of RecBole takes InstructRec."""

from __future__ import annotations

import importlib
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import recbole
import torch
import yaml
from recbole.config import Config
from recbole.quick_start import load_data_and_model, objective_function, run, run_recbole
from recbole.trainer import HyperTuning
from recbole.utils import get_model, get_trainer, list_to_latex
from recbole.utils.argument_list import dataset_arguments
from recbole.utils.case_study import full_sort_topk
from scipy import stats

import recbole_instructrec
from recbole_instructrec import registry
from recbole_instructrec.objective import objective
from tests.support import SMALL, build_all, make_config

ROOT = Path(__file__).parent.parent


@pytest.fixture
def options(films):
    """Options of a small run as a dict."""
    return {**SMALL, "seed": 7, "data_path": str(films), "epochs": 1}


def in_new_process(code: str, *arguments: str, timeout: int = 300) -> subprocess.CompletedProcess[str]:
    """Run a program that knows nothing of this one."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def test_lookups():
    assert get_model("InstructRec").__module__ == "recbole_instructrec.model.instructrec"
    assert get_trainer(get_model("InstructRec").type, "InstructRec").__name__ == "InstructRecTrainer"
    assert get_model("SASRec").__name__ == "SASRec"


def test_registration_is_idempotent():
    from recbole.config import Config as RecBoleConfig

    update, arguments = RecBoleConfig._update_internal_config_dict, list(dataset_arguments)
    registry.register()
    importlib.reload(recbole_instructrec)
    assert RecBoleConfig._update_internal_config_dict is update
    assert list(dataset_arguments) == arguments and len(set(arguments)) == len(arguments)


def test_defaults_lie_below_everything_the_user_says(tmp_path, monkeypatch):
    config = Config(model="InstructRec", dataset="ml-100k")
    assert config["repeat_bias"] is True and config["valid_metric"] == "NDCG@10"
    assert config["intent_field"] == "class"  # from the overlay of ml-100k
    assert config["eval_args"]["split"] == {"LS": "valid_and_test"}
    file = tmp_path / "own.yaml"
    file.write_text("hidden_size: 48\nintent_field: release_year\nload_col: {inter: [user_id, item_id, timestamp]}\n")
    config = Config(model="InstructRec", dataset="ml-100k", config_file_list=[str(file)])
    assert config["hidden_size"] == 48 and config["intent_field"] == "release_year"
    assert list(config["load_col"]) == ["inter"]
    config = Config("InstructRec", "ml-100k", config_file_list=[str(file)], config_dict={"hidden_size": 32})
    assert config["hidden_size"] == 32
    monkeypatch.setattr("sys.argv", ["run", "--hidden_size=16", "--intent_field=class"])
    config = Config("InstructRec", "ml-100k", config_file_list=[str(file)], config_dict={"hidden_size": 32})
    assert config["hidden_size"] == 16 and config["intent_field"] == "class"


def test_a_data_set_of_ones_own_gets_the_general_defaults(tmp_path):
    """Also those that RecBole's files of data sets fix."""
    general = yaml.safe_load((registry.PROPERTIES / "InstructRec.yaml").read_text())
    config = Config(model="InstructRec", dataset="mine")
    assert general.pop("train_neg_sample_args") is None and config["train_neg_sample_args"]["distribution"] == "none"
    assert {name: config[name] for name in general} == general
    assert general["MAX_ITEM_LIST_LENGTH"] == 200 and general["neighbour_weight"] > 0
    overlay = yaml.safe_load((registry.PROPERTIES / "InstructRec_on_Amazon_Beauty.yaml").read_text())
    config = Config(model="InstructRec", dataset="Amazon_Beauty")
    assert {name: config[name] for name in overlay} == overlay and config["MAX_ITEM_LIST_LENGTH"] == 50
    file = tmp_path / "mine.yaml"
    file.write_text("MAX_ITEM_LIST_LENGTH: 20\n")
    assert Config(model="InstructRec", dataset="mine", config_file_list=[str(file)])["MAX_ITEM_LIST_LENGTH"] == 20
    assert Config("SASRec", "mine", config_dict={"train_neg_sample_args": None})["MAX_ITEM_LIST_LENGTH"] == 50


def test_our_defaults_stay_out_of_other_models():
    config = Config(model="SASRec", dataset="ml-100k", config_dict={"train_neg_sample_args": None})
    assert config["repeat_bias"] is None and config["hidden_dropout_prob"] == 0.5
    assert config["load_col"] == {"inter": ["user_id", "item_id", "rating", "timestamp"]}


def test_every_option_that_is_read_is_documented():
    documented = set(yaml.safe_load((registry.PROPERTIES / "InstructRec.yaml").read_text()))
    assert set(registry.DATASET_OPTIONS) <= documented
    from recbole_instructrec.options import help_text, options

    assert {option.name for option in options()} == documented
    assert all(len(option.text) > 10 for option in options())
    assert all(f"--{name}=" in help_text() for name in documented)


def test_unknown_recbole_version(monkeypatch):
    with pytest.raises(registry.UnsupportedRecBole, match=r"(?s)1\.2\.1.*9\.9.*pip install recbole==1\.2\.1"):
        registry.check_version("9.9")
    monkeypatch.setattr(recbole, "__version__", "0.9.0")
    with pytest.raises(ImportError, match=r"0\.9\.0"):
        recbole_instructrec._start()
    monkeypatch.setenv("RECBOLE_INSTRUCTREC_ANY_RECBOLE", "1")
    registry.check_version("9.9")


def test_run_recbole(options):
    result = run_recbole(model="InstructRec", dataset="films", config_dict=dict(options))
    assert 0 <= result["test_result"]["ndcg@5"] <= 1


def test_objective_function_and_hyper_parameter_search(options, tmp_path):
    fixed = tmp_path / "fixed.yaml"
    fixed.write_text(yaml.safe_dump({**options, "model": "InstructRec", "dataset": "films"}))
    result = objective_function({"learning_rate": 0.01}, [str(fixed)], saved=False)
    assert result["model"] == "InstructRec"
    params = tmp_path / "params.hyper"
    params.write_text("hidden_size choice [8,16]\n")
    tuning = HyperTuning(objective, algo="exhaustive", params_file=str(params), fixed_config_file_list=[str(fixed)])
    tuning.run()
    assert len(tuning.params2result) == 2 and tuning.best_params["hidden_size"] in (8, 16)


def test_run_hyper_script(options, tmp_path):
    fixed, params = tmp_path / "fixed.yaml", tmp_path / "params.hyper"
    fixed.write_text(yaml.safe_dump(options))
    params.write_text("n_layers choice [1,2]\n")
    command = [sys.executable, str(ROOT / "run_hyper.py"), "--model=InstructRec", "--dataset=films"]
    command += [f"--config_files={fixed}", f"--params_file={params}"]

    def search(*more: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.run([*command, *more], env=environment, capture_output=True, text=True, check=False)

    done = search("--hidden_size=12")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "best params" in done.stdout
    assert Path("hyper.result").read_text().count("n_layers") == 2
    # further options reach the runs
    refused = search("--item_fusion=nonsense")
    assert refused.returncode == 1 and "item_fusion must be one of" in refused.stderr


def test_load_data_and_model_in_a_fresh_process_and_topk(films):
    _, trainer, train, valid, test = build_all(make_config(films, epochs=1))
    trainer.fit(train, valid, verbose=False)
    trainer.evaluate(test)
    users = test._dataset.inter_feat["user_id"][:3].numpy()
    scores, items = full_sort_topk(users, trainer.model, test, 4)
    assert items.shape == (3, 4) and (items > 0).all() and torch.isfinite(scores).all()
    code = (
        "import sys; file = sys.argv.pop(1)\n"
        "import recbole_instructrec\n"
        "from recbole.quick_start import load_data_and_model\n"
        "from recbole.utils.case_study import full_sort_topk\n"
        "config, model, dataset, train, valid, test = load_data_and_model(file)\n"
        "users = test._dataset.inter_feat['user_id'][:3].numpy()\n"
        "print('TOPK', full_sort_topk(users, model, test, 4)[1].tolist())\n"
    )
    done = in_new_process(code, trainer.saved_model_file)
    assert f"TOPK {items.tolist()}" in done.stdout, done.stderr[-2000:]


def test_significance_test_and_group_run(options):
    """What RecBole's significance_test.py and run_recbole_group.py do with ``run``'s results."""
    columns = {"inter": ["user_id", "item_id", "timestamp"]}
    stock = {"data_path": options["data_path"], "epochs": 1, "train_neg_sample_args": None, "load_col": columns}
    stock.update(topk=[5], valid_metric="NDCG@5", show_progress=False, hidden_size=16, inner_size=32)
    ours = [run("InstructRec", "films", config_dict={**options, "seed": seed}) for seed in (1, 2, 3)]
    theirs = [run("SASRec", "films", config_dict={**stock, "seed": seed, "metrics": ["NDCG"]}) for seed in (1, 2, 3)]
    values = [[result["test_result"]["ndcg@5"] for result in results] for results in (ours, theirs)]
    assert 0 <= stats.ttest_rel(*values, alternative="less").pvalue <= 1 or values[0] == values[1]
    rows = [{"Model": "InstructRec", **ours[0]["test_result"]}, {"Model": "Again", **ours[1]["test_result"]}]
    table, tex = list_to_latex(rows, subset_columns=list(ours[0]["best_valid_result"]))
    assert "InstructRec" in tex and len(table) == 2


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def test_two_processes_on_the_cpu(options, tmp_path):
    file = tmp_path / "options.yaml"
    file.write_text(yaml.safe_dump(options))
    done = subprocess.run(
        [
            sys.executable,
            str(ROOT / "run_recbole.py"),
            "--model=InstructRec",
            "--dataset=films",
            f"--config_files={file}",
            "--nproc=2",
            f"--port={free_port()}",
        ],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "test result" in done.stdout + done.stderr
    assert (done.stdout + done.stderr).count("evaluation rows") == 1


def test_help_names_every_option():
    done = subprocess.run(
        [sys.executable, str(ROOT / "run_recbole.py"), "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    for name in ("item_text_fields", "item_vectors", "intent_field", "context_fields", "instruction_source"):
        assert f"--{name}=" in done.stdout
    for name in ("text_encoder", "encoder_tuning", "instruction_encoder", "--config_files", "--nproc"):
        assert name in done.stdout


def test_loaded_model_keeps_its_checkpoint_config(films):
    _, trainer, train, valid, _ = build_all(make_config(films, epochs=1, hidden_size=24))
    trainer.fit(train, valid, verbose=False)
    config = load_data_and_model(trainer.saved_model_file)[0]
    assert config["hidden_size"] == 24 and "hidden_size" in str(config)
