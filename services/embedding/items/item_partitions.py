"""Tell which partition of `item-vectors` an item lives on, so that one instance looks after it."""

from __future__ import annotations

from aiokafka.partitioner import murmur2


class ItemPartitions:
    """An item's partition of `item-vectors`, by the hash of Java's and aiokafka's producers.

    Whoever owns partition p of `items` looks after the partitions q with q mod (partitions of
    `items`) = p: the one with the same number, where both topics have equally many.
    """

    def __init__(self, vector_partitions: int, item_partitions: int) -> None:
        self._vector_partitions = vector_partitions
        self._item_partitions = item_partitions
        self._owned: frozenset[int] = frozenset()

    def of(self, item_id: str) -> int:
        """Return an item's partition of `item-vectors`."""
        return int((murmur2(item_id.encode()) & 0x7FFFFFFF) % self._vector_partitions)

    def own(self, item_partitions: set[int]) -> None:
        """Look after what comes with these partitions of `items`, and after nothing else."""
        self._owned = frozenset(item_partitions)

    @property
    def share(self) -> float:
        """The share of all items that this instance looks after, 0 to 1."""
        return len(self._owned) / self._item_partitions

    def looks_after(self, item_id: str) -> bool:
        """Say whether this instance looks after an item's partition."""
        return self.of(item_id) % self._item_partitions in self._owned
