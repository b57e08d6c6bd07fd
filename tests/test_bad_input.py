"""Bad input: a clear error that says what to do, or a documented fallback that is counted in the log."""

from __future__ import annotations

import datetime
import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from recbole.quick_start import run_recbole

from recbole_instructrec.checkpoint import CheckpointError
from recbole_instructrec.data.context import ContextError
from recbole_instructrec.data.dataset import INSTRUCTION
from recbole_instructrec.data.items import ItemFieldError
from recbole_instructrec.main import run_recbole_main
from recbole_instructrec.options import drop_long_lists
from tests.support import SMALL, build_all, build_data, make_config, small_interactions, small_items, write_dataset

ROOT = Path(__file__).parent.parent


def command(*options):
    done = subprocess.run(
        [sys.executable, str(ROOT / "run_recbole.py"), *options], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


def small_options(data):
    file = Path("small.yaml")
    lines = [f"{key}: {value}" for key, value in {**SMALL, "data_path": str(data), "epochs": 1}.items()]
    file.write_text("\n".join(lines).replace("'", ""))
    return f"--config_files={file}"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--dataset=nothing-like-this"], "nothing-like-this"),
        (["--dataset=film"], "Did you mean films?"),
        (["--model=NoSuchModel"], "NoSuchModel"),
        (["--model=sasrec"], "did you mean SASRec"),
        (["--config_files=nowhere.yaml"], "there is no file nowhere.yaml"),
        (["--dataset=films", "--text_encoder=nobody/nothing"], r"text_encoder 'nobody/nothing'"),
        (["--dataset=films", "--item_text_fields=['titel']"], "item_text_fields names 'titel'"),
        (["--dataset=films", "--resume=saved/nothing.pth"], "there is no checkpoint saved/nothing.pth"),
        (["--dataset=films", "--context_fields=['hour','mood']"], "'mood'"),
    ],
)
def test_command_line_errors_are_messages_not_traces(films, options, message, monkeypatch, capsys):
    small = small_options(films)
    if not any(option.startswith("--config_files") for option in options):
        options = [small, *options]
    monkeypatch.setattr(sys, "argv", ["run_recbole.py", *options])
    assert run_recbole_main() == 1
    errors = capsys.readouterr().err
    said = errors[errors.rindex("error:") :]
    assert message in said and "Traceback" not in errors


def test_a_shell_sees_a_message_and_no_trace(films):
    code, _, errors = command(small_options(films), "--dataset=film")
    assert code == 1
    assert "Did you mean films?" in errors[errors.rindex("error:") :] and "Traceback" not in errors


def test_missing_columns(films, tmp_path):
    with pytest.raises(ItemFieldError, match=r"'plot'.*load_col\['item'\]"):
        build_data(make_config(films, intent_field="plot"))
    columns = {"inter": ["user_id", "item_id"], "item": ["item_id", "title", "genre"]}
    with pytest.raises(ValueError, match=r"'timestamp' \(TIME_FIELD\)"):
        build_data(make_config(films, load_col=columns))
    with pytest.raises(ItemFieldError, match="loaded: nothing"):
        build_data(make_config(films, load_col={"inter": ["user_id", "item_id", "timestamp"]}))
    items = [(i, t, g, "1.5") for i, t, g in small_items()]
    header = "item_id:token\ttitle:token_seq\tgenre:token_seq\tprice:float"
    data = write_dataset(tmp_path / "p", "films", items=items, item_header=header)
    columns = {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id", "title", "genre", "price"]}
    with pytest.raises(ItemFieldError, match="float"):
        build_data(make_config(data, load_col=columns, intent_field="price"))


def test_context_without_clock_time(tmp_path):
    rows = [(u, i, t % 1000) for u, i, t in small_interactions()]
    data = write_dataset(tmp_path / "d", "films", rows)
    with pytest.raises(ContextError, match="positions, not seconds"):
        build_data(make_config(data, context_fields=["hour"]))


@pytest.mark.parametrize("bare", ["all", "some"])
def test_empty_item_texts(tmp_path, caplog, bare):
    items = [(i, "" if bare == "all" or k % 3 == 0 else t, g) for k, (i, t, g) in enumerate(small_items())]
    data = write_dataset(tmp_path / "d", "films", items=items)
    with caplog.at_level(logging.WARNING):
        model, _, train, _, test = build_all(make_config(data, item_text_fields=["title"], item_fusion="add"))
    assert f"{25 if bare == 'all' else 9} of 25 items have no text" in caplog.text
    assert torch.isfinite(model.calculate_loss(next(iter(train))))
    assert torch.isfinite(model.eval().full_sort_predict(test._dataset[:])).all()


def test_item_missing_from_the_item_file(tmp_path):
    """RecBole drops such interactions unless told otherwise; then the item is known by its id alone."""
    data = write_dataset(tmp_path / "d", "films", items=small_items()[:-3])
    model, _, train, _, test = build_all(make_config(data, filter_inter_by_user_or_item=False, item_fusion="add"))
    assert model.n_items == 26
    assert torch.isfinite(model.calculate_loss(next(iter(train))))
    assert torch.isfinite(model.eval().full_sort_predict(test._dataset[:])).all()


STRANGE = [
    "x" * 100_000,
    "  ",
    "混合 mixed смесь 🎬🎬",
    "<script>alert(1)</script>",
    "'; DROP TABLE users; --",
    "\u202e\x07",
]


def test_strange_instructions_rank_the_catalogue(tmp_path):
    rows = [(u, i, t, f"x{k % len(STRANGE)}") for k, (u, i, t) in enumerate(small_interactions())]
    header = "user_id:token\titem_id:token\ttimestamp:float\tinstruction_id:token"
    data = write_dataset(tmp_path / "d", "films", rows, inter_header=header)
    lines = ["instruction_id:token\tinstruction:token_seq", *[f"x{k}\t{text}" for k, text in enumerate(STRANGE)]]
    (data / "films" / "films.inst").write_text("\n".join(lines) + "\n", encoding="utf-8")
    columns = {"inter": ["user_id", "item_id", "timestamp", "instruction_id"], "item": ["item_id", "title", "genre"]}
    options = {"load_col": columns, "instruction_source": "file", "epochs": 1, "instruction_mix": {"file": 1}}
    model, trainer, train, valid, test = build_all(make_config(data, **options))
    trainer.fit(train, valid, saved=False, verbose=False)
    assert torch.isfinite(model.eval().full_sort_predict(test._dataset[:])).all()
    assert (test._dataset[:][INSTRUCTION] > 0).any()


def test_users_with_one_interaction(tmp_path, caplog):
    rows = [*small_interactions(), ("lonely", "i1", 880_000_000), ("single", "i2", 880_000_001)]
    with caplog.at_level(logging.WARNING):
        test = build_data(make_config(write_dataset(tmp_path / "d", "films", rows)))[3]
    assert "2 users have one interaction" in caplog.text
    assert len(test._dataset) == 30


def test_only_users_with_one_interaction(tmp_path):
    rows = [(f"u{k}", f"i{k}", k) for k in range(20)]
    with pytest.raises(ValueError, match="no user of 'films' has two interactions"):
        build_data(make_config(write_dataset(tmp_path / "d", "films", rows)))


def test_missing_timestamps(tmp_path, caplog):
    rows = [(u, i, "" if k % 10 == 0 else t) for k, (u, i, t) in enumerate(small_interactions())]
    data = write_dataset(tmp_path / "d", "films", rows)
    with caplog.at_level(logging.WARNING):
        model, _, train, _, _ = build_all(make_config(data, context_fields=["hour", "gap"]))
    assert torch.isfinite(model.calculate_loss(next(iter(train))))
    gaps = sum(not t for _, _, t in rows)
    assert f"{gaps} of {len(rows)} interactions have no timestamp" in caplog.text


def test_misspelt_options_are_refused(films):
    with pytest.raises(ValueError, match="nothing reads the option instruction_sorce; did you mean instruction_source"):
        build_data(make_config(films, instruction_sorce="intent"))
    build_data(make_config(films, note_of_mine="an option that resembles none"))
    build_data(make_config(films, num_layers=1, world_size=1, metrics_k=3))  # of other models, of several processes


def test_a_date_as_timestamp_says_what_to_do(tmp_path):
    rows = [(u, i, "1998-05-05") for u, i, _ in small_interactions()]
    with pytest.raises(ValueError, match=r"films.inter: .*1998-05-05.*seconds since 1970"):
        build_data(make_config(write_dataset(tmp_path / "d", "films", rows)))


def test_interactions_without_a_line_of_their_item_are_counted(tmp_path, caplog):
    data = write_dataset(tmp_path / "d", "films", items=small_items()[1:])
    with caplog.at_level(logging.WARNING):
        build_data(make_config(data))
    gone = sum(item == "i0" for _, item, _ in small_interactions())
    assert f"{gone} of {len(small_interactions())} interactions are left out" in caplog.text


@pytest.mark.parametrize("genres", [("Romance,Comedy", "War|Drama"), ("Romance, Comedy", "War, Drama")])
def test_several_attributes_in_one_are_warned_of(tmp_path, caplog, genres):
    items = [(i, t, genres[k % 2]) for k, (i, t, _) in enumerate(small_items())]
    data = write_dataset(tmp_path / "d", "films", items=items)
    with caplog.at_level(logging.WARNING):
        build_data(make_config(data))
    assert "separated by spaces alone" in caplog.text


def test_a_checkpoint_to_resume_is_looked_for_first(films, tmp_path):
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        build_data(make_config(films, resume=str(tmp_path / "none.pth")))


def test_a_request_is_not_answered_in_training_mode(films):
    model, _, _, _, test = build_all(make_config(films))
    model.train()
    with pytest.raises(RuntimeError, match=r"model\.eval"):
        model.request(next(iter(test))[0][:1], model.hear(["some comedy"]))


def test_a_date_in_the_options_does_not_cost_an_epoch(films):
    _, trainer, train, valid, _ = build_all(make_config(films, epochs=1, started=datetime.date(2020, 1, 1)))
    trainer.fit(train, valid, verbose=False)
    assert torch.load(trainer.saved_model_file, weights_only=True)["config"]["started"] == "2020-01-01"


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("item_fusion", "magic", "item_fusion"),
        ("instruction_encoder", "rnn", "instruction_encoder"),
        ("encoder_tuning", "half", "encoder_tuning must be frozen, full, lora, adalora"),
        ("hidden_size", 15, "n_heads"),
        ("instruction_source", "oracle", "instruction_source"),
        ("report_rows", ["nonsense"], "report_rows"),
        ("report_rows", 3, "report_rows must be a list of some of"),
        ("loss_chunk", -1, "loss_chunk"),
        ("instruction_mix", None, "instruction_mix"),
        ("instruction_mix", {"none": float("nan")}, "share of 'none' must be a number of at least 0, not nan"),
        ("instruction_kinds", {"intent": float("nan")}, "share of 'intent' must be a number of at least 0, not nan"),
        ("frozen_match_share", 3, "frozen_match_share must be a number from 0 to 1"),
        ("encoder_rank", 0, "encoder_rank must be a whole number"),
        ("intent_texts", -5, "intent_texts must be"),
        ("intent_texts", "many", "intent_texts must be"),
        ("instruction_seed", -1, "instruction_seed must be"),
        ("instruction_language", [], "instruction_language"),
        ("instruction_language", 3, "instruction_language must be a language"),
        ("instruction_tokens", 0, "instruction_tokens"),
        ("item_experts", 0, "item_experts"),
        ("temperature", 0, "temperature"),
        ("train_neg_sample_args", {"distribution": "uniform", "sample_num": 1}, "train_neg_sample_args"),
        ("item_vectors", {"text": "a.npz"}, "item_vectors"),
    ],
)
def test_wrong_values_are_named(films, option, value, message):
    with pytest.raises(ValueError, match=message):
        build_all(make_config(films, **{option: value}))


def test_lists_longer_than_the_catalogue(films, caplog):
    """There are 25 films."""
    with caplog.at_level(logging.WARNING):
        _, trainer, train, valid, test = build_all(make_config(films, topk=[5, 25, 26], epochs=1))
        trainer.fit(train, valid, saved=False, verbose=False)
    assert "topk: [26] left out, since the catalogue has 25 items" in caplog.text
    assert {name.rpartition("@")[2] for name in trainer.evaluate(test, load_best_model=False)} == {"5", "25"}


@pytest.mark.parametrize(("topk", "metric", "fits"), [([5, 30], "NDCG@30", "5"), ([30], "NDCG@10", "25")])
def test_no_list_that_the_catalogue_can_fill(topk, metric, fits):
    with pytest.raises(ValueError, match=rf'has 25 items\. .*"--topk=\[{fits}\]" --valid_metric=NDCG@{fits}\.'):
        drop_long_lists({"topk": topk, "valid_metric": metric}, 25)


def test_data_set_without_any_item_file(tmp_path):
    """No titles, no attributes: InstructRec is then a plain sequential model."""
    data = write_dataset(tmp_path / "d", "films", items=[])
    options = {**SMALL, "data_path": str(data), "item_text_fields": [], "intent_field": None, "epochs": 1}
    options["load_col"] = {"inter": ["user_id", "item_id", "timestamp"]}
    result = run_recbole(model="InstructRec", dataset="films", config_dict=options)
    assert list(result["test_result"].rows) == ["none"]
    assert np.isfinite(list(result["test_result"].values())).all()


def test_header_without_types_or_with_spaces(tmp_path):
    for header in (
        "user_id:token item_id:token timestamp:float",
        "user_id\titem_id\ttimestamp",
        "user_id:word\titem_id:token",
    ):
        folder = write_dataset(tmp_path, "films", inter_header=header)
        with pytest.raises(ValueError, match=r"films\.inter, line 1: the columns must be name:type"):
            build_data(make_config(folder))


def test_missing_item_file_and_missing_column(tmp_path):
    folder = write_dataset(tmp_path, "films", items=[])
    with pytest.raises(ValueError, match=r"there is no file .*films\.item"):
        build_data(make_config(folder))
    folder = write_dataset(tmp_path / "b", "films")
    columns = {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id", "title", "year"]}
    with pytest.raises(ValueError, match=r"films\.item has no such column; it has item_id:token, title:token_seq"):
        build_data(make_config(folder, load_col=columns, item_text_fields=["title", "year"], intent_field=None))
