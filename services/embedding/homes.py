"""Which partition of `item-vectors` an item lives on, and which of them this instance owns."""

from __future__ import annotations

from aiokafka.partitioner import murmur2


class Homes:
    """An item's home partition, by the hash that Java's and aiokafka's producers use.

    Whoever owns partition p of `items` owns the homes q with q mod (partitions of `items`) = p:
    the one with the same number, where both topics have equally many.
    """

    def __init__(self, vector_partitions: int, item_partitions: int) -> None:
        self._vector_partitions = vector_partitions
        self._item_partitions = item_partitions
        self.owned: frozenset[int] = frozenset()

    def of(self, item_id: str) -> int:
        """Return an item's partition of `item-vectors`."""
        return int((murmur2(item_id.encode()) & 0x7FFFFFFF) % self._vector_partitions)

    def owned_with(self, partitions: set[int]) -> frozenset[int]:
        """Return the homes that come with these partitions of `items`."""
        every = range(self._vector_partitions)
        return frozenset(q for q in every if q % self._item_partitions in partitions)
