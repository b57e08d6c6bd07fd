"""Results of before: of which runs they are when options have come since."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from recbole_instructrec.leaderboard.agenda import Agenda
from recbole_instructrec.leaderboard.matching import beside_defaults, same_run
from recbole_instructrec.leaderboard.plan import Plan
from recbole_instructrec.leaderboard.runs import config_of, effective, hash_of, identity
from recbole_instructrec.leaderboard.store import Store
from recbole_instructrec.leaderboard.table import RecordedAgenda
from recbole_instructrec.leaderboard.verify import compare
from tests.leaderboard.test_plan import SMALL_PLAN, write_plan
from tests.leaderboard.test_store import record as stored

# Options that the first results did not have, as what they were made with.
LATER = {"network_weight": 1.0, "neighbour_back": 0.5, "cooccurrence_weight": 0.0}


def plan_of(folder: Path, **options: Any) -> Plan:
    models = {"InstructRec": {"untuned": "a test", "options": {"epochs": 2, **options}}}
    return Plan.read(write_plan(folder, {**SMALL_PLAN, "models": models}))


def result(agenda: Agenda, lacks: Iterable[str] = (), **more: Any) -> dict[str, Any]:
    """A result as it was stored while some options were not known."""
    run = agenda.lines[0].trials[0]
    config = effective(config_of(run.model, run.dataset, run.options, run.seed, None))
    config = {name: value for name, value in config.items() if name not in lacks}
    told = {**stored("x"), **run.plain(), "config": config, "config_hash": hash_of(config), **more}
    return {**told, "id": identity({**told, "rows": ["none"]}), "rows": {"none": {"ndcg@10": 0.1}}}


def test_an_option_that_has_come_since_is_what_was_done_before(films: Path, tmp_path: Path):
    of_now = Agenda(plan_of(tmp_path, **LATER), str(films))
    before = result(of_now, LATER)
    assert before["id"] != of_now.lines[0].trials[0].id
    plain = Agenda(plan_of(tmp_path), str(films), records=[before])
    assert plain.lines[0].trials[0].id != before["id"], "by default something else is done now"
    known = Agenda(plan_of(tmp_path, **LATER), str(films), records=[before])
    assert known.lines[0].trials[0].id == before["id"], "nothing is run twice"
    assert known.lines[0].others[0][0].id == of_now.lines[0].others[0][0].id, "the other seed is still to come"
    before["config"]["MASK_INDEX"] = "a name of a field, which runs of once kept"
    assert RecordedAgenda(plan_of(tmp_path, **LATER), [before]).lines[0].trials[0].id == before["id"]


def test_other_options_that_have_come_since_are_as_by_default(films: Path, tmp_path: Path):
    agenda = Agenda(plan_of(tmp_path), str(films))
    before = result(agenda, ("encoder_rank", "item_experts"))
    assert before["id"] != agenda.lines[0].trials[0].id
    assert Agenda(plan_of(tmp_path), str(films), records=[before]).lines[0].trials[0].id == before["id"]


@pytest.mark.parametrize("options", [{"network_weight": 0.1}, {"cooccurrence_weight": 5.0}, {"neighbour_back": 1.0}])
def test_a_plan_that_wants_another_value_has_no_result(films: Path, tmp_path: Path, options: dict[str, float]):
    before = result(Agenda(plan_of(tmp_path, **LATER), str(films)), LATER)
    other = plan_of(tmp_path, **{**LATER, **options})
    assert Agenda(other, str(films), records=[before]).lines[0].trials[0].id != before["id"]
    assert RecordedAgenda(other, [before]).lines[0].trials[0].id == ""


def test_a_result_of_other_files_is_another_run(films: Path, tmp_path: Path):
    agenda = Agenda(plan_of(tmp_path), str(films))
    other = result(agenda, LATER, data={"films.inter": "another"})
    assert Agenda(plan_of(tmp_path), str(films), records=[other]).lines[0].trials[0].id != other["id"]


def test_a_run_that_failed_is_tried_again_under_its_own_name(films: Path, tmp_path: Path):
    of_now = Agenda(plan_of(tmp_path), str(films)).lines[0].trials[0]
    failed = {**stored("old", "failed"), **of_now.plain(), "id": "old", "status": "failed", "error": "x"}
    assert Agenda(plan_of(tmp_path), str(films), records=[failed]).lines[0].trials[0].id == of_now.id


def test_results_of_before_and_of_now_are_compared(films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    agenda = Agenda(plan_of(tmp_path, **LATER), str(films))
    before, now = result(agenda, LATER), result(agenda)
    assert same_run(before, now) and before["id"] != now["id"]
    changed = deepcopy(now)
    changed["config"]["network_weight"] = 0.5
    assert not same_run(before, changed)
    stores = [Store(tmp_path / name) for name in ("before", "now")]
    for store, one in zip(stores, (before, now), strict=True):
        store.append(one)
    assert compare(*stores) == 0 and "1 runs stand in both" in capsys.readouterr().out
    other = deepcopy(now) | {"commit": "abc", "dirty": True}
    other["rows"]["none"]["ndcg@10"] = 0.2
    stores.append(Store(tmp_path / "other"))
    stores[-1].append(other)
    assert compare(stores[-1], stores[1]) == 1
    assert f"differs by 0.100000 (made by abc and changes, {now['commit']})" in capsys.readouterr().out


def test_options_beside_the_defaults(films: Path, tmp_path: Path):
    agenda = Agenda(plan_of(tmp_path, network_weight=0.5), str(films))
    assert beside_defaults(result(agenda)) == {"epochs": 2, "network_weight": 0.5}
    own = "recbole_instructrec.leaderboard.item_models:EASEOfHistories"
    models = {"Mine": {"model": own, "untuned": "a test", "options": {"reg_weight": 7.0}}}
    agenda = Agenda(Plan.read(write_plan(tmp_path, {**SMALL_PLAN, "models": models})), str(films))
    assert beside_defaults(result(agenda))["reg_weight"] == 7.0, "a model that is not RecBole's has no defaults"


def test_files_of_one_line_hide_no_other(tmp_path: Path, films: Path):
    agenda = Agenda(plan_of(tmp_path), str(films))
    one = result(agenda)
    other = result(agenda, data={**one["data"], "pretrained": "aa"}, seed=9)
    later = result(agenda, data={**one["data"], "pretrained": "bb"}, seed=8)
    assert RecordedAgenda(plan_of(tmp_path), [one, other, later]).outdated == 0
    assert RecordedAgenda(plan_of(tmp_path), [one, {**later, "data": {"films.inter": "x"}}]).outdated == 1
