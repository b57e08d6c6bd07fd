"""Item-based models that are told the validation item, and models of one's own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from recbole.data import create_dataset, data_preparation
from recbole.model.general_recommender import EASE, ItemKNN

from recbole_instructrec.leaderboard.agenda import Agenda
from recbole_instructrec.leaderboard.execute import Conditions, execute
from recbole_instructrec.leaderboard.plan import Plan, PlanError
from recbole_instructrec.leaderboard.runs import config_of, leaves_seen_out, model_class
from recbole_instructrec.leaderboard.verify import mistakes
from tests.leaderboard.test_plan import SMALL_PLAN, write_plan

OURS = "recbole_instructrec.leaderboard.item_models:"
FULL = {"train_neg_sample_args": None, "epochs": 1, "knn_method": "item"}
TUNED = {"k": 5, "shrink": 1.0, "reg_weight": 3.0}
EVALUATED = {"eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"}}


@pytest.mark.parametrize("length", [50, 3])
@pytest.mark.parametrize(("name", "general"), [("ItemKNNOfHistories", ItemKNN), ("EASEOfHistories", EASE)])
def test_scores_are_recboles_from_everything_before_the_target(films: Path, name: str, general: type, length: int):
    columns = {"inter": ["user_id", "item_id", "timestamp"]}
    options = {**FULL, **TUNED, **EVALUATED, "load_col": columns, "MAX_ITEM_LIST_LENGTH": length}
    config = config_of(OURS + name, "films", options, 1, str(films))
    data = create_dataset(config)
    users, items, times = (data.inter_feat[field].to_numpy() for field in ("user_id", "item_id", "timestamp"))
    train, valid, test = data_preparation(config, data)
    model = model_class(OURS + name)(config, train._dataset)
    stock_config = config_of(general.__name__, "films", options, 1, str(films))
    stock_train, _, _ = data_preparation(stock_config, create_dataset(stock_config))
    stock = general(stock_config, stock_train._dataset)
    n_items = train._dataset.item_num
    for part, further in ((valid, 0), (test, 1)):
        batch = part._dataset[:]
        with torch.no_grad():
            scores, one = model.full_sort_predict(batch), model.predict(batch)
        torch.testing.assert_close(one, scores.gather(1, batch["item_id"].unsqueeze(1)).squeeze(1))
        expected = stock.full_sort_predict(batch).view(len(batch), n_items).float().numpy().copy()
        for row in range(len(batch)):
            own = users == batch["user_id"][row].item()
            history = items[own][np.argsort(times[own], kind="stable")][: further - 2]
            for item in history[len(history) - further :]:  # RecBole's knows the training part alone
                expected[row] += np.asarray(
                    model.similarity[item].todense() if name[0] == "I" else model.similarity[item]
                ).ravel()
            expected[row, [0, *history]] = -np.inf
        np.testing.assert_allclose(scores.numpy(), expected, rtol=1e-4, atol=1e-4)
        assert np.isfinite(expected).any()


def test_they_are_lines_of_a_plan(films: Path, tmp_path: Path):
    line = {"untuned": "a test", "options": {**FULL, **TUNED}}
    models = {
        f"{kind} (up to the target)": {"model": f"{OURS}{kind}OfHistories", **line} for kind in ("ItemKNN", "EASE")
    }
    agenda = Agenda(Plan.read(write_plan(tmp_path, {**SMALL_PLAN, "models": models})), str(films))
    for line in agenda.lines:
        record = execute(line.trials[0], Conditions(tmp_path / "work", str(films)))
        assert record["status"] == "done", record
        assert mistakes(json.loads(json.dumps(record))) == []
        assert record["rows"]["none"]["recall@10"] > 0 and record["model"].startswith(OURS)
        assert record["ranks"] == record["unseen"], "what was taken before is out of the list already"
    assert not leaves_seen_out(OURS + "ItemKNNOfHistories")


OWN = """
import torch
from recbole.model.sequential_recommender import GRU4Rec

class Doubled(GRU4Rec):
    def full_sort_predict(self, interaction):
        return 2 * super().full_sort_predict(interaction)

class NoModel:
    pass
"""


def test_a_model_of_ones_own(films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "my_models.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    line = {"search": {"dropout_prob": [0.1, 0.3]}, "options": {"train_neg_sample_args": None, "embedding_size": 8,
            "hidden_size": 8, "num_layers": 1, "loss_type": "CE", "what_it_reads": 3}}  # fmt: skip
    models = {"Doubled": {"model": "my_models:Doubled", **line}}
    agenda = Agenda(Plan.read(write_plan(tmp_path, {**SMALL_PLAN, "models": models})), str(films))
    record = execute(agenda.lines[0].trials[0], Conditions(tmp_path / "work", str(films)))
    assert record["status"] == "done", record
    assert record["config"]["what_it_reads"] == 3 and mistakes(json.loads(json.dumps(record))) == []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("my_models:Nothing", "cannot be imported: module 'my_models' has no attribute 'Nothing'"),
        ("no_such_module:X", "cannot be imported: No module named 'no_such_module'"),
        ("my_models:NoModel", "my_models:NoModel is no model"),
        ("my_models:", "cannot be imported"),
        ("SASRek", "no sequential or general model named 'SASRek'; did you mean SASRec?"),
        ("sasrec", "no sequential or general model named 'sasrec'; did you mean SASRec?"),
        ("Zzz", "one of your own: module:Class"),
    ],
)
def test_what_is_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, said: str):
    (tmp_path / "my_models.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    plan = {**SMALL_PLAN, "models": {"Line": {"model": name, "untuned": "a test"}}, "more": 1}
    with pytest.raises(PlanError) as error:
        Plan.read(write_plan(tmp_path, plan))
    assert said in str(error.value)
    assert "unknown key 'more'" in str(error.value), "all that is wrong is said at once"
