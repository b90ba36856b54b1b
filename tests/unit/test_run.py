"""`make test` says which part runs, and ends with what passed, failed and was left out."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.servers import ROOT

TESTS = """
import pytest

def test_right():
    pass

def test_wrong():
    raise AssertionError

@pytest.mark.parametrize("n", [1, 2])
def test_elsewhere(n):
    pytest.skip("no films here")
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a folder with a Makefile of a part that goes well, one that fails, and tests."""
    command = f"{sys.executable} -m pytest -q -p no:cacheprovider"
    (tmp_path / "Makefile").write_text(
        f"good:\n\t@echo fine\nbad:\n\t@exit 3\ntests:\n\t@{command} test_it.py\n"
    )
    (tmp_path / "test_it.py").write_text(TESTS)
    return tmp_path


def run(project: Path, *parts: str) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(
        [sys.executable, "-m", "tests.run", *parts],
        cwd=project,
        env={**environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_part_that_fails_hinders_no_other_and_is_the_end_result(project: Path) -> None:
    done = run(project, "good", "bad", "tests")

    rows = {words[0]: words[1:] for line in done.stdout.splitlines() if (words := line.split())}
    assert done.returncode == 1
    assert "== 2 of 3: bad" in done.stdout
    assert rows["good"][-1] == "ok"
    assert rows["bad"][-1] == "FAILED"
    assert rows["tests"][:3] == ["1", "1", "2"]
    assert "failed: test_it::test_wrong" in done.stdout
    assert done.stdout.endswith("left out of tests: 2, because no films here\n")


def test_a_run_that_is_ended_from_without_still_shows_its_table(project: Path) -> None:
    (project / "Makefile").write_text(
        "good:\n\t@echo fine\nlong:\n\t@echo $$PPID; exec sleep 600\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "tests.run", "good", "long", "good"],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    printed = [process.stdout.readline()]
    while "long" not in printed[-1]:
        printed.append(process.stdout.readline())
    make = int(process.stdout.readline())

    process.terminate()
    rest, _ = process.communicate(timeout=60)

    assert process.returncode == 130
    assert re.search(r"^good .* ok$", rest, re.MULTILINE)
    assert re.search(r"^long .* FAILED$", rest, re.MULTILINE)
    assert not psutil.pid_exists(make)


def test_all_well_ends_with_0(project: Path) -> None:
    done = run(project, "good")

    assert done.returncode == 0, done.stdout
    assert "FAILED" not in done.stdout


def test_make_test_runs_every_part_that_the_makefile_has() -> None:
    makefile = (ROOT / "Makefile").read_text()
    named = set(" ".join(re.findall(r"^(?:QUICK|PARTS) := (.*)", makefile, re.MULTILINE)).split())

    assert set(re.findall(r"^(test-\w+):", makefile, re.MULTILINE)) <= named
