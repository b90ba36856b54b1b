"""Which partition of `item-vectors` an item lives on, and who looks after it."""

from __future__ import annotations

from aiokafka.partitioner import murmur2


class Homes:
    """An item's home partition, by the hash that Java's and aiokafka's producers use.

    Whoever owns partition p of `items` looks after the homes q with q mod (partitions of `items`)
    = p: the one with the same number, where both topics have equally many.
    """

    def __init__(self, vector_partitions: int, item_partitions: int) -> None:
        self._vector_partitions = vector_partitions
        self._item_partitions = item_partitions
        self._owned: frozenset[int] = frozenset()

    def of(self, item_id: str) -> int:
        """Return an item's partition of `item-vectors`."""
        return int((murmur2(item_id.encode()) & 0x7FFFFFFF) % self._vector_partitions)

    def own(self, item_partitions: set[int]) -> None:
        """Look after the homes that come with these partitions of `items`, and no others."""
        self._owned = frozenset(item_partitions)

    def looks_after(self, item_id: str) -> bool:
        """Say whether this instance looks after an item's home."""
        return self.of(item_id) % self._item_partitions in self._owned
