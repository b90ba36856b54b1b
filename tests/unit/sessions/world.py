"""A small world for tests of the fold: a catalogue in a table, a log that numbers its events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from freshet.contract.events import Event
from services.sessions.fold.fold import FoldEvent
from shared.catalogue.columns import KeyRows
from shared.users import keys

NOW_S = 1_750_000_000
NOW_MS = NOW_S * 1000


class MemoryItems:
    """The catalogue as the fold sees it: items named item-0, item-1, … by row."""

    def __init__(
        self,
        vectors: ArrayLike,
        categories: Sequence[tuple[str, ...]] | None = None,
        space: str = "test",
    ) -> None:
        rows = np.asarray(vectors, np.float32)
        self.space = space
        self.dim = rows.shape[1]
        self.vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)
        self.categories = categories or [()] * len(rows)
        self._rows = KeyRows()
        if len(rows):
            wanted = np.array([key_of(row) for row in range(len(rows))], np.uint64)
            self._rows.put_many(wanted, np.arange(len(rows)))

    def rows(self, wanted: NDArray[np.uint64]) -> NDArray[np.int64]:
        return self._rows.rows(wanted)


def name_of(row: int) -> str:
    return f"item-{row}"


def key_of(row: int) -> int:
    return keys.item_key(name_of(row))


class Log:
    """Makes events as they stand in the log: each on its partition's next offset."""

    def __init__(self) -> None:
        self._offsets: dict[int, int] = {}

    def event(
        self,
        item: int = 0,
        type: str = "click",
        *,
        at_s: float | None = NOW_S,
        record_s: float | None = None,
        user: str = "ann",
        partition: int = 0,
        **fields: Any,
    ) -> FoldEvent:
        """at_s: the event's own time, None for none; record_s: its record's, else the same."""
        offset = self._offsets[partition] = self._offsets.get(partition, -1) + 1
        record_s = record_s if record_s is not None else (at_s if at_s is not None else NOW_S)
        event = Event(
            user_id=user,
            item_id="" if type == "forget" else name_of(item),
            type=type,
            time_ms=None if at_s is None else int(at_s * 1000),
            **fields,
        )
        return FoldEvent(event, partition, offset, int(record_s * 1000))
