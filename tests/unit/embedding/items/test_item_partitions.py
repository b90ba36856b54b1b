"""Where an item lives, and who looks after it."""

from __future__ import annotations

from aiokafka.partitioner import DefaultPartitioner

from services.embedding.items.item_partitions import ItemPartitions

IDS = [f"item-{number}" for number in range(200)]


def test_partition_is_where_the_default_partitioner_puts_the_item() -> None:
    partitions, every = ItemPartitions(7, 7), list(range(7))
    for item_id in IDS:
        assert partitions.of(item_id) == DefaultPartitioner()(item_id.encode(), every, every)


def test_every_item_is_looked_after_by_exactly_one_instance() -> None:
    for vectors, items in ((4, 4), (4, 2), (2, 4), (5, 3)):
        instances = [ItemPartitions(vectors, items) for _ in range(2)]
        instances[0].own({p for p in range(items) if p % 2 == 0})
        instances[1].own({p for p in range(items) if p % 2})
        for item_id in IDS:
            assert sum(partitions.looks_after(item_id) for partitions in instances) == 1


def test_without_partitions_nothing_is_looked_after() -> None:
    assert not any(ItemPartitions(2, 2).looks_after(item_id) for item_id in IDS)
