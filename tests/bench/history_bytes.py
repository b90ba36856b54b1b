"""Show what a longer history costs: `python -m tests.bench.history_bytes [dim]`.

For each FRESHET_HISTORY: bytes of a full state (exactly what Redis holds as its value), of 1 M such
users, and the CPU that folding an event into it takes, best and median of batches of 4,096 events
by 3,000 users, packing included (tests/bench/fold_speed.py).
"""

from __future__ import annotations

import sys

from shared.users.session_vectors import VectorSettings
from shared.users.states import HISTORY_AT_MOST, HISTORY_USUAL
from tests.bench.fold_speed import measured

LENGTHS = (HISTORY_USUAL, 100, 150, HISTORY_AT_MOST)


def main(dim: int = 96) -> str:
    """Return a table, one row for each length."""
    lines = ["history  bytes a user  GB for 1 M users  fold + pack µs (median)"]
    for length in LENGTHS:
        found = measured(20_000, dim, 10, VectorSettings(history=length))
        size = found.state_bytes
        fold = found.fold_us[0] + found.pack_us[0], found.fold_us[1] + found.pack_us[1]
        lines.append(
            f"{length:7}  {size:12.0f}  {size / 1e3:16.2f}  {fold[0]:6.1f} ({fold[1]:.1f})"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(main(*map(int, sys.argv[1:])) + "\n")
