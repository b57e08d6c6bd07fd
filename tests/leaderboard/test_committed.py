"""The committed tables are what the committed results say, and the results are what their ranks say."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from recbole_instructrec.leaderboard.overview import BEGIN, PAGES
from recbole_instructrec.leaderboard.report import write
from recbole_instructrec.leaderboard.store import Store
from recbole_instructrec.leaderboard.verify import verify

ROOT = Path(__file__).parents[2]
STORE = Store(ROOT / "leaderboard" / "results")


def test_tables_are_made_from_the_results(tmp_path: Path):
    pytest.importorskip("matplotlib")
    for name in PAGES:
        shutil.copy(ROOT / name, tmp_path / name)
    made = write(sorted((ROOT / "leaderboard" / "plans").glob("*.yaml")), STORE, tmp_path)
    pages = [file for file in made if file.suffix == ".md"]
    assert {file.name for file in pages} >= {"LEADERBOARD.md", "ml-100k.md", *PAGES}
    for file in pages:
        committed = ROOT / file.relative_to(tmp_path)
        told = "instructrec leaderboard report"
        assert file.read_text(encoding="utf-8") == committed.read_text(encoding="utf-8"), f"{committed}: {told}"
    for file in made:
        assert (ROOT / file.relative_to(tmp_path)).is_file()


def test_metrics_are_those_of_the_ranks(capsys: pytest.CaptureFixture[str]):
    assert verify(STORE) == 0, capsys.readouterr().out


def test_the_readme_opens_with_the_table():
    for name in PAGES:
        assert (ROOT / name).read_text(encoding="utf-8").index(BEGIN) < 3000
