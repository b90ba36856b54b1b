"""Shoppers who go on clicking choose from their own lists, the upper items more often."""

from __future__ import annotations

from collections import Counter
from random import Random

from services.cli.demo.visits import visit


def test_a_visit_chooses_from_the_list_and_the_upper_items_more_often() -> None:
    rng = Random(1)
    chosen = Counter(visit("shopper-1", ["a", "b", "c"], rng).item_id for _ in range(2_000))

    assert chosen["a"] > chosen["b"] > chosen["c"] > 0
