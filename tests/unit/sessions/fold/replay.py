"""What a log of events makes of Redis, computed offline by the same fold. Pure.

Shows what states, co-visits and trending must hold: proofs compare Redis with it, and features for
training are those that were served. It knows no bounds: sets here hold every member, where Redis
keeps the first 100 or 1,000.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from services.sessions.fold.event_columns import FoldEvent
from services.sessions.fold.fold import fold_many
from services.sessions.fold.increments import Covisits, Trends, merge
from services.sessions.fold.settings import FoldSettings
from shared.catalogue.catalogue import Items
from shared.users.states import UserState

BATCH_EVENTS = 4_096  # as many as a worker folds at once at most; any number gives the same


@dataclass(slots=True)
class Replayed:
    """States by user id, and the log2 weights of co-visits and trending."""

    states: dict[str, UserState] = field(default_factory=dict)
    covisits: Covisits = field(default_factory=dict)
    trends: Trends = field(default_factory=dict)


def replay(
    events: Iterable[FoldEvent],
    items: Items,
    settings: FoldSettings,
    *,
    batch_events: int = BATCH_EVENTS,
) -> Replayed:
    """Fold a log from its beginning, the events of each partition in the order of their offsets."""
    whole = Replayed()
    for batch in _batches(iter(events), batch_events):
        folded = fold_many(whole.states, batch, items, settings)
        whole.states.update(folded.states)
        merge(whole.covisits, folded.covisits)
        merge(whole.trends, folded.trends)
    return whole


def _batches(events: Iterator[FoldEvent], size: int) -> Iterator[list[FoldEvent]]:
    while batch := list(islice(events, size)):
        yield batch
