"""Checkpoints, exact resumption, schedule, accumulation, moving average, the table of rows."""

from __future__ import annotations

import logging
import os
import pickle
import signal
import struct
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
import torch
from recbole.config import Config
from recbole.quick_start import load_data_and_model, run_recbole
from recbole.utils import init_logger

from recbole_instructrec import checkpoint
from recbole_instructrec.checkpoint import CheckpointError
from tests.support import build_all, make_config, small_interactions, small_items, write_dataset

ROOT = Path(__file__).parent.parent


def trained(data_path, **options):
    config = make_config(data_path, **options)
    model, trainer, train, valid, test = build_all(config)
    trainer.fit(train, valid, verbose=False)
    return model, trainer, test


# --- what a checkpoint holds ----------------------------------------------------------------------


def test_checkpoint_holds_tensors_and_plain_values_only(films):
    _, trainer, _ = trained(films)
    state = torch.load(trainer.saved_model_file, weights_only=True)
    assert state["format"] == checkpoint.FORMAT
    assert state["config"]["hidden_size"] == 16

    def walk(value):
        if isinstance(value, dict):
            assert type(value) is dict or "OrderedDict" in type(value).__name__
            for key, item in value.items():
                walk(key)
                walk(item)
        elif isinstance(value, (list, tuple)):
            for item in value:
                walk(item)
        else:
            assert value is None or type(value) in (bool, int, float, str, torch.Tensor), type(value)

    walk(state)
    assert not Path(f"{trainer.saved_model_file}.resume").exists()
    assert not list(Path("saved").glob(".*"))


def test_load_data_and_model_gives_the_same_scores(films):
    model, trainer, test = trained(films)
    trainer.evaluate(test)  # loads the best
    config, loaded, _, _, _, test_again = load_data_and_model(trainer.saved_model_file)
    assert config["model"] == "InstructRec" and config["MODEL_TYPE"].name == "SEQUENTIAL"
    torch.testing.assert_close(
        loaded.eval().full_sort_predict(test_again._dataset[:]), model.eval().full_sort_predict(test._dataset[:])
    )


def test_full_disk_leaves_the_former_checkpoint(films, monkeypatch):
    _, trainer, _ = trained(films)
    before = Path(trainer.saved_model_file).read_bytes()

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match="No space left"):
        trainer._save_checkpoint(1)
    assert Path(trainer.saved_model_file).read_bytes() == before
    assert not list(Path("saved").glob(".*"))


# --- files that must be refused -------------------------------------------------------------------


class Bomb:
    def __reduce__(self):
        return os.system, ("touch exploded",)


class ConfigBomb:
    """RecBole's Config evaluates the options that it is called with."""

    def __reduce__(self):
        options = {"x": "__import__('os').system('touch exploded')"}
        return Config, ("SASRec", "ml-100k", None, options)


class PartialBomb:
    """A harmless-looking module of RecBole has imported functools.partial."""

    def __reduce__(self):
        from functools import partial

        return partial, (os.system, "touch exploded")


class Script(torch.nn.Module):
    """TorchScript may write files when it is loaded."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def pickled_by_hand(file: str, body: bytes):
    """A torch archive around a pickle that no pickler writes."""
    torch.save({"a": 1}, "base.pth")
    with zipfile.ZipFile("base.pth") as source, zipfile.ZipFile(file, "w") as target:
        for name in source.namelist():
            target.writestr(name, body if name.endswith("/data.pkl") else source.read(name))


def named(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def string(text: str) -> bytes:
    return b"X" + struct.pack("<I", len(text)) + text.encode()


def change_by_hand():
    """Pickles that give an object, or a class, other methods than its own."""
    interaction = named("recbole.data.interaction", "Interaction")
    config = named("recbole.config.configurator", "Config")
    # A method of a class.
    pickled_by_hand("class.pth", b"\x80\x02" + interaction + b"N}" + string("to") + config + b"s\x86b.")
    # A call of Config with a value of choice.
    state = interaction + b"N}" + string("__setstate__") + config + b"s\x86b0"
    pickled_by_hand("setstate.pth", b"\x80\x02" + state + interaction + b")\x81" + string("SASRec") + b"b.")
    # A dict that drops the guard against files that a Config names.
    deaf = named("collections", "OrderedDict") + b")R}" + string("update") + named("builtins", "dict") + b"sb"
    inner = b"}" + string("final_config_dict") + deaf + b"s"
    pickled_by_hand("deaf.pth", b"\x80\x02}" + string("config") + config + b")\x81" + inner + b"bs.")


def bad_files(good: Path):
    change_by_hand()
    data = good.read_bytes()
    Path("truncated.pth").write_bytes(data[: len(data) // 2])
    Path("empty.pth").write_bytes(b"")
    Path("text.pth").write_text("hello")
    torch.save({"format": checkpoint.FORMAT, "state_dict": Bomb()}, "bomb.pth")
    torch.save({"config": Bomb()}, "stock-bomb.pth")
    torch.save({"config": ConfigBomb()}, "config-bomb.pth")
    torch.save({"config": PartialBomb()}, "partial-bomb.pth")
    torch.save({"config": {"model": "InstructRec", "dataset_save_path": "pickle.pth"}}, "dict-config.pth")
    torch.jit.script(Script()).save("script.pth")
    Path("pickle.pth").write_bytes(pickle.dumps(Bomb()))
    with zipfile.ZipFile(good) as source, zipfile.ZipFile("holed.pth", "w") as target:
        for name in source.namelist()[:-3]:
            target.writestr(name, source.read(name))
    return {
        "truncated.pth": "truncated",
        "empty.pth": "truncated",
        "text.pth": "truncated",
        "bomb.pth": "pickled objects|asks for",
        "stock-bomb.pth": "not a checkpoint of InstructRec|asks for",
        "config-bomb.pth": "not a checkpoint of InstructRec|asks for",
        "partial-bomb.pth": "not a checkpoint of InstructRec|asks for",
        "dict-config.pth": "not a checkpoint of InstructRec|settings of type dict",
        "script.pth": "not a checkpoint of InstructRec|TorchScript",
        "class.pth": "not a checkpoint of InstructRec|a change of",
        "setstate.pth": "not a checkpoint of InstructRec|a change of",
        "deaf.pth": "not a checkpoint of InstructRec|another OrderedDict.update",
        "pickle.pth": "truncated",
        "holed.pth": "damaged",
        "absent.pth": "no checkpoint",
    }


def test_bad_checkpoints_give_clear_errors_and_run_nothing(films):
    _, trainer, test = trained(films)
    for file, message in bad_files(Path(trainer.saved_model_file)).items():
        with pytest.raises(CheckpointError, match=message):
            trainer.evaluate(test, model_file=file)
        with pytest.raises(CheckpointError, match=message):
            trainer.resume_checkpoint(file)
        with pytest.raises(CheckpointError, match=message):
            load_data_and_model(file) if file != "absent.pth" else checkpoint.read(file)
    assert not Path("exploded").exists()


def test_a_checkpoint_cannot_name_a_pickle_to_be_read(films):
    """RecBole unpickles what dataset_save_path and dataloaders_save_path name."""
    _, trainer, _ = trained(films)
    Path("bomb.bin").write_bytes(pickle.dumps(Bomb()))
    state = torch.load(trainer.saved_model_file, weights_only=True)
    assert "dataset_save_path" not in state["config"]
    state["config"].update(dataset_save_path="bomb.bin", dataloaders_save_path="bomb.bin")
    torch.save(state, "pointing.pth")
    load_data_and_model("pointing.pth")
    assert not Path("exploded").exists()


def test_checkpoint_of_another_catalogue(films, tmp_path):
    _, trainer, _ = trained(films)
    other = write_dataset(tmp_path / "other", "films", small_interactions(seed=5))
    _, other_trainer, _, _, test = build_all(make_config(other))
    with pytest.raises(CheckpointError, match="another catalogue"):
        other_trainer.evaluate(test, model_file=trainer.saved_model_file)
    with pytest.raises(CheckpointError, match="another catalogue"):
        other_trainer.resume_checkpoint(trainer.saved_model_file)


def test_checkpoint_of_other_options_and_of_another_model(films):
    _, trainer, _ = trained(films)
    _, wide, _, _, test = build_all(make_config(films, hidden_size=32))
    with pytest.raises(CheckpointError, match="other model options"):
        wide.evaluate(test, model_file=trainer.saved_model_file)
    columns = {"inter": ["user_id", "item_id", "timestamp"]}
    config = make_config(films, model="GRU4Rec", train_neg_sample_args=None, epochs=1, load_col=columns)
    _, stock, train, valid, _ = build_all(config)
    stock.fit(train, valid, verbose=False)
    with pytest.raises(CheckpointError, match="not a checkpoint of InstructRec"):
        trainer.evaluate(test, model_file=stock.saved_model_file)


# --- resume ---------------------------------------------------------------------------------------

SCRIPT = """
import sys, time, torch
torch.set_num_threads(1)
import recbole_instructrec
from recbole.quick_start import run_recbole
from tests.support import SMALL
import recbole_instructrec.trainer as trainer_module

slow = float(sys.argv.pop(1))
if slow:
    start = trainer_module.InstructRecTrainer._loss
    trainer_module.InstructRecTrainer._loss = lambda self, x: (time.sleep(slow), start(self, x))[1]
result = run_recbole(model="InstructRec", dataset="films", config_dict={**SMALL, "seed": 7, "epochs": 6,
                     "stopping_step": 20, "hidden_dropout_prob": 0.3, "data_path": %(data)r, %(extra)s})
print("RESULT", dict(result["test_result"]), dict(result["best_valid_result"]))
"""


@pytest.mark.parametrize(
    "extra",
    [
        "'ema_decay': 0.9, 'accumulate_batches': 3",
        "'shuffle': True, 'eval_args': {'split': {'LS': 'valid_and_test'}, 'order': 'TO', 'mode': 'uni5'}",
    ],
    ids=["average", "sampled"],
)
def test_kill_and_resume_gives_the_same_metrics(films, tmp_path, extra):
    script = tmp_path / "train.py"
    script.write_text(SCRIPT % {"data": str(films), "extra": extra})
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

    def command(slow, *options):
        return [sys.executable, str(script), str(slow), *options]

    def outcome(done):
        assert done.returncode == 0, done.stderr[-2000:]
        return next(line for line in done.stdout.splitlines() if line.startswith("RESULT"))

    def folder(name):
        (tmp_path / name).mkdir()
        return tmp_path / name

    whole = folder("whole")
    expected = outcome(
        subprocess.run(command(0), cwd=whole, env=environment, capture_output=True, text=True, check=False)
    )
    part = folder("part")
    with open(tmp_path / "part.log", "w") as log:
        killed = subprocess.Popen(command(0.15), cwd=part, env=environment, stdout=log, stderr=log)
        deadline = time.time() + 120
        while time.time() < deadline:  # in mid-epoch, some epochs in
            said = (tmp_path / "part.log").read_text()
            if "epoch 2 training" in said and "epoch 3 training" not in said and list(part.glob("saved/*.resume")):
                break
            time.sleep(0.02)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
    best = next((part / "saved").glob("*.pth"))
    resumed = outcome(
        subprocess.run(
            command(0, f"--resume=saved/{best.name}"),
            cwd=part,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    )
    assert resumed == expected
    assert not list((part / "saved").glob("*.resume"))


def test_resuming_a_finished_training_changes_nothing(films):
    config = {"ema_decay": 0.5, "epochs": 3, "learning_rate": 0.01, "stopping_step": 10}
    _, trainer, test = trained(films, **config)
    expected, before = trainer.evaluate(test), Path(trainer.saved_model_file).read_bytes()
    _, again, train, valid, test = build_all(make_config(films, **config, resume=trainer.saved_model_file))
    state = checkpoint.read(trainer.saved_model_file)
    again.fit(train, valid, verbose=False)
    # The best epoch was an earlier one, or there was nothing to resume and the file is as it was.
    assert (state["epoch"] < 2) or Path(trainer.saved_model_file).read_bytes() == before
    assert Path(trainer.saved_model_file).is_file()
    torch.save({**state, "epoch": 2}, trainer.saved_model_file)  # as if the last epoch had been the best
    before = Path(trainer.saved_model_file).read_bytes()
    _, again, train, valid, test = build_all(make_config(films, **config, resume=trainer.saved_model_file))
    again.fit(train, valid, verbose=False)
    assert Path(trainer.saved_model_file).read_bytes() == before
    assert again.evaluate(test) == expected


def test_weights_are_refused_for_other_attributes_and_words(tmp_path):
    items = small_items()
    renamed = [(i, t, g.replace("Comedy", "Zombie").replace("Horror", "Apple")) for i, t, g in items]
    first = write_dataset(tmp_path / "a", "films", items=items)
    second = write_dataset(tmp_path / "b", "films", items=renamed)
    for encoder in ("transformer", "bilstm"):
        _, trainer, _ = trained(first, instruction_encoder=encoder, epochs=1)
        _, other, _, _, test = build_all(make_config(second, instruction_encoder=encoder))
        with pytest.raises(CheckpointError, match="another attributes"):
            other.evaluate(test, model_file=trainer.saved_model_file)


def test_extra_rows_stay_out_of_the_wandb_summary(films):
    _, trainer, train, valid, test = build_all(make_config(films, epochs=1))
    trainer.fit(train, valid, verbose=False)
    logged = []
    trainer.wandblogger.log_wandb = True
    trainer.wandblogger.log_eval_metrics = lambda metrics, head: (
        logged.append(metrics) if trainer.wandblogger.log_wandb else None
    )
    result = trainer.evaluate(test)
    assert logged == [dict(result)] and trainer.wandblogger.log_wandb


def test_resume_warns_of_other_options(films, caplog):
    _, trainer, _ = trained(films)
    _, other, _, _, _ = build_all(make_config(films, learning_rate=0.5))
    with caplog.at_level(logging.WARNING):
        other.resume_checkpoint(trainer.saved_model_file)
    assert "learning_rate: 0.001 then, 0.5 now" in caplog.text


# --- the rest -------------------------------------------------------------------------------------


def test_learning_rate_schedule(films):
    _, trainer, train, *_ = build_all(make_config(films, warmup_steps=4, epochs=5, lr_decay="cosine"))
    trainer._steps_per_epoch = len(train)
    factors = [trainer._learning_rate_factor(step) for step in range(5 * len(train) + 1)]
    assert factors[:4] == [0.25, 0.5, 0.75, 1.0]
    assert factors[4:] == sorted(factors[4:], reverse=True) and factors[-1] == pytest.approx(0)


def test_accumulated_batches_make_fewer_steps(films):
    _, trainer, train, valid, _ = build_all(make_config(films, accumulate_batches=4, epochs=3))
    trainer.fit(train, valid, saved=False, verbose=False)
    assert trainer.optimizer.schedule.last_epoch == 3 * -(-len(train) // 4)


def test_accumulated_gradients_equal_those_of_one_batch(films):
    """Without dropout, four batches of 2 rows step as the mean of their losses does."""
    steps = []
    for together in (True, False):
        options = {"hidden_dropout_prob": 0.0, "attn_dropout_prob": 0.0, "learner": "sgd", "clip_grad_norm": None}
        config = make_config(films, train_batch_size=2, accumulate_batches=4, warmup_steps=0, **options)
        model, trainer, train, _, _ = build_all(config)
        train._dataset.start_epoch(0)
        batches = [batch for _, batch in zip(range(4), train, strict=False)]
        model.train()
        if together:
            trainer.optimizer.zero_grad()
            (sum(model.calculate_loss(batch) for batch in batches) / 4).backward()
            trainer.optimizer.apply()
        else:
            for batch in batches:
                trainer.optimizer.zero_grad()
                trainer._loss(batch).backward()
                trainer.optimizer.step()
        steps.append(model.items.id.weight.detach().clone())
    torch.testing.assert_close(*steps)


def test_bf16_follows_fp32(films):
    losses = {}
    for precision in ("fp32", "bf16"):
        _, trainer, train, valid, _ = build_all(make_config(films, precision=precision, hidden_dropout_prob=0.0))
        trainer.fit(train, valid, saved=False, verbose=False)
        losses[precision] = list(trainer.train_loss_dict.values())
    assert losses["bf16"] != losses["fp32"]
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=0.02)


def test_moving_average_is_what_is_evaluated_and_saved(films):
    model, trainer, test = trained(films, ema_decay=0.9)
    stored = torch.load(trainer.saved_model_file, weights_only=True)["state_dict"]["items.id.weight"]
    assert not torch.equal(stored, model.items.id.weight)
    trainer.evaluate(test)
    assert torch.equal(stored, model.items.id.weight)


@pytest.mark.parametrize(
    ("option", "value"), [("precision", "fp8"), ("lr_decay", "steps"), ("ema_decay", 1.5), ("training_rows", "all")]
)
def test_options_out_of_range(films, option, value):
    with pytest.raises(ValueError, match=option):
        build_all(make_config(films, **{option: value}))


def test_table_of_rows_follows_the_test_result(films, caplog):
    config = make_config(films)
    with caplog.at_level(logging.INFO):
        result = run_recbole(model="InstructRec", dataset="films", config_dict=dict(config.external_config_dict))
    rows = result["test_result"].rows
    assert list(rows) == ["none", "history", "intent", "shuffled"]
    assert dict(result["test_result"]) == rows["none"]
    log = caplog.text
    assert log.index("test result") < log.index("evaluation rows")
    assert log.count("evaluation rows") == 1
    assert "a request made from the target (an oracle)" in log


def test_rows_with_context_say_so(films):
    config = make_config(films, context_fields=["gap"], report_rows=["none"], epochs=1)
    init_logger(config)
    _, trainer, train, valid, test = build_all(config)
    trainer.fit(train, valid, verbose=False)
    assert list(trainer.evaluate(test).rows) == ["none+context"]
