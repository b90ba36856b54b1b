"""Measure the fold on one core: `python -m tests.bench.fold_speed [items] [dim]`.

Batches of 4,096 events of about 2,300 among 3,000 users whose states, with full histories, are
cached, as on a worker. Other work on the machine makes it slower: the best batch says most.
"""

from __future__ import annotations

import gc
import sys
from time import process_time

import numpy as np

from services.sessions.fold.fold import FoldEvent, fold_many
from services.sessions.fold.settings import FoldSettings
from shared.users.states import UserState, pack, unpack
from tests.unit.sessions.kit import NOW_S, Log, MemoryItems

BATCH = 4_096
USERS = 3_000
KINDS = ("view", "click", "click", "like", "cart")


def main(items: int = 20_000, dim: int = 64, batches: int = 30) -> str:
    """Return a line of figures, in microseconds of this process' CPU time."""
    random = np.random.default_rng(0)
    catalogue = MemoryItems(
        random.standard_normal((items, dim)),
        [(f"kind-{row % 12}", f"style-{row % 7}") for row in range(items)],
    )
    settings = FoldSettings()
    states: dict[str, UserState] = {}
    log = Log()
    folding, packing = [], []
    filling = 2 * USERS * 50 // BATCH
    for batch in range(filling + batches):
        events = _batch(log, random, batch * BATCH, items)
        gc.collect()
        begin = process_time()
        folded = fold_many(states, events, catalogue, settings)
        middle = process_time()
        for chunk in folded.chunks:
            for change in chunk.changes:
                pack(change.after)
        packing.append((process_time() - middle) / BATCH * 1e6)
        folding.append((middle - begin) / BATCH * 1e6)
        states.update(folded.states)
    folding, packing = folding[filling:], packing[filling:]
    values = [pack(state) for state in states.values()]
    begin = process_time()
    for value in values:
        unpack(value)
    unpacking = (process_time() - begin) / len(values) * 1e6
    return (
        f"an event: fold {min(folding):.1f} (median {np.median(folding):.1f}), pack"
        f" {min(packing):.1f} (median {np.median(packing):.1f}); a state: unpack {unpacking:.1f},"
        f" {np.mean([len(value) for value in values]):.0f} bytes; {len(folded.states)} states and"
        f" {len(folded.chunks)} chunks a batch"
    )


def _batch(log: Log, random: np.random.Generator, number: int, items: int) -> list[FoldEvent]:
    users = random.integers(0, USERS, BATCH).tolist()
    rows = random.integers(0, items, BATCH).tolist()
    return [
        log.event(
            row,
            KINDS[n % len(KINDS)],
            at_s=NOW_S + (number + n) / 1000,
            user=f"user-{user}",
            session_id=f"session-{user}",
            event_id=f"event-{number + n}",
            context={"segment": "PL"},
        )
        for n, (user, row) in enumerate(zip(users, rows, strict=True))
    ]


if __name__ == "__main__":
    sys.stdout.write(main(*map(int, sys.argv[1:])) + "\n")
