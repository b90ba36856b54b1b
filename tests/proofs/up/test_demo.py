"""The demo as a newcomer starts it: it ends well, says its figures, and stays small."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from playwright.async_api import async_playwright

from services.cli.demo import catalogue
from tests.servers import ROOT

pytestmark = [pytest.mark.proof, pytest.mark.timeout(600)]

FILLED_WITHIN_MS = 120_000  # of a machine that is busy with other tests
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


async def test_the_page_is_there_right_when_the_demo_says_that_it_is_ready(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    record_testsuite_property: Callable[[str, object], None],
) -> None:
    """The browser runs by then; what it takes from there on is printed."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed")
    command = [sys.executable, "-m", "services.cli", "demo", "--data", str(tmp_path)]
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = await browser.new_page()
        demo = await asyncio.create_subprocess_exec(
            *command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=ROOT, env=environ
        )
        try:
            address = await _address_once_ready(demo)
            began = time.monotonic()
            await page.goto(address)
            await page.locator("main h1").first.wait_for()
            shown_s = time.monotonic() - began
            # The shop opens meanwhile; the page fills by itself.
            await page.locator(".card:not(.ghost) img").first.wait_for(timeout=FILLED_WITHIN_MS)
            filled_s = time.monotonic() - began
        finally:
            demo.send_signal(signal.SIGINT)
            await demo.communicate()
            await browser.close()
    for name, value in (("page_shown_s", shown_s), ("page_filled_s", filled_s)):
        record_testsuite_property(name, round(value, 2))
    with capsys.disabled():
        sys.stdout.write(f"\nshown {shown_s:.2f} s after ready, its first list {filled_s:.2f} s\n")


async def _address_once_ready(demo: asyncio.subprocess.Process) -> str:
    """Read what the demo prints up to the line that says so; returns where the page is."""
    assert demo.stdout is not None
    printed = ""
    while "ready after" not in printed:
        line = (await demo.stdout.readline()).decode()
        assert line, printed
        printed += line
    found = re.search(r"http://[\d.]+:\d+/console", printed)
    assert found is not None, printed
    return found[0]


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
