"""Intervals and tests against what is known of made-up users."""

from __future__ import annotations

import numpy as np
import pytest

from recbole_instructrec.leaderboard.agenda import Line
from recbole_instructrec.leaderboard.plan import Entry
from recbole_instructrec.leaderboard.ranks import packed
from recbole_instructrec.leaderboard.runs import Run
from recbole_instructrec.leaderboard.statistics import comparable, corrected, difference, of_users, summary


def test_a_difference_and_its_interval():
    rng = np.random.default_rng(0)
    theirs = rng.random(2000)
    ours = theirs + rng.normal(0.05, 0.2, 2000)
    found = difference(ours, theirs)
    half = 1.96 * (ours - theirs).std() / np.sqrt(2000)
    assert found.mean == pytest.approx((ours - theirs).mean())
    assert found.low == pytest.approx(found.mean - half, abs=0.1 * half)
    assert found.high == pytest.approx(found.mean + half, abs=0.1 * half)
    assert (found.low > 0 or found.high < 0) and found.p < 0.001
    assert difference(ours, theirs) == found, "the same draws every time"


def test_no_difference():
    rng = np.random.default_rng(1)
    low = sum(difference(rng.normal(0, 1, 200), np.zeros(200)).p < 0.05 for _ in range(15))
    assert low <= 3  # five in a hundred are expected
    assert difference(np.ones(5), np.ones(5)) == (0.0, 0.0, 0.0, 1.0)


def test_several_comparisons():
    assert corrected([]) == []
    assert corrected([0.01, 0.02, 0.9]) == pytest.approx([0.03, 0.03, 0.9])


def record(ranks: list[int], seed: int = 1, asked: str = "x") -> dict:
    return {"seed": seed, "asked": asked, "rows": {"none": {"ndcg@10": float(np.mean(ranks))}},
            "ranks": {"none": packed(np.array(ranks))}}  # fmt: skip


def test_means_over_seeds():
    records = [record([1, 3, 20]), record([1, 20, 20])]
    assert of_users(records, "none", "recall@10").tolist() == [1.0, 0.5, 0.0]
    found = summary(records, "none", "ndcg@10")
    assert found.mean == pytest.approx((8 + 41 / 3) / 2) and found.n == 2
    assert np.isnan(summary(records[:1], "none", "ndcg@10").sd)
    assert comparable(records, [record([1], asked="x")])
    assert not comparable(records, [record([1], asked="y")])


def test_trials_are_chosen_on_validation_alone():
    def run(name: str, seed: int) -> Run:
        return Run(f"{name}{seed}", "SASRec", "SASRec", "films", {}, seed, ("none",), "", {})

    line = Line(Entry("SASRec", "SASRec", ({}, {}), (1, 2)), [run("a", 1), run("b", 1)], [[run("a", 2)], [run("b", 2)]])
    records: dict[str, dict] = {}
    assert [r.id for r in line.to_do(records)] == ["a1", "b1"] and line.left(records) == 3
    records["a1"] = {"status": "done", "valid_score": 0.1, "rows": {"none": {"ndcg@10": 0.9}}}
    assert line.best(records) is None and [r.id for r in line.to_do(records)] == ["b1"]
    records["b1"] = {"status": "done", "valid_score": 0.2, "rows": {"none": {"ndcg@10": 0.1}}}
    assert line.best(records) == 1 and [r.id for r in line.to_do(records)] == ["b2"] and line.left(records) == 1
    records["b1"] = {"status": "failed", "error": "x"}
    assert line.best(records) == 0 and [r.id for r in line.to_do(records)] == ["a2"]
    records["a1"] = {"status": "failed", "error": "x"}
    assert line.best(records) is None and line.to_do(records) == [] and line.left(records) == 0
    assert line.figures(records) == []
