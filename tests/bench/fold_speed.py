"""Measure the fold on one core: `python -m tests.bench.fold_speed [items] [dim]`.

Batches of 4,096 events of about 2,300 among 3,000 users whose states, with full histories, are
cached, as on a worker. Other work on the machine makes it slower: the best batch says most.
"""

from __future__ import annotations

import gc
import sys
from time import process_time
from typing import NamedTuple

import numpy as np

from services.sessions.fold.fold import FoldEvent, fold_many
from services.sessions.fold.settings import FoldSettings
from shared.users.session_vectors import VectorSettings
from shared.users.states import UserState, pack, unpack
from tests.unit.sessions.kit import NOW_S, Log, MemoryItems

BATCH = 4_096
USERS = 3_000
KINDS = ("view", "click", "click", "like", "cart")


class FoldCosts(NamedTuple):
    """What folding took, in µs of this process' CPU time: the best and the median of batches."""

    fold_us: tuple[float, float]  # an event
    pack_us: tuple[float, float]  # an event
    unpack_us: float  # a state
    state_bytes: float  # on average
    states: int  # changed by a batch
    chunks: int


def measured(items: int, dim: int, batches: int, vectors: VectorSettings) -> FoldCosts:
    """Fold batches into full histories and return what it took."""
    random = np.random.default_rng(0)
    catalogue = MemoryItems(
        random.standard_normal((items, dim)),
        [(f"kind-{row % 12}", f"style-{row % 7}") for row in range(items)],
    )
    settings = FoldSettings(vectors=vectors)
    states: dict[str, UserState] = {}
    log = Log()
    folding, packing = [], []
    filling = 2 * USERS * vectors.history // BATCH
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
    unpack_us = (process_time() - begin) / len(values) * 1e6
    return FoldCosts(
        (min(folding), float(np.median(folding))),
        (min(packing), float(np.median(packing))),
        unpack_us,
        float(np.mean([len(value) for value in values])),
        len(folded.states),
        len(folded.chunks),
    )


def main(items: int = 20_000, dim: int = 64, batches: int = 30) -> str:
    """Return a line of figures, in microseconds of this process' CPU time."""
    found = measured(items, dim, batches, VectorSettings())
    return (
        f"an event: fold {found.fold_us[0]:.1f} (median {found.fold_us[1]:.1f}), pack"
        f" {found.pack_us[0]:.1f} (median {found.pack_us[1]:.1f}); a state: unpack"
        f" {found.unpack_us:.1f}, {found.state_bytes:.0f} bytes; {found.states} states and"
        f" {found.chunks} chunks a batch"
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
