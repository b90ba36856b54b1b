"""Small programs in a process of their own: what they import, and what they leave behind."""

from __future__ import annotations

import subprocess
import sys
import textwrap

from tests.servers import ROOT


def run(program: str) -> str:
    """Run a program that warns of everything; returns what it printed. Fails if it complains."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout
