"""A full disk, or a SIGKILL at any instant of saving, keeps the snapshot before."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from shared.catalogue import snapshots
from tests.servers import ROOT
from tests.unit.embedding.snapshots.snapshot_kit import DIM, NOW, SPACE, write

pytestmark = pytest.mark.proof

LIMITED = """
import resource, sys
from tests.unit.embedding.snapshots.snapshot_kit import NOW, write

resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
write(sys.argv[1], NOW + 1, count=3000)
"""

WRITER = """
import sys
from tests.unit.embedding.snapshots.snapshot_kit import NOW, write

for number in range(1, 1_000_000):
    write(sys.argv[1], NOW + int(sys.argv[2]) + number, count=400)
    print("written", flush=True)
"""


def run(script: str, *arguments: object) -> list[str]:
    return [sys.executable, "-c", script, *map(str, arguments)]


ENVIRON = {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.mark.parametrize("limit_bytes", [20_000, 150_000, 400_000])
def test_full_disk_keeps_the_one_before(limit_bytes: int, tmp_path: Path) -> None:
    before = write(str(tmp_path))
    ended = subprocess.run(
        run(LIMITED, tmp_path, limit_bytes), env=ENVIRON, capture_output=True, check=False
    )
    assert ended.returncode != 0
    found = snapshots.newest(str(tmp_path), SPACE, DIM, NOW)
    assert found is not None
    assert found.name == before
    assert [path.name for path in (tmp_path / SPACE).iterdir() if path.is_dir()] == [before]


def test_same_snapshot_fits_a_larger_disk(tmp_path: Path) -> None:
    ended = subprocess.run(run(LIMITED, tmp_path, 10_000_000), env=ENVIRON, check=False)
    assert ended.returncode == 0


def test_killed_at_any_instant_of_saving_there_is_a_good_one(tmp_path: Path) -> None:
    write(str(tmp_path))
    instants = random.Random(7)
    names = set()
    for turn in range(12):
        writer = subprocess.Popen(
            run(WRITER, tmp_path, 1_000 * turn), env=ENVIRON, stdout=subprocess.PIPE
        )
        assert writer.stdout is not None
        writer.stdout.readline()  # it is at work
        time.sleep(instants.uniform(0, 0.3))
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        found = snapshots.find(str(tmp_path), SPACE, DIM, NOW)
        assert found.snapshot is not None
        assert found.refused == ()
        names.add(found.snapshot.name)
    assert len(names) == 12  # each turn wrote at least one
    left = [path for path in (tmp_path / SPACE).iterdir() if path.is_dir()]
    assert len(left) <= 2 + 12
