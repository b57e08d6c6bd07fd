"""Lists of recommendations in a file are those that RecBole's evaluation ranks."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recbole_instructrec import cli
from recbole_instructrec.export import ExportError, check_file, save_lists, top_lists
from tests.support import build_all, make_config

BASELINE = {
    "load_col": {"inter": ["user_id", "item_id", "timestamp"]}, "train_neg_sample_args": None, "epochs": 1,
    "embedding_size": 8, "hidden_size": 8, "topk": [5], "valid_metric": "NDCG@5", "show_progress": False,
}  # fmt: skip
GENERAL = {
    **BASELINE, "train_neg_sample_args": {"distribution": "uniform", "sample_num": 1},
    "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full"},
}  # fmt: skip


def test_test_result_and_lists_agree(films: Path, tmp_path: Path):
    file = tmp_path / "lists" / "top.tsv"
    _, trainer, train, valid, test = build_all(make_config(films, save_topk=str(file), metric_decimal_place=8))
    trainer.fit(train, valid, verbose=False)
    assert not file.exists(), "validation writes nothing"
    result = trainer.evaluate(test)
    lists = pd.read_csv(file, sep="\t", dtype={"user_id": str, "item_id": str})
    assert list(lists) == ["user_id", "rank", "item_id", "score"]
    assert (lists.groupby("user_id").size() == 5).all() and lists["user_id"].nunique() == 30
    assert (lists.groupby("user_id")["score"].diff().dropna() <= 0).all()
    assert set(lists["rank"]) == {1, 2, 3, 4, 5}
    dataset = test._dataset
    users = dataset.id2token("user_id", dataset.inter_feat["user_id"].numpy())
    target = dict(zip(users, dataset.id2token("item_id", dataset.inter_feat["item_id"].numpy()), strict=True))
    hit = lists[lists["item_id"] == lists["user_id"].map(target)]
    assert len(hit) / 30 == pytest.approx(result["recall@5"], abs=1e-6)
    assert (1 / np.log2(hit["rank"] + 1)).sum() / 30 == pytest.approx(result["ndcg@5"], abs=1e-6)


def test_the_name_of_the_file_is_checked_before_training(films: Path):
    with pytest.raises(ExportError, match=r"must end in .tsv, .csv, .parquet"):
        build_all(make_config(films, save_topk="lists.txt"))


@pytest.mark.parametrize(("model", "options"), [("GRU4Rec", BASELINE), ("BPR", GENERAL)])
def test_lists_of_other_models(films: Path, model: str, options: dict):
    network, _, train, _, test = build_all(make_config(films, model=model, **options))
    lists = top_lists(network, test, 100)
    assert lists["user_id"].nunique() == 30
    longest = lists.groupby("user_id").size().max()
    assert longest <= 25 and (model == "BPR" or (lists.groupby("user_id").size() == 25).all())
    if model == "BPR":  # RecBole leaves out what was seen
        history = {(u, i) for u, i in zip(train._dataset.inter_feat["user_id"].tolist(),
                                          train._dataset.inter_feat["item_id"].tolist(), strict=True)}  # fmt: skip
        dataset = test._dataset
        for user, item in zip(lists["user_id"], lists["item_id"], strict=True):
            assert (dataset.token2id("user_id", user), dataset.token2id("item_id", item)) not in history


def test_from_the_command_line(films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    _, trainer, train, valid, _ = build_all(make_config(films, epochs=1))
    trainer.fit(train, valid, verbose=False)

    def run(*options: str) -> int:
        monkeypatch.setattr(sys, "argv", ["instructrec", "topk", f"--checkpoint={trainer.saved_model_file}", *options])
        return cli.main()

    assert run("--output=a.csv", "--k=3", "--row=intent") == 0
    assert "90 lines, 30 users" in capsys.readouterr().out
    assert run("--output=b.csv", "--k=3") == 0
    told, plain = pd.read_csv("a.csv"), pd.read_csv("b.csv")
    assert len(told) == len(plain) == 90 and (told["item_id"] != plain["item_id"]).any()
    assert run("--output=a.csv", "--row=oracle") == 1
    assert "has the rows" in capsys.readouterr().err
    assert run("--output=a.xlsx") == 1
    assert "must end in" in capsys.readouterr().err


def test_parquet_holds_what_tsv_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("pyarrow")
    lists = pd.DataFrame({"user_id": ["01", "ü"], "rank": [1, 2], "item_id": ["a", "07"], "score": [0.25, -1.5]})
    for name in ("lists.parquet", "lists.tsv"):
        save_lists(lists, check_file(tmp_path / name))
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "lists.parquet"), lists)
    read = pd.read_csv(tmp_path / "lists.tsv", sep="\t", dtype={"user_id": str, "item_id": str})
    pd.testing.assert_frame_equal(read, lists)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ExportError, match=r"\[parquet\]"):
        check_file(tmp_path / "lists.parquet")


def test_lists_that_cannot_be_written(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="could not be written"):
        save_lists(pd.DataFrame({"user_id": ["a"]}), tmp_path / "file" / "lists.tsv")
    assert check_file("x.csv") == Path("x.csv")
