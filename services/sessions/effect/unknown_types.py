"""Count events of types that nobody weighs, by name: a misspelt type must not pass unseen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable
from typing import Final

from shared.runtime import metrics

NAMES_AT_MOST: Final = 20  # labels of the metric, and names that /status shows


class UnknownTypes:
    """Tells the metric and /status which unknown types came; clients cannot make it grow."""

    def __init__(self, known: Container[str]) -> None:
        """known: the types that have a weight of their own."""
        self._known = known
        self._labels: set[str] = set()
        self._seen: dict[str, int] = {}  # the last seen last

    def count(self, types: Iterable[str]) -> None:
        """Count the types of events that took effect."""
        unknown = Counter(name for name in types if name not in self._known)
        for name, events in unknown.items():
            if len(self._labels) < NAMES_AT_MOST:
                self._labels.add(name)
            metrics.UNKNOWN_TYPES.labels(name if name in self._labels else "other").inc(events)
            self._seen[name] = self._seen.pop(name, 0) + events
            if len(self._seen) > NAMES_AT_MOST:
                del self._seen[next(iter(self._seen))]

    def seen(self) -> dict[str, int]:
        """Return the names seen last, the latest first, with how many events each had."""
        return dict(reversed(self._seen.items()))
