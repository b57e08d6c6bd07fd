"""Orders of equal times, drawn at random."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from benchmarks.tie_order import shuffled, stretches, write


def interactions() -> pd.DataFrame:
    item = [5, 6, 9, 2, 4, 7, 8, 3, 10, 11, 1, 2]
    user = ["a"] * 7 + ["b"] * 5
    return pd.DataFrame({"user": user, "item": [str(i) for i in item], "time": [*range(7), *range(5)]})


def test_only_the_order_within_a_stretch_changes():
    inter = interactions()
    assert stretches(inter).tolist() == [1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 4, 4]
    found = shuffled(inter.sample(frac=1, random_state=0), 3)
    assert found["user"].tolist() == inter["user"].tolist() and found["time"].tolist() == inter["time"].tolist()
    for number in range(1, 5):
        there = stretches(inter) == number
        assert set(found["item"][there.tolist()]) == set(inter["item"][there])
    assert found["item"].tolist() != inter["item"].tolist()
    assert shuffled(inter, 3)["item"].tolist() == found["item"].tolist() != shuffled(inter, 4)["item"].tolist()


def test_a_data_set_is_written_in_another_order(tmp_path: Path):
    source = tmp_path / "bands"
    source.mkdir()
    head = "user_id:token\titem_id:token\ttimestamp:float\n"
    (source / "bands.inter").write_text(head + interactions().to_csv(sep="\t", index=False, header=False))
    (source / "bands.item").write_text("item_id:token\n1\n")
    told = write(source, tmp_path / "other", 3)
    assert told == {"ascending": 0.8, "of_a_stretch": 3.0}
    text = (tmp_path / "other" / "bands" / "bands.inter").read_text()
    assert text.startswith(head) and len(text.splitlines()) == 13
    assert (tmp_path / "other" / "bands" / "bands.item").read_text() == "item_id:token\n1\n"
