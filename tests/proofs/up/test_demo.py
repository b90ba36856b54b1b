"""The demo from an empty folder to its last line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from services.cli.demo import catalogue
from tests.servers import ROOT

pytestmark = [pytest.mark.proof, pytest.mark.timeout(600)]


def test_the_demo_walks_through_the_shop_and_ends_with_its_figures(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "services.cli", "demo", "--once", "--data", str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert set(figures) == {
        "click_to_change_ms",
        "item_to_recommended_ms",
        "recommend_p50_ms",
        "recommend_p99_ms",
        "items",
        "events",
    }
    assert figures["items"] == catalogue.COUNT >= 600
    assert all(value > 0 for value in figures.values())
    assert not (tmp_path / "demo" / "run.json").exists()
