"""Items in, vectors out, on the real Kafka and Valkey."""

from __future__ import annotations

import numpy as np
import pytest

from shared.items import Item
from tests.integration.embedding.shop import Shop, picture

pytestmark = pytest.mark.integration


async def test_item_with_picture_gets_a_unit_vector(shop: Shop) -> None:
    await shop.publish(Item(item_id="a", title="Red chair", image_bytes=picture()))
    found = await shop.has_vector("a")
    assert abs(float(np.linalg.norm(found.vector.astype(np.float32))) - 1) < 0.01
    assert found.item.title == "Red chair"
    assert found.image_vector.size == found.text_vector.size == found.vector.size


async def test_deleted_item_is_gone_everywhere(shop: Shop) -> None:
    await shop.publish(Item(item_id="a", title="Red chair"))
    await shop.has_vector("a")
    await shop.delete("a")
    await shop.is_gone("a")
    for topic in ("items-backfill", "offers"):
        record = (await shop.read(topic)).last["a"]
        assert record.value is None
