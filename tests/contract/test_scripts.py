"""The scripts around the code: an installation says its steps, CI runs what a newcomer runs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.servers import ROOT

PYTHON = """\
#!/bin/sh
# `-m venv FOLDER` makes an environment of this very program; all else goes well and does nothing
[ "$2" != venv ] || { mkdir -p "$3/bin" && cp "$0" "$3/bin/python"; }
"""
MAKE = (
    '#!/bin/sh\necho "$(pwd) runs make $*, shared=$FRESHET_TEST_SHARED, home=${KAFKA_HOME-unset}"\n'
)


def program(path: Path, text: str) -> Path:
    """Write a program that can be run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def run(*command: str | Path, **environ: str) -> str:
    done = subprocess.run(
        command, env={**os.environ, **environ}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("name", "venv"),
    [("cli", ".venv"), ("test", ".venv")]
    + [("training", ".venv-training"), ("test-training", ".venv-training")],
)
def test_an_installation_says_each_step_with_its_seconds(
    name: str, venv: str, tmp_path: Path
) -> None:
    locks = tmp_path / "deploy" / "locks"
    locks.mkdir(parents=True)
    shutil.copy(ROOT / "deploy" / "locks" / "install", locks)
    (locks / f"{name}.txt").write_text("one==1.0\ntwo==2.0\n")
    python = program(tmp_path / "python", PYTHON)

    printed = run(locks / "install", name, PYTHON=str(python)).splitlines()

    assert len(printed) == 3
    assert all(re.search(r"\.\.\. \d+ s$", line) for line in printed)
    assert f"making {venv} " in printed[0]
    assert f"2 packages of deploy/locks/{name}.txt" in printed[1]


def test_ci_runs_make_test_in_a_clone_with_nothing_beside_it(tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    for name in ("g++", "redis-server", "buildah", "debootstrap", "apt-get", "sudo"):
        program(programs / name, "#!/bin/sh\n")
    program(programs / "make", MAKE)
    shared = tmp_path / "tools and data"
    shared.mkdir()

    printed = run(
        ROOT / ".ci" / "run",
        PATH=f"{programs}{os.pathsep}{os.environ['PATH']}",
        FRESHET_TEST_SHARED=str(shared),
        KAFKA_HOME=str(tmp_path),
    )

    ran = re.search(r"^(/.+) runs make test, shared=(.+), home=unset$", printed, re.MULTILINE)
    assert ran, printed
    assert not Path(ran[1]).is_relative_to(ROOT)
    assert ran[2] == str(shared)
    assert not Path(ran[1]).exists()  # it leaves nothing behind


@pytest.mark.parametrize("place", ["Makefile", ".ci/run", "tests/conftest.py", "tests/servers.py"])
def test_no_jars_or_java_beside_the_project_are_used(place: str) -> None:
    text = (ROOT / place).read_text()

    assert not re.search(r"kafka/libs|\"kafka\" /|KAFKA_HOME=|\bjre\b|JAVA_HOME", text)
