"""Which segments have a place, where batches of several partitions ask beside each other."""

from __future__ import annotations

from collections.abc import Sequence

from services.sessions.effect.double import MemoryStore
from services.sessions.effect.segments import Segments
from services.sessions.fold.fold import FoldEvent
from tests.unit.sessions.kit import TOPIC, Log


class ForgettingStore(MemoryStore):
    """Has a partition read again, and all segments forgotten, while it is asked."""

    segments_known: Segments

    async def admit_segments(self, names: Sequence[str], now_s: int, at_most: int) -> list[bool]:
        self.segments_known.forget()
        return await super().admit_segments(names, now_s, at_most)


def events(*segments: str) -> list[FoldEvent]:
    log = Log()
    return [log.event(context={"segment": segment}) for segment in segments]


async def test_segments_forgotten_while_others_are_asked_for_keep_their_answer() -> None:
    store = ForgettingStore(TOPIC)
    store.segments_known = segments = Segments(store, (), 2)
    await segments.admit(events("PL"))

    admitted = await segments.admit(events("PL", "DE", "FR"))

    assert [e.event.context for e in admitted] == [{"segment": "PL"}, {"segment": "DE"}, {}]
