"""The figures of steering on scores small enough to count by hand, and the benchmark on catalogues of two kinds."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from recbole_instructrec.data.instructions.wish import Wish
from recbole_instructrec.data.instructions.words import Templates
from recbole_instructrec.steering import measures
from recbole_instructrec.steering.axes import BOUND, FILTER, MODEL, PLAIN, Steering
from recbole_instructrec.steering.rankers import Bm25, Fixed, Fused, HardFilter, PerfectReader
from recbole_instructrec.steering.requests import RequestMaker, Requests
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


def test_errors_are_those_of_wordings_where_these_differ():
    values, wording = np.array([1.0, 1.0, 0.0, 0.0]), np.array([7, 7, 3, 3])
    # Two clusters, residuals +-1 in sum: sqrt(2 / 1 * (1 + 1)) / 4.
    assert measures.mean(values, wording)["error"] == pytest.approx(0.5)
    assert measures.mean(values)["error"] == pytest.approx(np.sqrt(1 / 12))
    assert measures.mean(values, np.array([0, 1, 0, 1]))["error"] == pytest.approx(np.sqrt(1 / 12))
    assert measures.mean(values, np.zeros(4))["error"] == pytest.approx(np.sqrt(1 / 12))  # nothing to tell it by


def test_oracles_know_what_was_asked():
    plain = Fixed(SCORES)
    filtered = HardFilter(plain, HAS)(asking(Wish(want=(0,)), Wish(want=(0,), avoid=(1,))))
    assert np.isfinite(filtered).tolist() == [[False, True, False, True, False], [False, True, False, False, False]]
    told = PerfectReader(plain, HAS, 2)(asking(Wish(want=(0,)), Wish(want=(1,))))
    assert told[0, 1] == pytest.approx(0.1) and told[0, 3] == pytest.approx(0.5 - math.log(2))
    assert np.isneginf(told[:, 4]).all()


def test_another_users_request_is_never_ones_own():
    has = np.eye(3, dtype=bool)
    attributes = SimpleNamespace(names=list("abc"), n_main=3, matrix=csr_matrix(has.astype(np.float32)))
    for user in ([5, 5, 7, 7, 7, 2], [1, 2, 3, 4], [4, 4, 4, 9], [6, 6], [6], []):
        user = np.array(user, dtype=int)
        maker = RequestMaker(attributes, np.zeros(len(user), dtype=int), 2020, user)
        own = Requests(np.arange(len(user)), [f"of {u}" for u in user], [Wish()] * len(user))
        other = maker.of_another_user(own)
        assert all(text != f"of {user[row]}" for text, row in zip(other.texts, other.rows, strict=True))
        most = max(user.tolist().count(u) for u in user) if len(user) else 0
        assert len(other) == (len(user) if 2 * most <= len(user) else 2 * (len(user) - most))


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
    whole = [values for (_, _, name), values in found.items() if "above" not in name]
    assert all(0 <= value["value"] <= 1 for values in whole for value in values.values())
    several = [axis for axis, *_ in found if axis.startswith("two wishes")]
    assert bool(several) == (genres == "several")
    empty = found["control", "an empty request", "NDCG@10 of the target"]
    assert empty[MODEL]["value"] == pytest.approx(empty[PLAIN]["value"])


def figures_of(told: str) -> dict[tuple[str, str, str], dict[str, float]]:
    """Figures of a model that does what it is told without error, that does nothing of it, or the opposite."""
    rng = np.random.default_rng(7)
    names = ["Comedy", "Drama", "Horror", "Western"]
    has = rng.random((60, len(names))) < 0.3
    has[0], has[1:5] = False, np.eye(len(names), dtype=bool)
    attributes = SimpleNamespace(names=names, n_main=len(names), matrix=csr_matrix(has.astype(np.float32)))
    maker = RequestMaker(attributes, rng.integers(1, 60, 80), 2020)
    scores = rng.normal(size=(80, 60))
    scores[:, 0] = -np.inf
    plain = Fixed(scores)
    model = {"follows": HardFilter(plain, has), "ignores": plain, "opposes": HardFilter(plain, ~has)}[told]
    rankers = {MODEL: model, PLAIN: plain, FILTER: HardFilter(plain, has), BOUND: PerfectReader(plain, has, len(names))}
    lines = Steering(rankers, maker, {"en": Templates(["en"])}).run()
    return {
        (line.axis, line.wording, line.measure): {name: found["value"] for name, found in line.values.items()}
        for line in lines
    }


def test_who_follows_who_ignores_and_who_opposes_are_told_apart():
    share, left, gain = "share in the top 10", "share left in the top 10", "NDCG@10 of the target"
    ask, avoid = ("ask for an attribute", "held out"), ("avoid an attribute", "held out")
    follows, ignores, opposes = map(figures_of, ("follows", "ignores", "opposes"))
    assert follows[*ask, share][MODEL] == 1.0 and follows[*avoid, left][MODEL] == 0.0
    assert follows[*ask, gain][MODEL] == follows[*ask, gain][FILTER] > ignores[*ask, gain][MODEL] > 0
    assert ignores[*ask, share][MODEL] == ignores[*ask, share][PLAIN] < 0.6
    assert opposes[*ask, share][MODEL] == 0.0 and opposes[*avoid, left][MODEL] == 1.0
    fits = ("a wish with an exception", "held out", "share of the top 10 that fits in full")
    assert follows[fits][MODEL] == 1.0 > ignores[fits][MODEL] and opposes[fits][MODEL] == 0.0
    hit = ("ask, then avoid", "held out", "hit in 10 when asked and none when avoided")
    assert follows[hit][MODEL] > 0 and ignores[hit][MODEL] == opposes[hit][MODEL] == 0.0
    steps = [("degree", "held out", f"{share}, told: {said}") for said in ("nothing", "a bit more", "more", "only")]
    assert [follows[step][MODEL] for step in steps[1:]] == [1.0] * 3 and follows[steps[0]][MODEL] < 0.6
    kept = ("behaviour kept", "held out", "NDCG@10 among the items that have the attribute")
    assert follows[kept][MODEL] == follows[kept][PLAIN] > 0
    other = ("control", "another user's request", gain)
    assert follows[other][MODEL] < follows[*ask, gain][MODEL] and ignores[other][MODEL] == ignores[other][PLAIN]
