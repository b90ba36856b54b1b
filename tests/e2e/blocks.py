"""Run a page's blocks as its readers do: as a program, or in a shell with `freshet` on PATH."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

from tests.servers import ROOT


def run_python(text: str, folder: Path) -> str:
    """Run a block as a program of its own; returns what it printed."""
    program = folder / "block.py"
    program.write_text(text)
    done = subprocess.run(
        [sys.executable, "-W", "error", str(program)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_shell(text: str, folder: Path, data: Path | None = None, **programs: list[str]) -> str:
    """Run a block in a shell where `freshet`, for the system on `data`, and these programs are on
    PATH; returns what it printed."""
    freshet = [sys.executable, "-m", "services.cli"]
    for name, command in {"freshet": freshet, **programs}.items():
        shim = folder / name.replace("_", "-").replace("-sh", ".sh")
        shim.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
        shim.chmod(0o755)
    activate = folder / ".venv" / "bin" / "activate"
    activate.parent.mkdir(parents=True, exist_ok=True)
    activate.touch()
    environ = {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        env={**os.environ, **environ, "FRESHET_DATA": str(data or folder)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
