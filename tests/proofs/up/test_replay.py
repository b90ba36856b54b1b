"""`freshet replay` runs a system of its own, from a folder to figures, and publishes half-way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.bundles import make_bundle
from tests.servers import ROOT

pytestmark = [pytest.mark.proof, pytest.mark.timeout(600)]

MOVIES, USERS, EVENTS = 30, 8, 120


def small_movielens(folder: Path) -> Path:
    """Write a MovieLens folder of users who mostly stay with a genre."""
    folder.mkdir()
    rng = np.random.default_rng(5)
    genres = ("Comedy", "Crime", "Western")
    titles = [f"{n}::{genres[n % 3]} number {n} (1995)::{genres[n % 3]}" for n in range(MOVIES)]
    (folder / "movies.dat").write_text("\n".join(titles) + "\n")
    lines, seen = list[str](), set[tuple[int, int]]()
    while len(lines) < EVENTS:
        user = int(rng.integers(USERS))
        movie = int(rng.integers(MOVIES // 3)) * 3 + (user + int(rng.random() < 0.2)) % 3
        if (user, movie) not in seen:
            seen.add((user, movie))
            lines.append(
                f"{user}::{movie}::{rng.integers(3, 6)}::{978_000_000 + 3600 * len(lines)}"
            )
    (folder / "ratings.dat").write_text("\n".join(lines) + "\n")
    return folder


def test_a_replay_asks_scores_and_goes_over_to_a_bundle_when_half_is_told(tmp_path: Path) -> None:
    data, file = small_movielens(tmp_path / "small"), tmp_path / "figures.json"
    bundle = make_bundle(tmp_path / "bundle", "turned-1", evaluation={})
    command = [sys.executable, "-m", "services.cli", "replay", "--data", str(data)]
    command += ["--every", "2", "--bundle", str(bundle), "--json", str(file)]
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "FRESHET_DATA": str(tmp_path / "run")}

    done = subprocess.run(
        command, env=environ, cwd=ROOT, capture_output=True, text=True, timeout=500, check=False
    )

    assert done.returncode == 0, done.stderr
    figures = json.loads(file.read_text())
    assert {name: figures[name] for name in ("data", "mode", "seed", "events")} == {
        "data": "small",
        "mode": "online",
        "seed": 0,
        "events": EVENTS,
    }
    lists = figures["lists"]
    assert set(lists) == {"day-zero", "co-visits", "turned-1"}
    assert lists["day-zero"]["asked"] + lists["turned-1"]["asked"] == EVENTS // 2
    assert lists["co-visits"]["asked"] == EVENTS // 2
    assert [part["events"] for part in lists["day-zero"]["over_time"]] == [12, 24, 36, 48, 60]
    assert lists["day-zero"]["hr@10"] > 0.2
    assert "turned-1" in done.stdout
    assert "3-4 events known" in done.stdout


def test_a_replay_does_not_touch_servers_that_somebody_names(tmp_path: Path) -> None:
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "REDIS_URL": "redis://127.0.0.1:1/0"}
    command = [sys.executable, "-m", "services.cli", "replay", "--data", str(tmp_path)]
    done = subprocess.run(
        command, env=environ, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "REDIS_URL must not be set" in done.stderr
