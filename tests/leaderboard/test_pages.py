"""Pages: what is a win, what is shown and what is said beside it."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recbole_instructrec.cli import main
from recbole_instructrec.leaderboard.agenda import Agenda
from recbole_instructrec.leaderboard.execute import Conditions, execute
from recbole_instructrec.leaderboard.markdown import markdown
from recbole_instructrec.leaderboard.overview import PAGES, overview
from recbole_instructrec.leaderboard.page import _own_seconds, page
from recbole_instructrec.leaderboard.plan import Plan
from recbole_instructrec.leaderboard.report import front_page
from recbole_instructrec.leaderboard.runs import Run
from recbole_instructrec.leaderboard.schedule import LocalExecutor, RayExecutor, Scheduler
from recbole_instructrec.leaderboard.statistics import Difference
from recbole_instructrec.leaderboard.store import Store
from recbole_instructrec.leaderboard.table import RecordedAgenda, Table
from tests.leaderboard.test_plan import SMALL_PLAN, write_plan
from tests.support import SILENT, write_dataset

COLUMNS = {"inter": ["user_id", "item_id", "timestamp"]}
PLAN = {
    **SMALL_PLAN,
    "seeds": [1],
    "caveat": "Times are odd.",
    "models": {
        "Pop": {"untuned": "has no options"},
        "It's": {"model": "ItemKNN", "untuned": "a test", "sees": "items|more"},
        "InstructRec": {
            "untuned": "a test",
            "options": {**SILENT, "intent_field": None, "hidden_size": 8, "inner_size": 8, "load_col": COLUMNS},
        },
    },
}
for name in ("report_rows", "epochs"):
    PLAN["models"]["InstructRec"]["options"].pop(name)


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return Plan.read(write_plan(tmp_path_factory.mktemp("plan"), PLAN))


@pytest.fixture(scope="module")
def records(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Results of the plan, as a store gives them."""
    data = str(write_dataset(tmp_path_factory.mktemp("data"), "films"))
    conditions = Conditions(tmp_path_factory.mktemp("work"), data)
    with contextlib.chdir(tmp_path_factory.mktemp("here")):
        found = [execute(line.trials[0], conditions) for line in Agenda(plan, data).lines]
    assert [record["status"] for record in found] == ["done"] * 3, found
    return json.loads(json.dumps(found))


def table_of(plan: Plan, records: list[dict[str, Any]]) -> Table:
    return Table(plan, RecordedAgenda(plan, records), records)


CLEAR, DOUBTFUL, LOW = (
    Difference(0.2, 0.1, 0.3, 0.001),
    Difference(0.2, 0.1, 0.3, 0.2),
    Difference(0.2, 0.0, 0.3, 0.001),
)


@pytest.mark.parametrize(
    ("gaps", "win"),
    [
        ({"Pop": CLEAR, "It's": CLEAR}, True),
        ({"Pop": CLEAR, "It's": LOW}, False),
        ({"Pop": CLEAR, "It's": DOUBTFUL}, False),
        ({"Pop": CLEAR}, False),
        ({}, False),
    ],
)
def test_a_win_is_one_over_every_other_model(
    plan: Plan, records: list[dict[str, Any]], gaps: Mapping[str, Difference], win: bool
):
    table = table_of(plan, records)
    (own,) = (row for row in table.rows if row.main)
    assert table.differences.keys() == {("InstructRec", "none")}
    table.differences["InstructRec", "none"] = {name: (gap, gap.p) for name, gap in gaps.items()}
    assert table.wins(own) == win
    assert table.figure(own, "ndcg@10").endswith("** †") == win, "a caveat stands beside the figure"
    assert "*" not in table.figure(own, "recall@10")
    for text in (page(table), front_page([table])):
        assert ("† Times are odd." in text) == win


def test_a_win_asks_for_all_seeds_of_the_others(plan: Plan, records: list[dict[str, Any]], tmp_path: Path):
    models = {**PLAN["models"], "Pop": {**PLAN["models"]["Pop"], "seeds": [1, 2]}}
    more = Plan.read(write_plan(tmp_path, {**PLAN, "models": models}))
    for read, done, unfinished in ((plan, 2, []), (more, 1, ["Pop (1 of 2 seeds)"])):
        table = table_of(read, records)
        (own,) = (row for row in table.rows if row.main)
        table.differences["InstructRec", "none"] = {"Pop": (CLEAR, CLEAR.p), "It's": (CLEAR, CLEAR.p)}
        assert table.others == (done, 2) and table.unfinished == unfinished
        assert table.wins(own) == (not unfinished)
        assert ("Still to be calculated: Pop (1 of 2 seeds).\n" in front_page([table])) == bool(unfinished)


def test_lines_tables_and_commits_are_told_apart(plan: Plan, records: list[dict[str, Any]]):
    text = page(table_of(plan, [{**r, "commit": "def" if n else "abc", "dirty": False} for n, r in enumerate(records)]))
    assert "@software{recbole_instructrec_films," in text, "two tables can be cited together"
    made = [line.split(" | ")[-2:] for line in text.split("## Environment")[1].splitlines() if " | " in line]
    assert made[-2] == ["abc", "Pop |"]
    assert "| aa, then bb | It's, " in page(table_of(plan, [{**r, "commits": ["aa", "bb"]} for r in records])).replace(
        "InstructRec, It's", "It's, InstructRec"
    ).replace("Pop, ", "")
    assert made[-1][0] == "def" and set(made[-1][1].removesuffix(" |").split(", ")) == {"InstructRec", "It's"}


def test_a_table_stands_in_the_overview_also_when_its_model_is_told_the_context(
    plan: Plan, records: list[dict[str, Any]]
):
    told = [{**r, "rows": {f"{row}+context": found for row, found in r["rows"].items()}} for r in records]
    told = [{**r, "ranks": {f"{row}+context": ranks for row, ranks in r["ranks"].items()}} for r in told]
    ours = [new if new["model"] == "InstructRec" else old for new, old in zip(told, records, strict=True)]
    text = overview([table_of(plan, ours)], PAGES["README.md"])
    assert f"[{plan.title}](leaderboard/films.md)" in text and "2 of 2" in text


def test_what_trains_nothing_has_no_minutes(plan: Plan, records: list[dict[str, Any]]):
    text = page(table_of(plan, records))
    times = text.split("## Time")[1].split("##")[0]
    assert "| Pop | - | - |" in times and "| It's | - | - |" in times
    assert "**InstructRec**, row `none` | 2 |" in times
    front = front_page([table_of(plan, records)])
    ours = next(line for line in front.splitlines() if line.startswith("| **InstructRec**"))
    assert next(line for line in front.splitlines() if line.startswith("| Pop")).endswith("| - |")
    assert not ours.endswith("| - |")


def test_seconds_until_a_score_are_those_of_all_epochs_up_to_it(plan: Plan, records: list[dict[str, Any]]):
    told = json.loads(json.dumps(records))
    own, pop = (next(r for r in told if r["entry"] == name) for name in ("InstructRec", "Pop"))
    epoch = {"train_seconds": 99.0, "valid_seconds": 1.0}
    own["curve"] = [
        {**epoch, "epoch": n, "train_cpu_seconds": 10.0 + n, "score": s} for n, s in enumerate((0.1, 0.3, 0.9))
    ]
    pop["curve"] = [{**epoch, "epoch": 0, "train_cpu_seconds": 1.0, "score": 0.2}]
    line = next(
        line for line in page(table_of(plan, told)).split("## Time")[1].splitlines() if line.startswith("| Pop")
    )
    assert line.endswith("| .2000 | - | 21 |")

    table = table_of(plan, told)
    ours, theirs = (next(row for row in table.rows if row.line.entry.name == name) for name in ("InstructRec", "Pop"))
    slow = {**own, "curve": [{**one, "train_cpu_seconds": 24.5} for one in own["curve"]]}
    low = {**own, "curve": own["curve"][:1], "processor": "another"}
    of = {
        "35": [own, slow],
        "not reached": [low],
        "21 (1 of 2 seeds, another machine)": [own, low],
    }
    for text, runs in of.items():
        assert _own_seconds(replace(ours, records=runs), theirs, 0.2) == text


def test_a_failure_with_other_files_hides_nothing(plan: Plan, records: list[dict[str, Any]]):
    failed = {key: records[0][key] for key in ("id", "entry", "model", "dataset", "options", "seed")}
    failed |= {"status": "failed", "id": "other", "rows": ["none"], "error": "no column", "data": {"films.inter": "0"}}
    assert len(table_of(plan, [*records, failed]).rows) == 3


def test_failures_are_told_where_nothing_has_ended_well(plan: Plan, records: list[dict[str, Any]]):
    kept = ("id", "entry", "model", "dataset", "options", "seed", "data")
    failed = [{**{key: r[key] for key in kept}, "status": "failed", "rows": ["none"], "error": "odd"} for r in records]
    text = page(table_of(plan, failed))
    assert "No run has ended well yet." in text and "- Pop, seed 1: odd" in text


def test_commands_make_the_lines_again(plan: Plan, records: list[dict[str, Any]]):
    text = page(table_of(plan, records))
    assert f"run {plan.path} --store=again/results --models='It'\"'\"'s'" in text
    assert "verify --store=again/results --against=leaderboard/results" in text
    assert "| It's | items\\|more |" in text


def test_bars_in_cells():
    assert markdown(["a"], [["x|y"]]).splitlines()[-1] == "| x\\|y |"


def test_nothing_begins_when_time_is_up(films: Path, plan: Plan, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    store, conditions = Store(tmp_path / "results"), Conditions(tmp_path / "work", str(films), until=time.time() - 1)
    scheduler = Scheduler(Agenda(plan, str(films)), store, LocalExecutor(store, conditions), conditions, 2)
    assert scheduler.run() == 2
    assert "3 runs are left" in capsys.readouterr().out and not list(tmp_path.glob("work/*/*"))


@pytest.mark.parametrize("option", ["store", "work"])
def test_folders_that_cannot_be_written_are_refused(
    films: Path, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    option: str,
):  # fmt: skip
    (tmp_path / "file").write_text("")
    where = {"store": tmp_path / "results", "work": tmp_path / "work", option: tmp_path / "file" / "folder"}
    folders = [f"--{name}={folder}" for name, folder in where.items()]
    command = ["instructrec", "leaderboard", "run", plan.path, f"--data_path={films}", *folders]
    monkeypatch.setattr("sys.argv", command)
    assert main() != 0
    told = capsys.readouterr()
    assert f"--{option}: nothing can be written into" in told.err + told.out and "Traceback" not in told.err


@pytest.mark.slow
def test_a_ray_cluster_that_is_too_small_is_refused(tmp_path: Path):
    pytest.importorskip("ray")
    with pytest.raises(ValueError, match="a run needs 4096 CPUs"):
        RayExecutor(Store(tmp_path), Conditions(tmp_path / "work", threads=4096))


def test_runs_come_back_from_their_description(plan: Plan, films: Path):
    run = Agenda(plan, str(films)).lines[0].trials[0]
    assert Run.of(json.loads(json.dumps(run.plain()))) == run
