"""Plans that are run: to their end, killed, paused, twice at once, in other places."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock
from recbole.data import create_dataset, data_preparation
from recbole.trainer import Trainer
from recbole.utils import get_model

from recbole_instructrec.environment import environment
from recbole_instructrec.leaderboard.agenda import Agenda
from recbole_instructrec.leaderboard.execute import Conditions, Paused, clear, execute
from recbole_instructrec.leaderboard.overview import BEGIN, END
from recbole_instructrec.leaderboard.page import page
from recbole_instructrec.leaderboard.plan import Plan
from recbole_instructrec.leaderboard.ranks import unpacked
from recbole_instructrec.leaderboard.report import write
from recbole_instructrec.leaderboard.runs import Run, config_of, effective, hash_of, work_folder
from recbole_instructrec.leaderboard.schedule import LocalExecutor, RayExecutor, Scheduler
from recbole_instructrec.leaderboard.statistics import Difference
from recbole_instructrec.leaderboard.store import Store, Taken
from recbole_instructrec.leaderboard.table import RecordedAgenda, Table
from recbole_instructrec.leaderboard.verify import compare, mistakes, verify
from tests.leaderboard.test_plan import SMALL_PLAN, write_plan
from tests.support import SMALL

OURS = {key: value for key, value in SMALL.items() if key not in ("epochs", "show_progress", "topk", "valid_metric")}
PLAN = {
    **SMALL_PLAN,
    "models": {
        **SMALL_PLAN["models"],
        "InstructRec": {
            "options": {**OURS, "intent_texts": 40},
            "search": {"hidden_dropout_prob": [0.1, 0.3]},
            "rows": ["none", "history", "intent"],
            "sees": "items, titles and genres",
        },
    },
    "reported": [{"model": "Another", "metrics": {"ndcg@10": 0.5}, "source": "its paper"}],
}


def agenda_of(tmp_path: Path, films: Path, plan: dict = PLAN, only: tuple[str, ...] = ()) -> Agenda:
    return Agenda(Plan.read(write_plan(tmp_path, plan)), str(films), only)


def page_of(file: Path, store: Store) -> str:
    plan = Plan.read(file)
    records = store.read(plan.dataset)[0]
    return page(Table(plan, RecordedAgenda(plan, records), records))


def run(agenda: Agenda, store: Store, conditions: Conditions, jobs: int = 2, **options) -> int:
    return Scheduler(agenda, store, LocalExecutor(store, conditions), conditions, jobs).run(**options)


class Here:
    """Executes a run in this process as soon as it is started: quicker than a process each."""

    def __init__(self, store: Store, conditions: Conditions) -> None:
        self.store, self.conditions = store, conditions

    def start(self, run: Run) -> Here:
        self.store.append(execute(run, self.conditions))
        return self

    def ended(self) -> bool:
        return True

    def stop(self) -> None:
        pass

    def outcome(self) -> str:
        return "stored"


def test_a_plan_to_its_pages(tmp_path: Path, films: Path, capsys: pytest.CaptureFixture[str]):
    store, conditions = Store(tmp_path / "results"), Conditions(tmp_path / "work", str(films))
    agenda = agenda_of(tmp_path, films)
    assert agenda.left({}) == 1 + 3 + 3
    assert run(agenda, store, conditions) == 0
    records, damaged = store.read("films")
    assert len(records) == 7 and not damaged, "two trials and one more seed of the better one, for each searched line"
    assert "0 left" in capsys.readouterr().out
    for record in records:
        assert record["status"] == "done", record.get("error")
        assert record["parameters"] > 0 or record["model"] == "Pop"
        assert record["memory_mib"] > 50 and record["epochs"] == len(record["curve"])
        assert record["counts"] == {"users": 30, "items": 25, "interactions": record["counts"]["interactions"],
                                    "tests": 30}  # fmt: skip
        assert len(unpacked(record["ranks"]["none"])) == 30
        assert set(record["unseen"]) == (set() if record["model"] == "Pop" else set(record["rows"]))
    assert len({record["asked"] for record in records}) == 1, "all models are asked for the same targets"
    ours = next(record for record in records if record["model"] == "InstructRec")
    assert set(ours["rows"]) == {"none", "history", "intent"}

    # Nothing is run twice.
    lines = store.file("films").read_bytes()
    assert run(agenda_of(tmp_path, films), store, conditions) == 0
    assert store.file("films").read_bytes() == lines

    assert verify(store) == 0
    (tmp_path / "pages").mkdir()
    readme = tmp_path / "pages" / "README.md"
    readme.write_text(f"# Title\n\n{BEGIN}\nof yesterday\n{END}\n\nMore.\n")
    pages = write([tmp_path / "films.yaml"], store, tmp_path / "pages")
    text = readme.read_text()
    assert text.startswith("# Title\n") and text.endswith("\n\nMore.\n") and "of yesterday" not in text
    assert "| [Films](leaderboard/films.md) | .5000 (Another) |" in text and text.count("InstructRec") == 1
    front, text = (file.read_text() for file in pages[:2])
    assert "**InstructRec**, row `history`" in front and "Another, NDCG@10 .5000 (its paper)" in front
    assert "row `intent`" not in front, "rows that know the target are in a table of their own"
    assert text.index("## Told about the target") < text.index("row `intent`")
    assert "All runs of the plan are done." in text
    unseen = text.split("## Seen items left out")[1].split("##")[0]
    assert all(f"| {name} |" in unseen for name in ("Pop", "GRU4Rec", "**InstructRec**, row `none`"))
    assert {file.name for file in pages[2:]} == {"films-time.png", "films-curves.png", "overview.png", "README.md"}
    assert f"row `none` | items, titles and genres | {OURS['MAX_ITEM_LIST_LENGTH']} |" in front
    assert "| Pop | items | training part |" in front
    pages_alone = write([tmp_path / "films.yaml"], store, tmp_path / "alone", front=False)
    assert {file.name for file in pages_alone} == {"films.md", "films-time.png", "films-curves.png"}
    again = write([tmp_path / "films.yaml"], store, tmp_path / "again")
    assert [file.read_text() for file in again[:2]] == [front, text], "the same store gives the same pages"

    # A line is known by what it is, not by its name or by how the plan writes its options.
    other = json.loads(json.dumps(PLAN))
    other["models"] = {
        "Best sellers": {"model": "Pop", **PLAN["models"]["Pop"]},
        "InstructRec": PLAN["models"]["InstructRec"],
    }
    other["models"]["InstructRec"] = json.loads(json.dumps(PLAN["models"]["InstructRec"]))
    other["models"]["InstructRec"]["options"]["repeat_bias"] = True
    renamed = page_of(write_plan(tmp_path / "again", other), store)
    assert "Best sellers" in renamed and "row `none`" in renamed and "All runs of the plan are done." in renamed

    # Other data are other runs: figures of before are not shown beside those of now.
    inter = films / "films" / "films.inter"
    content = inter.read_text()
    inter.write_text(content + content.splitlines()[-1] + "\n")
    assert run(agenda_of(tmp_path, films, only=("Pop",)), store, conditions) == 0
    text = page_of(tmp_path / "films.yaml", store)
    assert "7 stored runs of other files" in text and "GRU4Rec" not in text.split("## Commands")[0]
    inter.write_text(content)
    store.file("films").write_bytes(lines)

    # What was changed by hand is found.
    for old, new, said in (
        ('"seed": 1', '"seed": 9', "are not those that the run is named by"),
        ('"valid_score": ', '"valid_score": 1', "the validation score"),
        ('"ndcg@10": 0.', '"ndcg@10": NaN, "ndcg@1": 0.', "is nan"),
    ):
        store.file("films").write_text(lines.decode().replace(old, new, 1))
        assert verify(store) == 1 and said in capsys.readouterr().out, said
    store.file("films").write_bytes(lines)
    changed = lines.decode().replace('"recall@5": ', '"recall@5": 1', 1)
    store.file("films").write_text(changed)
    assert verify(store) == 1
    assert compare(store, Store(tmp_path / "nothing")) == 1 and "no run in common" in capsys.readouterr().out
    (tmp_path / "before").mkdir()
    (tmp_path / "before" / "films.jsonl").write_bytes(lines)
    assert compare(store, store) == 0 and "7 runs stand in both: all metrics are the same" in capsys.readouterr().out
    assert compare(store, Store(tmp_path / "before")) == 1 and "recall@5 differs by" in capsys.readouterr().out
    assert verify(store) == 1
    assert "from the ranks" in capsys.readouterr().out

    # A report names it and leaves it aside, as it does with a line that is cut off.
    by_model = sorted(lines.decode().splitlines(keepends=True), key=lambda line: json.loads(line)["model"] != "Pop")
    by_model[0] = by_model[0].replace('"recall@5": ', '"recall@5": 1', 1)
    store.file("films").write_text("".join(by_model)[: -len(by_model[-1]) // 2])
    write([tmp_path / "films.yaml"], store, tmp_path / "aside", front=False)
    told = capsys.readouterr().out
    assert told.count("left aside: ") == 2 and "recall@5 is" in told and "line 7 is damaged" in told
    assert "| Pop |" in text and "| Pop |" not in (tmp_path / "aside" / "leaderboard" / "films.md").read_text()

    # Bold asks for every other model of the plan, and lines with some of their ranks are not in the second table.
    more = json.loads(json.dumps(PLAN))
    more["models"]["SASRec"] = {"options": {"train_neg_sample_args": None}, "search": {"n_heads": [1, 2]}}
    store.file("films").write_bytes(lines)
    records = store.read("films")[0]
    for plan, bold in ((PLAN, True), (more, False)):
        read = Plan.read(write_plan(tmp_path, plan, "again"))
        table = Table(read, RecordedAgenda(read, records), records)
        own = next(row for row in table.rows if row.ours and row.row == "none")
        against = table.differences[own.line.entry.name, own.row]
        for name in against:
            against[name] = (Difference(0.2, 0.1, 0.3, 0.001), 0.001)
        assert table.wins(own) == bold and table.others == ((2, 2) if bold else (2, 3))
    of_gru = [record["id"] for record in records if record["model"] == "GRU4Rec"]
    partly = [{**r, "unseen": {}} if r["id"] == of_gru[-1] else r for r in records]
    text = page(Table(read, RecordedAgenda(read, partly), partly)).split("## Seen items left out")[1].split("##")[0]
    assert "Not here, as not all of their runs have kept these ranks: GRU4Rec." in text
    assert "| GRU4Rec |" not in text and "| Pop |" in text


def test_the_time_that_is_left_falls_with_every_epoch(tmp_path: Path, films: Path):
    agenda = agenda_of(tmp_path, films, only=("GRU4Rec",))
    first, second = agenda.lines[0].trials
    assert agenda.seconds_left({}, 1) is None, "nothing is known of this model"
    records = {first.id: {"id": first.id, "model": "GRU4Rec", "status": "done", "seconds": 100.0, "epochs": 20}}
    assert agenda.left(records) == 2, "a trial, and then another seed of the better one"
    assert agenda.seconds_left(records, 1) == 200 and agenda.seconds_left(records, 2) == 100

    def after(epochs: int, seconds: float = 10.0) -> dict[str, Any]:
        return {"of": 300, "seconds": seconds * epochs, "curve": [{}] * epochs}

    for epochs, left in ((0, 200), (1, 100 + 19 * 10), (15, 100 + 5 * 10), (19, 110), (30, 110)):
        told = {second.id: after(epochs)}
        assert agenda.seconds_left(records, 1, lambda run, told=told: told.get(run.id)) == left, epochs
    assert agenda.seconds_left(records, 4, lambda run: after(1)) == 19 * 10, "a run is not shared between processes"


def test_ranks_with_seen_items_left_out(tmp_path: Path, films: Path):
    line = agenda_of(tmp_path, films, only=("GRU4Rec",)).lines[0]
    record = execute(line.trials[0], Conditions(tmp_path / "work", str(films)))
    assert record["status"] == "done", record["error"]
    config = config_of("GRU4Rec", "films", line.trials[0].options, 1, str(films))
    data = create_dataset(config)
    user, item, time = (
        data.inter_feat[field].to_numpy() for field in (data.uid_field, data.iid_field, data.time_field)
    )
    _, _, test = data_preparation(config, data)
    model = get_model("GRU4Rec")(config, test._dataset)
    best = work_folder(tmp_path / "work", line.trials[0]) / "best.pth"
    model.load_state_dict(torch.load(best, weights_only=False)["state_dict"])
    rows = next(iter(test))[0]
    with torch.no_grad():
        scores = model.eval().full_sort_predict(rows).numpy()
    found = dict(zip(range(1, 31), unpacked(record["unseen"]["none"]), strict=True))
    for who, row in zip(rows[data.uid_field].tolist(), scores, strict=True):
        order = np.argsort(time[user == who], kind="stable")
        *before, target = item[user == who][order]
        others = np.setdiff1d(np.arange(1, len(row)), before)
        assert target in others, "the data of this test have nobody take an item twice"
        assert found[who] == 1 + (row[others] > row[target]).sum()
    assert (unpacked(record["unseen"]["none"]) <= unpacked(record["ranks"]["none"])).all()


def test_the_same_run_gives_the_same_figures_also_when_it_was_paused(
    tmp_path: Path, films: Path, monkeypatch: pytest.MonkeyPatch
):
    plan = {**PLAN, "options": {**PLAN["options"], "epochs": 4}}
    for line in agenda_of(tmp_path, films, plan, ("GRU4Rec", "InstructRec")).lines:
        straight = execute(line.trials[0], Conditions(tmp_path / "a", str(films)))
        assert straight["status"] == "done", straight
        conditions = Conditions(tmp_path / "b", str(films))
        clock = [0.0]

        def ticking(clock: list[float] = clock) -> float:
            clock[0] += 1.0
            return clock[0]

        monkeypatch.setattr("recbole_instructrec.leaderboard.execute.time.time", ticking)
        conditions.until = 2.5  # the clock is read once an epoch: two epochs are trained
        with pytest.raises(Paused):
            execute(line.trials[0], conditions)
        monkeypatch.undo()
        monkeypatch.chdir(tmp_path)
        conditions.until = float("inf")
        resumed = execute(line.trials[0], conditions)
        for key in ("rows", "ranks", "valid", "epochs", "asked", "config_hash"):
            assert resumed[key] == straight[key], key
        assert [e["score"] for e in resumed["curve"]] == [e["score"] for e in straight["curve"]]
        assert list((tmp_path / "b").glob("*/*.p*")), "until the result is stored"
        clear(line.trials[0], conditions)
        assert not list((tmp_path / "b").glob("*/*.p*")), "what was needed to go on is gone"


@pytest.mark.parametrize("model", ["Pop", "ItemKNN", "GRU4Rec", "BERT4Rec", "InstructRec"])
@pytest.mark.parametrize("stopping_step", [0, 50])
def test_a_run_that_dies_after_its_last_epoch_has_the_same_figures(
    tmp_path: Path, films: Path, monkeypatch: pytest.MonkeyPatch, model: str, stopping_step: int
):
    neural = {"GRU4Rec": {"embedding_size": 8, "hidden_size": 8}, "BERT4Rec": {"hidden_size": 8, "inner_size": 8}}
    options = {**neural.get(model, {}), **({} if model == "InstructRec" else {"train_neg_sample_args": None})}
    told = {"options": OURS | {"intent_texts": 40} if model == "InstructRec" else options, "untuned": "for this test"}
    shared = {**PLAN["options"], "epochs": 12, "stopping_step": stopping_step, "learning_rate": 0.05}
    run = agenda_of(tmp_path, films, {**PLAN, "options": shared, "models": {model: told}}).lines[0].trials[0]
    straight = execute(run, Conditions(tmp_path / "a", str(films)))
    assert straight["status"] == "done", straight
    if stopping_step == 0 and model in neural:
        assert straight["epochs"] < 12, "it is to end early"

    monkeypatch.setattr("recbole_instructrec.leaderboard.execute._Execution._measure", _killed)
    with pytest.raises(KeyboardInterrupt):
        execute(run, Conditions(tmp_path / "b", str(films)))
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("recbole_instructrec.leaderboard.execute._Execution._write_progress", _killed)  # at no epoch
    resumed = execute(run, Conditions(tmp_path / "b", str(films)))
    for key in ("status", "rows", "ranks", "valid", "epochs"):
        assert resumed[key] == straight[key], key
    assert resumed["seconds"] + 0.1 > resumed["train_seconds"], "earlier executions count, too"


@pytest.mark.parametrize("model", ["GRU4Rec", "InstructRec"])
def test_a_run_begins_anew_where_what_was_kept_is_damaged(
    tmp_path: Path, films: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model: str
):
    run = agenda_of(tmp_path, films, {**PLAN, "seeds": [1]}, (model,)).lines[0].trials[0]
    straight = execute(run, Conditions(tmp_path / "straight", str(films)))
    monkeypatch.setattr("recbole_instructrec.leaderboard.execute._Execution._measure", _killed)
    with pytest.raises(KeyboardInterrupt):
        execute(run, Conditions(tmp_path / "kept", str(films)))
    monkeypatch.undo()
    state = "best.pth.resume" if model == "InstructRec" else "state.pt"
    damages: list[tuple[str, Any]] = [(state, b""), (state, None), ("best.pth", b"PK"), ("best.pth", False)]
    damages += [("progress.json", content) for content in (b"", b'{"curve": [{}]}', False)]
    for name, content in damages:
        shutil.rmtree(tmp_path / "work", ignore_errors=True)
        shutil.copytree(tmp_path / "kept", tmp_path / "work")
        file = work_folder(tmp_path / "work", run) / name
        if content is False:
            file.unlink()
        else:
            file.write_bytes(file.read_bytes()[:-100] if content is None else content)
        found = execute(run, Conditions(tmp_path / "work", str(films)))
        assert found["status"] == "done", (name, content, found)
        assert all(found[key] == straight[key] for key in ("rows", "ranks", "valid", "epochs")), (name, content)
        assert mistakes(found) == []
        assert "The run begins anew" in capsys.readouterr().err, (name, content)


def test_a_run_that_dies_while_it_writes_its_best_epoch_goes_on_from_the_one_before(
    tmp_path: Path, films: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    shared = {**PLAN["options"], "epochs": 8, "learning_rate": 0.01}
    run = agenda_of(tmp_path, films, {**PLAN, "options": shared}, ("GRU4Rec",)).lines[0].trials[0]
    straight = execute(run, Conditions(tmp_path / "straight", str(films)))
    assert straight["status"] == "done" and "commits" not in straight
    assert max(straight["curve"], key=lambda epoch: epoch["score"])["epoch"] > 0, (
        "more than one epoch is the best so far"
    )
    where, save = environment(), Trainer._save_checkpoint

    def dies(self: Trainer, epoch: int, verbose: bool = True, **kwargs: Any) -> None:
        if epoch > 0:
            Path(kwargs["saved_model_file"]).write_bytes(b"PK")
            raise KeyboardInterrupt
        save(self, epoch, verbose, **kwargs)

    monkeypatch.setattr(Trainer, "_save_checkpoint", dies)
    for commit in ("abc", "def"):
        told = {**where, "commit": commit, "dirty": False}
        monkeypatch.setattr("recbole_instructrec.leaderboard.execute.environment", lambda told=told: told)
        if commit == "abc":
            with pytest.raises(KeyboardInterrupt):
                execute(run, Conditions(tmp_path / "work", str(films)))
            monkeypatch.setattr(Trainer, "_save_checkpoint", save)
    resumed = execute(run, Conditions(tmp_path / "work", str(films)))
    assert "begins anew" not in capsys.readouterr().err and mistakes(resumed) == []
    assert all(resumed[key] == straight[key] for key in ("rows", "ranks", "valid", "epochs"))
    assert resumed["commit"] == "def" and resumed["commits"] == ["abc", "def"]


def _killed(*_: Any) -> None:
    raise KeyboardInterrupt


def test_what_cannot_be_stored_is_not_trained_again(tmp_path: Path, films: Path, capsys: pytest.CaptureFixture[str]):
    models = {"GRU4Rec": {**PLAN["models"]["GRU4Rec"], "search": None, "untuned": "for this test"}}
    plan = {**PLAN, "models": models, "seeds": [1]}
    store, conditions = Store(tmp_path / "results"), Conditions(tmp_path / "work", str(films))
    store.file("films").mkdir(parents=True)
    assert run(agenda_of(tmp_path, films, plan), store, conditions) == 2
    assert "done, but not stored" in capsys.readouterr().out
    assert "could not be written" in next((tmp_path / "work").glob("*/log.txt")).read_text()
    trained = json.loads(next((tmp_path / "work").glob("*/progress.json")).read_text())["curve"]
    store.file("films").rmdir()
    assert run(agenda_of(tmp_path, films, plan), store, conditions) == 0
    assert store.read("films")[0][0]["curve"] == trained
    assert not list((tmp_path / "work").glob("*/*.p*"))


def test_a_run_is_begun_by_one_process_alone(tmp_path: Path, films: Path):
    line = agenda_of(tmp_path, films, only=("Pop",)).lines[0]
    store, conditions = Store(tmp_path / "results"), Conditions(tmp_path / "work", str(films))
    elsewhere = Conditions(tmp_path / "other work", str(films))
    with store.claim(line.trials[0].id):
        started = LocalExecutor(store, elsewhere).start(line.trials[0])
        while not started.ended():
            time.sleep(0.1)
        assert started.outcome() == "taken" and not store.read("films")[0]
    with FileLock(work_folder(conditions.work, line.trials[0]) / "lock"), pytest.raises(Taken):
        execute(line.trials[0], conditions)


def test_a_failing_run_is_recorded_and_the_rest_goes_on(
    tmp_path: Path, films: Path, capsys: pytest.CaptureFixture[str]
):
    models = {
        "GRU4Rec": {**PLAN["models"]["GRU4Rec"], "options": {**PLAN["models"]["GRU4Rec"]["options"]}},
        "Pop": PLAN["models"]["Pop"],
    }
    models["GRU4Rec"]["options"]["learning_rate"] = 1e30  # the loss becomes nan
    store, conditions = Store(tmp_path / "results"), Conditions(tmp_path / "work", str(films))
    agenda = agenda_of(tmp_path, films, {**PLAN, "models": models, "seeds": [1]})
    assert Scheduler(agenda, store, Here(store, conditions), conditions, 2).run() == 1
    out = capsys.readouterr().out
    assert "failed" in out and "--retry-failed" in out
    by_status = [record["status"] for record in store.read("films")[0]]
    assert sorted(by_status) == ["done", "failed", "failed"]
    assert Scheduler(agenda, store, Here(store, conditions), conditions, 2).run() == 1
    assert len(store.file("films").read_text().splitlines()) == 3, "what failed is not tried again by itself"
    assert Scheduler(agenda, store, Here(store, conditions), conditions, 2).run(retry_failed=True) == 1
    assert len(store.file("films").read_text().splitlines()) == 5


def test_what_a_model_adds_to_its_configuration_makes_it_no_other_run(films: Path):
    options = {"train_neg_sample_args": None, "load_col": SMALL["load_col"]}
    config = config_of("BERT4Rec", "films", options, 7, str(films))
    before, known = hash_of(effective(config)), set(config.final_config_dict)
    data_preparation(config, create_dataset(config))
    assert set(config.final_config_dict) - known, "RecBole adds names of fields"
    assert hash_of(effective(config)) == before


def test_killed_and_started_again(tmp_path: Path, films: Path):
    plan = {**SMALL_PLAN, "options": {**SMALL_PLAN["options"], "epochs": 400, "stopping_step": 1000}}
    file = write_plan(tmp_path, plan)
    command = [
        sys.executable, "-m", "recbole_instructrec.cli", "leaderboard", "run", str(file), "--models=GRU4Rec",
        "--seeds=1", f"--data_path={films}", "--jobs=2", f"--store={tmp_path / 'results'}",
    ]  # fmt: skip
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=Path(__file__).parents[2],
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )  # fmt: skip

    def epochs() -> list[list[Any]]:
        return [json.loads(file.read_text())["curve"] for file in (tmp_path / "work").glob("*/progress.json")]

    deadline = time.time() + 120
    while time.time() < deadline and not any(len(curve) > 2 for curve in epochs()):
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert process.stdout is not None
    assert b"Traceback" not in process.stdout.read()
    before = [curve for curve in epochs() if len(curve) > 2]
    assert before, "no three epochs have ended in two minutes"
    done = subprocess.run(command, capture_output=True, cwd=Path(__file__).parents[2], check=False)
    assert done.returncode == 0, done.stdout
    records = Store(tmp_path / "results").read("films")[0]
    assert [len(record["curve"]) for record in records] == [400, 400]
    for curve in before:  # the last one may have ended without its checkpoint, and is made again
        kept = curve[:-1]
        assert any(r["curve"][: len(kept)] == kept for r in records), "epochs of before are kept, with their times"


def test_two_schedulers_share_a_plan(tmp_path: Path, films: Path):
    file = write_plan(tmp_path, SMALL_PLAN)
    command = [
        sys.executable, "-m", "recbole_instructrec.cli", "leaderboard", "run", str(file), f"--data_path={films}",
        f"--store={tmp_path / 'results'}",
    ]  # fmt: skip
    both = [subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=Path(__file__).parents[2]) for _ in range(2)]
    for process in both:
        process.wait(180)
    subprocess.run(command, stdout=subprocess.DEVNULL, cwd=Path(__file__).parents[2], check=True)
    lines = Store(tmp_path / "results").file("films").read_text().splitlines()
    ids = [json.loads(line)["id"] for line in lines]
    assert len(ids) == len(set(ids)) == 4, "no run was done twice"


@pytest.mark.slow
def test_ray_gives_the_same(tmp_path: Path, films: Path):
    pytest.importorskip("ray")
    local, spread = Store(tmp_path / "local"), Store(tmp_path / "ray")
    agenda = agenda_of(tmp_path, films, SMALL_PLAN)
    conditions = Conditions(tmp_path / "work", str(films))
    assert run(agenda, local, conditions) == 0
    conditions = Conditions(tmp_path / "ray-work", str(films))
    assert Scheduler(agenda, spread, RayExecutor(spread, conditions), conditions, 2).run() == 0
    figures = [{r["id"]: (r["rows"], r["ranks"]) for r in store.read("films")[0]} for store in (local, spread)]
    assert figures[0] == figures[1]
