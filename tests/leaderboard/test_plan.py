"""Plans: everything that is wrong is said at once, before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from recbole_instructrec.cli import main
from recbole_instructrec.leaderboard.agenda import Agenda, options_of_trials
from recbole_instructrec.leaderboard.plan import Plan, PlanError

SMALL_PLAN = {
    "title": "Films",
    "dataset": "films",
    "trials": 2,
    "seeds": [1, 2],
    "options": {
        "epochs": 2,
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
    },
    "models": {
        "Pop": {"untuned": "has no options", "seeds": [1]},
        "GRU4Rec": {
            "options": {"train_neg_sample_args": None, "embedding_size": 8, "hidden_size": 8},
            "search": {"dropout_prob": [0.1, 0.3]},
        },
    },
}


def write_plan(folder: Path, plan: dict, name: str = "films") -> Path:
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(plan, sort_keys=False), encoding="utf-8")
    return file


def changed(**changes) -> dict:
    return {**SMALL_PLAN, **changes}


def test_a_plan_is_read(tmp_path: Path):
    plan = Plan.read(write_plan(tmp_path, SMALL_PLAN))
    assert (plan.name, plan.title, plan.dataset, plan.n_trials) == ("films", "Films", "films", 2)
    pop, gru = plan.entries
    assert pop.seeds == (1,) and gru.seeds == (1, 2)
    assert pop.rows == gru.rows == ("none",)
    assert [trial["dropout_prob"] for trial in gru.trials] == [0.1, 0.3]
    assert all(trial["epochs"] == 2 and trial["embedding_size"] == 8 for trial in gru.trials)
    assert options_of_trials(gru) == [{"dropout_prob": 0.1}, {"dropout_prob": 0.3}]
    assert plan.with_seeds(1).entries[1].seeds == (1,)


def test_options_searched_together_share_their_values(tmp_path: Path):
    models = {
        "SASRec": {"search": {"hidden_dropout_prob, attn_dropout_prob": [0.2, 0.5]}, "options": {"n_layers": 1}},
    }
    entry = Plan.read(write_plan(tmp_path, changed(models=models))).entries[0]
    assert [(t["hidden_dropout_prob"], t["attn_dropout_prob"]) for t in entry.trials] == [(0.2, 0.2), (0.5, 0.5)]


def test_all_mistakes_are_named_at_once(tmp_path: Path):
    models = {
        "Popp": {"untuned": "no options"},
        "GRU4Rec": {"search": {"dropout_prob": [0.1, 0.2, 0.3]}, "optons": {}},
        "SASRec": {"rows": ["history"]},
        "Other": {"model": "InstructRec", "search": {"temperature": 0.1}, "seeds": []},
    }
    plan = changed(models=models, trails=3, reported=[{"model": "X"}])
    with pytest.raises(PlanError) as error:
        Plan.read(write_plan(tmp_path, plan))
    said = str(error.value)
    for mistake in (
        "unknown key 'trails'; did you mean trials?",
        "unknown key 'optons'; did you mean options?",
        "the search has 3 trials; it gets 2",
        "SASRec: needs a search of 2 trials",
        "SASRec hears no instructions",
        "search must give a list of values",
        "seeds must be a list of different numbers, not []",
        "needs a model, its metrics and their source",
    ):
        assert mistake in said, mistake


@pytest.mark.parametrize(
    ("models", "said"),
    [
        ({"Popp": {"untuned": "x"}}, "RecBole has no sequential or general model named 'Popp'; did you mean Pop?"),
        (
            {"SASRec": {"untuned": "x", "options": {"hiden_size": 3}}},
            "nothing reads the option 'hiden_size'; did you mean hidden_size?",
        ),
        ({"InstructRec": {"untuned": "x", "options": {"temprature": 3}}}, "did you mean temperature?"),
        (
            {"InstructRec": {"search": {"hidden_dropout_prob": [0.2, 1.2]}}},
            "InstructRec: hidden_dropout_prob must be a number of at least 0 and below 1, not 1.2",
        ),
        (
            {"InstructRec": {"untuned": "x", "options": {"report_rows": 3}}},
            "InstructRec: report_rows must be a list of",
        ),
        ({"DeepFM": {"untuned": "x"}}, "no sequential or general model named 'DeepFM'"),
        ({"Pop": {"untuned": "x", "options": {"topk": [5]}}}, "Pop: topk is the protocol, which all lines share"),
        (
            {"Pop": {"search": {"eval_args": [{"mode": "uni10"}, {"mode": "full"}]}}},
            "Pop: eval_args is the protocol, which all lines share",
        ),
        ({"Pop": {"untuned": "x", "options": {"seed": 3}}}, "Pop: seeds are a list of their own"),
        (
            {"Pop": {"untuned": "x"}, "Popular": {"model": "Pop", "untuned": "y"}},
            "Popular: is the same as the line Pop",
        ),
        ({"GRU4Rec": {"search": {"dropout_prob": [0.1, 0.1]}}}, "GRU4Rec: the search holds [('dropout_prob', 0.1)] 2"),
        ({"GRU4Rec": {"trials": 1, "search": {"dropout_prob": [0.1]}}}, "trials may be more than the 2 of the others"),
        ({"InstructRec": {"untuned": "x", "rows": ["nonsense"]}}, "rows must be different ones of file, history"),
        ({"InstructRec": {"untuned": "x", "rows": ["none", "none"]}}, "rows must be different ones of file, history"),
        ({"GRU4Rec": {"search": {"dropout_prob": [0.1, 0.2], "a, dropout_prob": [1]}}}, "gives dropout_prob more than"),
        ({"GRU4Rec": {"search": {1: [0.1, 0.2]}}}, "GRU4Rec: 1 is no name of an option"),
        ({"Pop": {"untuned": "x", "options": {2: 3}}}, "Pop: 2 is no name of an option"),
        ({"Pop": {"untuned": "x", "options": {"save_topk": "a"}}}, "Pop: save_topk is of a single run"),
        ({"Pop": {"untuned": "x", "trials": "many"}}, "Pop: trials may be more than the 2 of the others, not 'many'"),
        ({"Pop, again": {"model": "Pop", "untuned": "x"}}, "a name with a comma cannot be given to --models"),
    ],
)
def test_what_models_are_refused_for(tmp_path: Path, models: dict, said: str):
    with pytest.raises(PlanError, match=None) as error:
        Plan.read(write_plan(tmp_path, changed(models=models)))
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"options": {"topk": [5]}}, "lines are ordered by NDCG@10, so metrics and topk must hold it"),
        ({"options": {"metrics": ["Recall"]}}, "lines are ordered by NDCG@10"),
        ({"options": {"seed": 3}}, "the plan: seeds are a list of their own"),
        ({"options": {"eval_step": 2}}, "the plan: eval_step must be 1"),
        ({"options": {"valid_metric": "MRR@10"}}, "epochs and trials are chosen by the highest NDCG@10"),
        ({"options": {"valid_metric_bigger": False}}, "epochs and trials are chosen by the highest NDCG@10"),
        ({"options": {"eval_args": {"mode": "uni100"}}}, "eval_args are RecBole's protocol"),
        ({"trials": None}, "trials must be a number of at least 1, not None"),
        ({"trials": "two"}, "trials must be a number of at least 1, not 'two'"),
        ({"reported": 3}, "reported must be a list of figures"),
        ({"reported": [{"model": "X", "metrics": {"ndcg@10": "high"}, "source": "s"}]}, "metrics must be numbers"),
    ],
)
def test_what_a_plan_is_refused_for(tmp_path: Path, changes: dict, said: str):
    with pytest.raises(PlanError) as error:
        Plan.read(write_plan(tmp_path, changed(**changes)))
    assert said in str(error.value)


def test_more_trials_of_a_model_and_capitals(tmp_path: Path):
    models = {"GRU4Rec": {"trials": 3, "search": {"dropout_prob": [0.1, 0.2, 0.3]}}}
    reported = [{"model": "X", "metrics": {"NDCG@10": 0.1}, "source": "s"}]
    plan = Plan.read(write_plan(tmp_path, changed(models=models, reported=reported, source="a\n  place")))
    assert len(plan.entries[0].trials) == 3
    assert plan.reported[0]["metrics"] == {"ndcg@10": 0.1} and plan.source == "a place"


def test_files_that_are_no_plans(tmp_path: Path):
    with pytest.raises(PlanError, match="there is no plan"):
        Plan.read(tmp_path / "nothing.yaml")
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(PlanError, match="holds no settings"):
        Plan.read(tmp_path / "list.yaml")
    (tmp_path / "broken.yaml").write_text("models: [\n")
    (tmp_path / "twice.yaml").write_text("title: a\noptions: {epochs: 2, epochs: 3}\n")
    with pytest.raises(PlanError, match="the key 'epochs' stands twice"):
        Plan.read(tmp_path / "twice.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"title: \xe4\n")
    with pytest.raises(PlanError, match="is not YAML"):
        Plan.read(tmp_path / "latin.yaml")
    with pytest.raises(PlanError, match="is not YAML"):
        Plan.read(tmp_path / "broken.yaml")
    for content in ("title: 2024-13-01\n", "title: {? [a] : b}\n"):
        (tmp_path / "odd.yaml").write_text(content)
        with pytest.raises(PlanError, match="is not YAML"):
            Plan.read(tmp_path / "odd.yaml")


def test_options_that_recbole_refuses_are_named_with_their_line(films: Path, tmp_path: Path):
    models = {name: {"untuned": "no search", "options": {"train_neg_sample_args": {"distribution": "uniform"}}}
              for name in ("SASRec", "GRU4Rec")}  # fmt: skip
    with pytest.raises(PlanError) as error:
        Agenda(Plan.read(write_plan(tmp_path, changed(models=models))), str(films))
    assert "SASRec: train_neg_sample_args" in str(error.value) and "GRU4Rec: train_neg_sample_args" in str(error.value)


def test_unknown_data_set_is_refused_before_anything_runs(films: Path, tmp_path: Path):
    models = {**SMALL_PLAN["models"], "SASRec": {"untuned": "a test"}}
    plan = Plan.read(write_plan(tmp_path, changed(dataset="flims", models=models)))
    with pytest.raises(PlanError) as error:
        Agenda(plan, str(films))
    said = str(error.value)
    assert said.count("flims.inter") == 1, "once, not for every line"
    assert "SASRec: train_neg_sample_args" in said, "beside what else is wrong"


def test_a_missing_data_set_is_named_beside_the_mistakes_of_the_file(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    for dataset, said in (("flims", True), ("films", False)):
        file = write_plan(tmp_path, changed(dataset=dataset, colour="red", models={"SASRek": {"untuned": "a test"}}))
        monkeypatch.setattr("sys.argv", ["instructrec", "leaderboard", "run", str(file), f"--data_path={films}"])
        assert main() == 1
        told = capsys.readouterr().err
        assert "unknown key 'colour'" in told and "did you mean SASRec?" in told
        assert told.count("flims.inter") == said


def test_trials_that_mean_the_same_are_no_two(films: Path, tmp_path: Path):
    search = {"learning_rate": [0.001, "1e-3"]}
    models = {"GRU4Rec": {**SMALL_PLAN["models"]["GRU4Rec"], "search": search}}
    with pytest.raises(PlanError, match="GRU4Rec: two of its trials are the same run"):
        Agenda(Plan.read(write_plan(tmp_path, changed(models=models))), str(films))


def test_a_run_is_what_its_configuration_and_data_are(films: Path, tmp_path: Path):
    def ids(plan: dict) -> list[str]:
        return Agenda(Plan.read(write_plan(tmp_path, plan)), str(films)).ids()

    first = ids(SMALL_PLAN)
    assert len(first) == len(set(first)) == 5
    assert ids(changed(title="Another title")) == first, "what does not touch the run does not change it"
    other = ids(changed(options={**SMALL_PLAN["options"], "epochs": 3}))
    assert not set(first) & set(other), "plans that disagree about a configuration have different runs"
    file = films / "films" / "films.inter"
    file.write_text(file.read_text() + "u1\ti1\t999999999\n")
    assert not set(first) & set(ids(SMALL_PLAN)), "other data, other runs"
    items = films / "films" / "films.item"
    for options, reads in ((SMALL_PLAN["options"], False), ({"epochs": 2, "load_col": None}, True)):
        before = ids(changed(options=options))
        items.write_text(items.read_text() + "\n")
        assert (ids(changed(options=options)) != before) == reads, "without columns RecBole reads every file"


def test_lines_that_are_not_in_the_plan(films: Path, tmp_path: Path):
    plan = Plan.read(write_plan(tmp_path, SMALL_PLAN))
    assert [line.entry.name for line in Agenda(plan, str(films), ["Pop"]).lines] == ["Pop"]
    with pytest.raises(ValueError, match="has no line Nobody"):
        Agenda(plan, str(films), ["Nobody"])
