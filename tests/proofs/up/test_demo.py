"""The demo as a newcomer starts it: it ends well, says its figures, and stays small."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from services.cli.demo import catalogue
from tests.servers import ROOT

pytestmark = [pytest.mark.proof, pytest.mark.timeout(600)]

MEMORY_AT_MOST_BYTES = 2 * 1024**3
FIGURES = {
    "click_to_change_ms",
    "item_to_recommended_ms",
    "recommend_p50_ms",
    "recommend_p99_ms",
    "items",
    "events",
    "trained_hr_at_10",
    "trained_ndcg_at_10",
    "day_zero_hr_at_10",
    "day_zero_ndcg_at_10",
}
STEPS = (
    *("A newcomer's list", "Three clicks", "A never-seen item", "A delete"),
    "What training adds",
)


def _memory_bytes(process: psutil.Process) -> int:
    """Return what a process and all below it take, shared pages counted once each."""
    total = 0
    for each in (process, *process.children(recursive=True)):
        try:
            total += each.memory_full_info().pss
        except psutil.NoSuchProcess:
            continue
    return total


def test_demo_once_walks_through_and_prints_its_figures(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "services.cli", "demo", "--once", "--data", str(tmp_path)]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    demo = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT, env=environ
    )
    family, ended, peaks = psutil.Process(demo.pid), threading.Event(), [0]

    def watch() -> None:
        while not ended.wait(1.0):
            peaks.append(_memory_bytes(family))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        printed, _ = demo.communicate(timeout=580)
    finally:
        ended.set()
        watcher.join()
        demo.kill()

    assert demo.returncode == 0, printed
    figures = json.loads(printed.splitlines()[-1])
    assert set(figures) == FIGURES
    assert all(value > 0 for value in figures.values())
    assert figures["items"] == catalogue.COUNT
    assert not (tmp_path / "demo" / "run.json").exists()
    for figure in ("hr_at_10", "ndcg_at_10"):
        assert figures[f"trained_{figure}"] > figures[f"day_zero_{figure}"]
    assert all(step in printed for step in STEPS)
    assert 0 < max(peaks) < MEMORY_AT_MOST_BYTES
