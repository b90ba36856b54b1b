"""Measure what it takes to read many events for training: seconds, and memory at its most.

    .venv-training/bin/python -m tests.bench.training_data [MILLIONS]

The table is generated (users and items drawn by a power law) and read in a process of its own.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

AT_ONCE = 1_000_000
USERS, ITEMS = 200_000, 50_000
BEGIN_S = 1_600_000_000


def generate(file: Path, millions: int) -> None:
    """Write a Parquet or CSV table with so many million events, some at a time."""
    import pyarrow
    from pyarrow import csv, parquet

    chance = np.random.default_rng(0)
    writer = None
    for part in range(millions):
        table = pyarrow.table(
            {
                "user_id": (USERS * chance.random(AT_ONCE) ** 2).astype(np.int64),
                "item_id": (ITEMS * chance.random(AT_ONCE) ** 3).astype(np.int64),
                "rating": chance.integers(1, 11, AT_ONCE) / 2,
                "timestamp": BEGIN_S + 1000 * part + chance.integers(0, 1000, AT_ONCE),
            }
        )
        if writer is None:
            make = csv.CSVWriter if file.suffix == ".csv" else parquet.ParquetWriter
            writer = make(file, table.schema)
        writer.write_table(table)
    assert writer is not None
    writer.close()


def read(folder: Path) -> None:
    """Read the folder, and say what it took."""
    from services.training.data.read import read as read_folder

    began = time.monotonic()
    data = read_folder(folder)
    seconds = time.monotonic() - began
    most = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert most
    events = data.events
    kept = sum(
        each.nbytes
        for each in (events.items, events.starts, events.times_s, events.values)
        if each is not None
    )
    sys.stdout.write(
        f"{len(events.items) / 1e6:.0f} M events of {data.n_users:,} users, {data.n_items:,} items:"
        f" {seconds:.0f} s ({time.process_time():.0f} s of processor time),"
        f" at most {int(most[1]) / 2**20:.2f} GiB, of which {kept / 2**30:.2f} GiB stay\n"
    )


def main() -> None:
    """Generate and read a table of each form."""
    millions = int(sys.argv[1]) if len(sys.argv) > 1 else 25
    for ending in (".parquet", ".csv"):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / f"interactions{ending}"
            generate(file, millions)
            size = file.stat().st_size / 2**30
            sys.stdout.write(f"{ending}, {size:.2f} GiB on disk: ")
            sys.stdout.flush()
            subprocess.run([sys.executable, "-m", __spec__.name, "--read", folder], check=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--read"]:
        read(Path(sys.argv[2]))
    else:
        main()
