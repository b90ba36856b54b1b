"""Say since when an item is there, from which ranking tells how new it is.

An item states it (`created_ms`). Else it is there since its first arrival, kept over later versions
and over another model's space, but only if it came by itself: what comes as a backfill, or among so
many that they are the catalogue and not its news, is there since ever (0).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord
from google.protobuf.message import DecodeError

from freshet.contract.items import Item
from freshet.contract.records import Origin
from freshet.contract.topics import ITEMS
from freshet.v1 import vector_pb2
from shared.runtime.topic_reader import read_once
from shared.users.keys import item_key

SINCE_EVER: Final = 0
WINDOW_MS: Final = 3_600_000  # a first load takes hours, but has no break of one
MANY: Final = 0.1  # of all items there are: more in one window are no news


class Arrivals:
    """Decides for the items that one instance takes in, in the order it does."""

    def __init__(self, inherited: Mapping[int, int], *, many: float = MANY) -> None:
        """inherited: item key → since when it is there, of the space that is served so far."""
        self._inherited = inherited
        self._many = many
        self._lately: deque[int] = deque()  # times of the first arrivals of one window, in ms

    def since_ms(self, item: Item, origin: Origin, known_ms: int | None, items: float) -> int:
        """Return since when an item is there.

        known_ms: what was said of its version before, None without one. items: how many this
        instance looks after.
        """
        if item.created_ms is not None:
            return item.created_ms
        if known_ms is not None:
            return known_ms
        inherited_ms = self._inherited.get(item_key(item.item_id))
        if inherited_ms is not None:
            return inherited_ms
        if origin.topic != ITEMS.name:
            return SINCE_EVER
        self._lately.append(origin.time_ms)
        while self._lately[0] < origin.time_ms - WINDOW_MS:
            self._lately.popleft()
        return SINCE_EVER if len(self._lately) > self._many * (items + 1) else origin.time_ms


async def inherited(make: Callable[..., AIOKafkaConsumer], topic: str) -> dict[int, int]:
    """Return `arrived_ms` of each living item of an `item-vectors` topic, by the item's key.

    make: returns a new consumer of topics, without group, not started.
    """
    arrived: dict[int, int] = {}

    def take(consumed: Sequence[ConsumerRecord]) -> None:
        for record in consumed:
            key = item_key((record.key or b"").decode("utf-8", "replace"))
            if record.value is None:
                arrived.pop(key, None)
                continue
            try:
                arrived[key] = vector_pb2.ItemVector.FromString(record.value).arrived_ms
            except DecodeError:
                continue  # readers of the space leave it out, too

    await read_once(make, topic, take)
    return arrived
