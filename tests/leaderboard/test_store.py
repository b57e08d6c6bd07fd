"""The store: appended by many, damaged here and there, never lost."""

from __future__ import annotations

import json
import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from recbole_instructrec.leaderboard.ranks import Ranks, asked, packed, per_user, unpacked
from recbole_instructrec.leaderboard.store import Store, StoreError
from recbole_instructrec.leaderboard.verify import verify

ENDED: dict = {
    "options": {}, "config": {}, "config_hash": "", "data": {}, "asked": "",
    "valid": {"ndcg@10": 0.1}, "valid_score": 0.1,
    "rows": {"none": {"ndcg@10": 0.1}}, "ranks": {"none": ""}, "epochs": 1, "parameters": 1,
    "counts": {"users": 1, "items": 1, "interactions": 3, "tests": 1},
    "curve": [{"epoch": 0, "score": 0.1, "train_seconds": 1.0, "train_cpu_seconds": 1.0}], "seconds": 1.0,
    "versions": dict.fromkeys(("recbole", "torch", "numpy", "pandas", "scipy"), "1"),
    "processor": "", "accelerator": None, "threads": 1, "python": "", "commit": "",
    "dirty": False, "date": "",
}  # fmt: skip


def record(id: str, status: str = "done", **more) -> dict:
    known = {"id": id, "entry": "Pop", "model": "Pop", "dataset": "films", "seed": 1, "status": status}
    failed = {"options": {}, "data": {}, "rows": ["none"], "error": "why"}
    return {**known, **(ENDED if status == "done" else failed), **more}


def _append_many(folder: Path, name: str) -> None:
    store = Store(folder)
    for number in range(40):
        store.append(record(f"{name}-{number}", filling="x" * 5000))


def test_concurrent_writers_lose_nothing(tmp_path: Path):
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_append_many, args=(tmp_path, name)) for name in "abcd"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    found, damaged = Store(tmp_path).read("films")
    assert len(found) == 160 and not damaged


def test_damaged_lines_are_named_and_the_rest_counts(tmp_path: Path):
    store = Store(tmp_path)
    store.append(record("a"))
    file = store.file("films")
    with open(file, "a") as stream:
        stream.write('{"id": "b", "entry"\n' + json.dumps({"id": "c"}) + "\n[1, 2]\n" + '{"id": "d", "ent')
    before = file.read_bytes()
    store.append(record("e"))
    assert file.read_bytes().startswith(before), "nothing that stood there is changed"
    found, damaged = store.read("films")
    assert [one["id"] for one in found] == ["a", "e"]
    assert [one.line for one in damaged] == [2, 3, 4, 5]
    assert "entry, model, dataset, seed, status missing" in damaged[1].why


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ({**record("b"), "rows": {}}, "rows without figures"),
        ({**record("b"), "rows": {"none": {"ndcg@10": "x"}}}, "rows without figures"),
        ({key: value for key, value in record("b").items() if key not in ("rows", "counts")}, "rows, counts missing"),
        ({**record("b"), "counts": {"users": 1}}, "counts without interactions, items, tests"),
        ({**record("b"), "versions": {}}, "versions without numpy, pandas, recbole, scipy, torch"),
        ({**record("b"), "curve": []}, "curve without figures"),
        ({**record("b"), "curve": [{"score": 0.1}]}, "curve without train_cpu_seconds, train_seconds"),
        (
            {**record("b"), "rows": {"none": {"ndcg@10": 0.1}, "history": {"mrr@10": 0.1}}},
            "rows with different metrics",
        ),
        ({**record("b"), "valid": {"ndcg@10": "x"}}, "rows without figures"),
        ({**record("b"), "processor": []}, "processor of another kind"),
        ({**record("b", "failed"), "data": 5}, "data of another kind"),
        ({key: value for key, value in record("b", "failed").items() if key != "error"}, "error missing"),
        ({**record("b"), "id": ["b"]}, "id of another kind"),
        ({**record("b"), "valid_score": None}, "valid_score of another kind"),
        (record("b", "perhaps"), "status 'perhaps' is neither done nor failed"),
        ([1, 2], "no JSON object"),
        ("[" * 100_000, "recursion"),
    ],
)
def test_a_line_that_lacks_something_is_left_aside(tmp_path: Path, line, why: str):
    store = Store(tmp_path)
    store.append(record("a"))
    with open(store.file("films"), "a") as stream:
        stream.write((line if isinstance(line, str) else json.dumps(line)) + "\n")
    found, damaged = store.read("films")
    assert [one["id"] for one in found] == ["a"]
    assert [one.line for one in damaged] == [2] and why in damaged[0].why
    assert verify(store) == 1


def test_a_run_that_ended_twice_in_different_ways(tmp_path: Path):
    store = Store(tmp_path)
    for ranks in ("x", "x", "y"):
        store.append(record("a" if ranks == "x" else "b", ranks={"none": ranks}))
    assert not store.contradictions("films")
    store.append(record("a", ranks={"none": "z"}))
    assert store.contradictions("films") == ["a"]


def test_the_newest_of_a_run_counts_unless_it_failed(tmp_path: Path):
    store = Store(tmp_path)
    for one in (
        record("a", "failed"),
        record("a", n=1),
        record("a", n=2),
        record("a", "failed"),
        record("b", "failed"),
    ):
        store.append(one)
    found = {one["id"]: one for one in store.read("films")[0]}
    assert found["a"]["status"] == "done" and found["a"]["n"] == 2
    assert found["b"]["status"] == "failed"


def test_a_disk_that_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    store = Store(tmp_path)
    store.append(record("a"))
    before = store.file("films").read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StoreError, match=r"No space left.*unharmed"):
        store.append(record("b"))
    assert store.file("films").read_bytes() == before


def test_what_a_full_disk_took_of_a_line_is_cut_off(tmp_path: Path):
    resource = pytest.importorskip("resource")
    store = Store(tmp_path)
    store.append(record("a"))
    before = store.file("films").read_bytes()

    def fill() -> None:
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # writing fails instead
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 500, len(before) + 500))
        try:
            store.append(record("b", filling="x" * 1000))
        except StoreError:
            os._exit(7)

    process = multiprocessing.get_context("fork").Process(target=fill)
    process.start()
    process.join()
    assert process.exitcode == 7
    assert store.file("films").read_bytes() == before


def test_ranks_agree_with_topk_where_scores_are_equal():
    torch.manual_seed(0)
    scores = torch.randint(0, 4, (50, 30)).float()  # many equal scores
    target = torch.randint(0, 30, (50,))
    found = Ranks()
    for begin in (0, 25):
        rows = slice(begin, begin + 25)
        found.add(scores[rows], torch.arange(50)[rows].flip(0), torch.arange(25), target[rows], 5)
    rank, user, items = found.sorted()
    assert (np.diff(user) >= 0).all()
    order = np.concatenate([np.arange(25)[::-1], np.arange(25, 50)[::-1]])
    top = torch.topk(scores, 5).indices
    for place, row in enumerate(order):
        assert items[place] == target[row]
        listed = top[row].tolist()
        if int(target[row]) in listed:
            assert rank[place] == listed.index(int(target[row])) + 1
        else:
            assert rank[place] == max(6, int((scores[row] > scores[row, target[row]]).sum()) + 1)


def test_ranks_are_packed_and_damage_is_noticed():
    rank = np.random.default_rng(0).integers(1, 100_000, 500)
    text = packed(rank)
    assert (unpacked(text) == rank).all()
    with pytest.raises(ValueError, match="damaged"):
        unpacked(text[:-9])
    assert asked(["a", "b"], ["x", "y"]) != asked(["b", "a"], ["x", "y"])


def test_metrics_of_one_target():
    rank = np.array([1, 2, 10, 11])
    assert per_user(rank, "recall@10").tolist() == [1, 1, 1, 0]
    assert per_user(rank, "mrr@10").tolist() == [1, 0.5, 0.1, 0]
    assert per_user(rank, "NDCG@10") == pytest.approx([1, 1 / np.log2(3), 1 / np.log2(11), 0])
    assert per_user(rank, "precision@10").tolist() == pytest.approx([0.1, 0.1, 0.1, 0])
    assert per_user(rank, "map@10").tolist() == per_user(rank, "mrr@10").tolist()
    with pytest.raises(ValueError, match="cannot be computed"):
        per_user(rank, "gauc@1")
