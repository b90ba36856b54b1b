"""Let an import's events count as if the last of them were now: what is past is what it is for.

Weights decay from events' times, so clicks of years ago would say nothing from the start. Moved by
one and the same span, they keep their order and their distances.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable

import msgspec

from freshet.contract.events import Event
from freshet.contract.records import BadRecord
from shared.inputs.refusals import BadInput
from shared.inputs.rows import Fields, Row


class EventTimes:
    """Moves events, and knows from when to when they were."""

    def __init__(self, moved_ms: int, span_ms: tuple[int, int] | None = None) -> None:
        """moved_ms: how much later the events are to be; 0 leaves their times.

        span_ms: their own times, first and last, where that is known before they are moved.
        """
        self.moved_ms = moved_ms
        self.span_ms = span_ms

    def moved(self, event: Event) -> Event:
        """Return an event, moved; one without a time happens now and stays without."""
        if event.time_ms is None:
            return event
        first_ms, last_ms = self.span_ms or (event.time_ms, event.time_ms)
        self.span_ms = min(first_ms, event.time_ms), max(last_ms, event.time_ms)
        return msgspec.structs.replace(event, time_ms=event.time_ms + self.moved_ms)

    def __str__(self) -> str:
        """Say what span was loaded and how it counts; empty where no event had a time."""
        if self.span_ms is None:
            return ""
        first, last = map(_day, self.span_ms)
        days = (self.span_ms[1] - self.span_ms[0]) / 86_400_000
        loaded = f"events of {first} to {last} ({days:,.0f} days)"
        if self.moved_ms:
            return f"{loaded} count as if the last were now; --keep-times leaves their times"
        return f"{loaded} keep their times: the longer ago, the less they count"


def last_ms(rows: Iterable[Row[Fields]], make: Callable[[Fields], Event]) -> int | None:
    """Return the last time that rows of events state; what cannot be used is left out."""
    last: int | None = None
    for _, read in rows:
        try:
            time_ms = make(read()).time_ms
        except (BadInput, BadRecord):
            continue
        if time_ms is not None:
            last = time_ms if last is None else max(last, time_ms)
    return last


def _day(time_ms: int) -> str:
    return datetime.datetime.fromtimestamp(time_ms / 1000, datetime.UTC).date().isoformat()
