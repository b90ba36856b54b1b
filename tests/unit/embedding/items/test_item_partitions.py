"""Where an item lives, and who looks after it."""

from __future__ import annotations

from aiokafka.partitioner import DefaultPartitioner

from services.embedding.items.item_partitions import Homes

IDS = [f"item-{number}" for number in range(200)]


def test_home_is_where_the_default_partitioner_puts_the_item() -> None:
    homes, every = Homes(7, 7), list(range(7))
    for item_id in IDS:
        assert homes.of(item_id) == DefaultPartitioner()(item_id.encode(), every, every)


def test_every_item_is_looked_after_by_exactly_one_instance() -> None:
    for vectors, items in ((4, 4), (4, 2), (2, 4), (5, 3)):
        instances = [Homes(vectors, items) for _ in range(2)]
        instances[0].own({p for p in range(items) if p % 2 == 0})
        instances[1].own({p for p in range(items) if p % 2})
        for item_id in IDS:
            assert sum(homes.looks_after(item_id) for homes in instances) == 1


def test_without_partitions_nothing_is_looked_after() -> None:
    assert not any(Homes(2, 2).looks_after(item_id) for item_id in IDS)
