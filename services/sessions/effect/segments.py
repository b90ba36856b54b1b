"""Decide which segments open a scope of trending: clients name them, and must not fill Redis."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from freshet.contract.events import SEGMENT
from services.sessions.effect.store import StatesStore
from services.sessions.fold.fold import FoldEvent

ASK_AGAIN_S: Final = 3_600  # of the log's time: a place may have become free, or must be kept
REMEMBERED_AT_MOST: Final = 10_000


class Segments:
    """Admits the segments that are listed, or where none is the first so many that are in use.

    Who has a place stands in Redis, so that all workers admit the same. A place is free again when
    its scope expires there.
    """

    def __init__(self, store: StatesStore, listed: Sequence[str], at_most: int) -> None:
        self._store = store
        self._listed = frozenset(listed)
        self._at_most = at_most
        self._known: dict[str, tuple[bool, int]] = {}  # admitted; s in the log when asked

    def forget(self) -> None:
        """Ask Redis again: it may have lost some."""
        self._known.clear()

    async def admit(self, events: Sequence[FoldEvent]) -> list[FoldEvent]:
        """Return events, those whose segment has no place without it."""
        named = dict.fromkeys(event.event.context.get(SEGMENT, "") for event in events)
        named.pop("", None)
        if self._listed:
            refused = named.keys() - self._listed
        elif named:
            admitted = await self._admitted(named, events[-1].record_time_ms // 1000)
            refused = named.keys() - admitted
        else:
            return list(events)
        return [_without_segment(e, refused) for e in events] if refused else list(events)

    async def _admitted(self, named: Iterable[str], now_s: int) -> set[str]:
        """Return which segments have a place, as of a time in the log."""
        known = {  # whatever other batches remember or forget meanwhile
            segment: known
            for segment in named
            if (known := self._known.get(segment)) and abs(now_s - known[1]) <= ASK_AGAIN_S
        }
        if unsure := [segment for segment in named if segment not in known]:
            admitted = await self._store.admit_segments(unsure, now_s, self._at_most)
            known |= zip(unsure, ((place, now_s) for place in admitted), strict=True)
            if len(self._known) + len(unsure) > REMEMBERED_AT_MOST:
                self._known.clear()
            self._known |= known
        return {segment for segment, (has_place, _) in known.items() if has_place}


def _without_segment(record: FoldEvent, refused: set[str]) -> FoldEvent:
    """Return an event without its segment if that is refused, else the very same."""
    event = record.event
    if event.context.get(SEGMENT) not in refused:
        return record
    context = {name: value for name, value in event.context.items() if name != SEGMENT}
    stripped = msgspec.structs.replace(event, context=context)
    return msgspec.structs.replace(record, event=stripped)
