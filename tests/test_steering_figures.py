"""The figures of steering on scores small enough to count by hand, and the benchmark on catalogues of two kinds."""

from __future__ import annotations

import math

import numpy as np
import pytest

from recbole_instructrec.data.instructions.wish import Wish
from recbole_instructrec.steering import measures
from recbole_instructrec.steering.axes import FILTER, MODEL, PLAIN
from recbole_instructrec.steering.rankers import Bm25, Fixed, Fused, HardFilter, PerfectReader
from recbole_instructrec.steering.requests import Requests
from recbole_instructrec.steering.run import measure
from tests.support import build_all, make_config, small_items, write_dataset

SCORES = np.array([[-np.inf, 0.1, 0.9, 0.5, 0.5], [-np.inf, 4.0, 3.0, 2.0, 1.0]])

# Item 1 has attribute 0, item 2 has 1, item 3 both, item 4 none.
HAS = np.array([[0, 0], [1, 0], [0, 1], [1, 1], [0, 0]], dtype=bool)


def asking(*wishes: Wish, texts: list[str] | None = None) -> Requests:
    return Requests(np.arange(len(wishes)), texts or [""] * len(wishes), list(wishes))


def test_lists_ranks_and_gains():
    assert measures.top(SCORES, 3).tolist() == [[2, 3, 4], [1, 2, 3]]
    assert measures.top(np.zeros((1, 50)), 3).tolist() == [[0, 1, 2]]
    assert measures.top(SCORES, 9).tolist() == [[2, 3, 4, 1, 0], [1, 2, 3, 4, 0]]
    assert measures.rank_of(SCORES, np.array([3, 4])).tolist() == [2.5, 4.0]  # a tie counts half
    assert measures.ndcg(np.array([1.0, 3.0, 11.0]), 10).tolist() == [1.0, 0.5, 0.0]


def test_shares():
    lists = np.array([[1, 2], [3, 4]])
    assert measures.share(lists, np.array([0, 1]), HAS).tolist() == [0.5, 0.5]
    wishes = [Wish(want=(0,)), Wish(want=(0, 1), avoid=())]
    assert measures.satisfied(lists, wishes, HAS).tolist() == [0.5, 0.5]
    assert measures.satisfied(lists, [Wish(want=(0,), avoid=(1,)), Wish(avoid=(0,))], HAS).tolist() == [0.5, 0.5]


def test_means_have_standard_errors():
    found = measures.mean(np.array([0.0, 1.0]))
    assert (found["value"], found["n"]) == (0.5, 2)
    assert math.isclose(found["error"], 0.5)


def test_oracles_know_what_was_asked():
    plain = Fixed(SCORES)
    filtered = HardFilter(plain, HAS)(asking(Wish(want=(0,)), Wish(want=(0,), avoid=(1,))))
    assert np.isfinite(filtered).tolist() == [[False, True, False, True, False], [False, True, False, False, False]]
    told = PerfectReader(plain, HAS, 2)(asking(Wish(want=(0,)), Wish(want=(1,))))
    assert told[0, 1] == pytest.approx(0.1) and told[0, 3] == pytest.approx(0.5 - math.log(2))
    assert np.isneginf(told[:, 4]).all()


def test_fusion_does_not_rank_what_is_alike_by_its_number():
    nothing, plain = Fixed(np.where(np.isinf(SCORES), SCORES, 0.0)), Fixed(SCORES)
    fused = Fused(nothing, plain)(asking(Wish(), Wish()))
    assert measures.top(fused, 4)[1].tolist() == [1, 2, 3, 4]
    assert fused[0, 3] == fused[0, 4] and np.isneginf(fused[:, 0]).all()


def test_words_are_matched():
    pytest.importorskip("bm25s", reason="the extra steer is not installed")
    texts = ["", "the lighthouse keeper", "silent circus", "a river", "a letter"]
    found = Bm25(texts)(asking(Wish(), Wish(), texts=["something about a circus", "!!"]))
    assert found[0].argmax() == 2 and (found[1, 1:] == 0).all()
    assert (Bm25(["", "恐"])(asking(Wish(), texts=["恐怖"]))[:, 1:] == 0).all()
    assert Bm25(texts)(asking()).shape == (0, 5)


@pytest.mark.parametrize("genres", ["several", "one"])
def test_all_axes_of_a_catalogue(tmp_path, genres):
    pytest.importorskip("bm25s", reason="the extra steer is not installed")
    items = [(item, title, genre if genres == "several" else genre.split()[0]) for item, title, genre in small_items()]
    folder = write_dataset(tmp_path, "films", None, items)
    model, _, _, _, test = build_all(make_config(folder, item_text_fields=["title", "genre"]))
    lines, rankers = measure(model, test._dataset, 0, 2020, lambda axis: None)
    found = {(line.axis, line.wording, line.measure): line.values for line in lines}
    assert set(rankers) >= {MODEL, PLAIN, FILTER, "BM25"}
    share = found["ask for an attribute", "held out", "share in the top 10"]
    left = found["avoid an attribute", "held out", "share left in the top 10"]
    assert left[FILTER]["value"] < left[PLAIN]["value"] and share[FILTER]["value"] > share[PLAIN]["value"]
    assert all(0 <= value["value"] <= 1 for values in found.values() for value in values.values())
    several = [axis for axis, *_ in found if axis.startswith("two wishes")]
    assert bool(several) == (genres == "several")
    empty = found["control", "an empty request", "NDCG@10 of the target"]
    assert empty[MODEL]["value"] == pytest.approx(empty[PLAIN]["value"])
