"""Ctrl-C at any moment of a training command is one line, also while modules are being read."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import ROOT

# Presses Ctrl-C when a module is about to be read, and lets what comes of it be as modules have it.
PRESSING = """
import os, signal, sys

PRESS = "os.kill(os.getpid(), signal.SIGINT)"

class Pressing:
    def find_spec(self, name, *_):
        if name == os.environ["PRESS_AT"]:
            {press}

sys.meta_path.insert(0, Pressing())
"""
OF_PYTHON = "os.kill(os.getpid(), signal.SIGINT)"
OF_A_DATACLASS = "exec(PRESS)"
OF_A_NATIVE_MODULE = """
            try:
                exec(PRESS)
            except KeyboardInterrupt:
                raise ImportError("initialization failed")
"""
MOMENTS = ("typer", "services.training.data.read", "services.training.models.references.popularity")


@pytest.mark.parametrize("press", [OF_PYTHON, OF_A_DATACLASS, OF_A_NATIVE_MODULE])
@pytest.mark.parametrize("module", MOMENTS)
@pytest.mark.parametrize("command", ["train popularity", "evaluate --models popularity"])
def test_ctrl_c_while_a_module_is_read_is_one_line(
    data: Path, tmp_path: Path, command: str, module: str, press: str
) -> None:
    (tmp_path / "sitecustomize.py").write_text(PRESSING.format(press=press.strip()))
    paths = os.pathsep.join([str(tmp_path), str(ROOT)])

    done = subprocess.run(
        [sys.executable, "-m", "services.training", *command.split(), "--data", str(data)],
        env={**os.environ, "PYTHONPATH": paths, "PRESS_AT": module},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stderr) == (130, "interrupted; what was finished is kept\n")
