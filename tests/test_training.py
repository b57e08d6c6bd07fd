"""A real, short training on ml-100k with the real encoder: the whole path from data to printed result."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
ROW = re.compile(r"^(none|history|intent|shuffled) +([\d. ]+)", re.M)


def test_readme_command_learns_on_ml_100k(tmp_path):
    """Four epochs are enough to pass what SASRec reaches at its best, and instructions already steer."""
    done = subprocess.run(
        [
            sys.executable,
            str(ROOT / "run_recbole.py"),
            "--model=InstructRec",
            "--dataset=ml-100k",
            "--epochs=4",
            "--lr_decay=none",
            "--show_progress=False",
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-3000:]
    head = re.search(r"evaluation rows.*\n(.*)the model is told", said)
    assert head is not None, said[-3000:]
    column = head[1].split().index("ndcg@10")
    rows = {name: float(values.split()[column]) for name, values in ROW.findall(said)}
    assert set(rows) == {"none", "history", "intent", "shuffled"}
    assert rows["none"] > 0.08
    assert rows["intent"] > 2 * rows["none"]
    assert rows["shuffled"] < rows["none"]
