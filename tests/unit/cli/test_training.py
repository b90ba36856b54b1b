"""Training commands run where PyTorch is, with the terminal and the exit code of `freshet`."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from services.cli.training import python_of
from tests.servers import ROOT


def with_own_python(checkout: Path) -> Path:
    python = checkout / ".venv-training" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    return python


def test_a_named_interpreter_trains(tmp_path: Path) -> None:
    with_own_python(tmp_path)
    assert python_of({"FRESHET_TRAINING_PYTHON": "/a/python"}, tmp_path) == "/a/python"


def test_else_the_present_one_where_it_has_pytorch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_own_python(tmp_path)
    monkeypatch.setattr("services.cli.training.find_spec", lambda name: find_spec("sys"))
    assert python_of({}, tmp_path) == sys.executable


def test_else_that_of_the_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.cli.training.find_spec", lambda name: None)
    assert python_of({}, tmp_path) == sys.executable  # some models need none
    own = with_own_python(tmp_path)
    assert python_of({}, tmp_path) == str(own)


def freshet(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "FRESHET_TRAINING_PYTHON": sys.executable}
    return subprocess.run(
        [sys.executable, "-m", "services.cli", *arguments],
        cwd=folder,
        env={**environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_options_and_help_are_those_of_the_training_command(tmp_path: Path) -> None:
    helped = freshet("evaluate", "--help", folder=tmp_path)
    assert helped.returncode == 0
    assert "Usage: freshet evaluate" in helped.stdout
    assert "--split" in helped.stdout


def test_a_failure_is_told_as_any_of_the_command(tmp_path: Path) -> None:
    failed = freshet("evaluate", "--data", ".", "--models", "popularity", folder=tmp_path)
    assert failed.returncode == 1
    assert failed.stderr.startswith("freshet: .: must hold ")
