"""Two processes of torchrun fit what one process fits."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from services.training.learn.distributed import share
from tests.training.learn.fit_together import fitted
from tests.training.models.planted import histories

ROOT = Path(__file__).parents[3]


def _started(*program: str) -> subprocess.CompletedProcess[str]:
    """Run a module in two processes."""
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
        + ["-m", *program],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )


@pytest.mark.timeout(300)  # PyTorch is read by four processes
@pytest.mark.parametrize("name", ["two-tower", "sasrec"])
def test_two_processes_give_the_result_of_one(name: str, tmp_path: Path) -> None:
    alone = fitted(name)
    together = _started("tests.training.learn.fit_together", name, str(tmp_path))
    assert together.returncode == 0, together.stderr

    # Scores, not weights: an offset of attention's keys changes nothing, so that its gradient is
    # what rounding leaves, and Adam makes steps of any size the same.
    asked = histories([1, 2, 3], [14], [25, 26], users=[0, -1, 5])
    np.testing.assert_allclose(
        type(alone).load(tmp_path).score(asked), alone.score(asked), rtol=1e-3, atol=1e-3
    )


def test_one_process_takes_all_windows() -> None:
    rows, weight = share(np.array([3, 1, 2]))
    assert rows.tolist() == [0, 1, 2]
    assert weight == 1
