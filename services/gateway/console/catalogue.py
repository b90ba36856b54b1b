"""Keep the vectors of the space that is served, for what the page shows of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Final, NamedTuple

import msgspec
import numpy as np
from aiokafka import ConsumerRecord

from freshet import kafka_clients
from freshet.client import Client
from freshet.contract.records import BadRecord
from freshet.contract.topics import item_vectors
from freshet.kafka_clients import KafkaSettings
from services.gateway.console.vectors import Floats, common_label, nearest, principal_axes
from shared.catalogue.item_vectors import decode_item_vector
from shared.runtime.topic_reader import TopicReader

ITEMS_AT_MOST: Final = 50_000  # the newest; 1 KiB each
GROWN: Final = 1.02  # of which a map is drawn anew
LOOK_S: Final = 30.0  # between questions which space is served
ANSWER_WITHIN_S: Final = 10.0


class NearItem(NamedTuple):
    """An encoded item, as far as a map needs it."""

    vector: bytes  # (d,) float16
    categories: tuple[str, ...]
    arrived_ms: int


class Taste(msgspec.Struct, frozen=True):
    """A vector of a user's, by what lies near it."""

    name: str  # session, interest:N or long_term
    label: str
    item_ids: tuple[str, ...]
    x: float
    y: float


class MapPoint(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """An item on the map; x and y lie in -1 to 1."""

    item_id: str
    x: float
    y: float
    category: str
    arrived_ms: int


class SpaceMap(NamedTuple):
    """Items in the order of rows, their vectors, and where each stands."""

    item_ids: list[str]
    vectors: Floats  # (n, d)
    mean: Floats
    axes: Floats  # (d, 2), scaled so that all items lie within -1 to 1
    points: tuple[MapPoint, ...]


class ServedVectors:
    """Follows `item-vectors` of the space that ranking says it serves, from when it is asked."""

    def __init__(self, settings: KafkaSettings, client: Client) -> None:
        self._make = partial(kafka_clients.consumer, settings)
        self._client = client
        self._space = ""
        self._look_at_s = 0.0
        self._items: dict[str, NearItem] = {}
        self._reading: asyncio.Task[None] | None = None
        self._reader: TopicReader | None = None
        self._turn = asyncio.Lock()
        self._changes = self._mapped_at = 0
        self._map: SpaceMap | None = None

    async def stop(self) -> None:
        """Read no more."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    async def map(self) -> SpaceMap | None:
        """Return the map of what is there now, None while nothing is.

        It is drawn anew once the catalogue has grown by a fiftieth. Raises what ranking raises.
        """
        async with self._turn:
            await self._follow()
            stale = self._changes - self._mapped_at > (GROWN - 1) * len(self._items)
            if len(self._items) > 2 and (self._map is None or stale):
                self._mapped_at = self._changes
                self._map = await asyncio.to_thread(_mapped, dict(self._items))
            return self._map

    async def _follow(self) -> None:
        """Begin to read where the space is another one than before, and wait for what is there."""
        now_s = asyncio.get_running_loop().time()
        if now_s < self._look_at_s:
            served = self._space
        else:
            reply = await self._client.search(text="anything", k=1, timeout=ANSWER_WITHIN_S)
            served, self._look_at_s = reply.versions.space, now_s + LOOK_S
        if served != self._space:
            await self.stop()
            self._space, self._map = served, None
            self._items.clear()
            self._reader = TopicReader(self._make, item_vectors(served).name)
            self._reading = asyncio.create_task(self._reader.run(self._take), name="map")
        assert self._reader is not None
        await self._reader.caught_up()

    def _take(self, consumed: Sequence[ConsumerRecord]) -> None:
        for record in consumed:
            item_id = (record.key or b"").decode(errors="replace")
            self._changes += 1
            self._items.pop(item_id, None)
            if record.value is None:
                continue
            try:
                found = decode_item_vector(record.value)
            except BadRecord:
                continue
            vector = found.vector.tobytes()
            self._items[item_id] = NearItem(vector, found.item.categories, found.arrived_ms)
            if len(self._items) > ITEMS_AT_MOST:
                self._items.pop(next(iter(self._items)))


def _mapped(items: dict[str, NearItem]) -> SpaceMap:
    joined = b"".join(item.vector for item in items.values())
    vectors = np.frombuffer(joined, np.float16).reshape(len(items), -1).astype(np.float32)
    mean, axes = principal_axes(vectors)
    axes = axes / np.abs((vectors - mean) @ axes).max(axis=0)
    places = (vectors - mean) @ axes
    points = tuple(
        MapPoint(item_id, round(float(x), 4), round(float(y), 4), _category(item), item.arrived_ms)
        for (item_id, item), (x, y) in zip(items.items(), places, strict=True)
    )
    return SpaceMap(list(items), vectors, mean, axes, points)


def _category(item: NearItem) -> str:
    """Return the category that colours an item: the second where there is one, as more is said."""
    return item.categories[min(1, len(item.categories) - 1)] if item.categories else ""


def tastes(
    space_map: SpaceMap,
    vectors: Sequence[tuple[str, Sequence[float]]],
    labels: dict[str, tuple[str, ...]],
) -> tuple[Taste, ...]:
    """Return what lies near a user's vectors, by name; those of another space are left out."""
    shown = []
    for name, values in vectors:
        query = np.asarray(values, np.float32)
        if query.shape != space_map.mean.shape or not query.any():
            continue
        ids = tuple(space_map.item_ids[row] for row in nearest(space_map.vectors, query))
        unit = query / np.linalg.norm(query)
        x, y = np.clip((unit - space_map.mean) @ space_map.axes, -1, 1)
        label = common_label([labels.get(item_id, ()) for item_id in ids])
        shown.append(Taste(name, label, ids, round(float(x), 4), round(float(y), 4)))
    return tuple(shown)
