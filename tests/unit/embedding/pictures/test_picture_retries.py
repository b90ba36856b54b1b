"""A picture that was missing is tried again, and never overtakes what came after its item."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from freshet.contract.items import Item
from services.embedding.items.item_partitions import ItemPartitions
from services.embedding.pictures.missing_pictures import MissingPictures
from services.embedding.pictures.picture_retries import PictureRetries
from shared.catalogue.item_vectors import ItemVector
from shared.faults import SystemFault
from tests.servers import eventually
from tests.unit.embedding.items.world import World, delete, unit_vector, upsert

CHAIR = Item(item_id="a", title="Red chair", image_uri="https://cdn.example.com/a.jpg")
GONE = "picture-not-fetched: picture cannot be fetched: cdn.example.com answered 404"


class Shop(World):
    """An instance that looks after all items, or none."""

    def __init__(self, *, owns: bool = True) -> None:
        super().__init__()
        self.encoder.missing = GONE
        partitions = ItemPartitions(1, 1)
        partitions.own({0} if owns else set())
        self.missing = MissingPictures()
        self.known = asyncio.Event()  # all that counts
        self.retries = PictureRetries(
            self.missing,
            self.latest,
            partitions,
            self.log.record_at,
            self.encoder,
            self.cache,
            self.log,
            self.known.wait,
        )

    @property
    def last(self) -> ItemVector:
        found = self.log.of("a")[-1].vector
        assert found is not None
        return found


async def test_item_gets_its_picture_in_the_version_that_it_has() -> None:
    shop = Shop()
    await shop.handle(upsert(CHAIR, 0, 100))
    before = shop.log.of("a")[-1]
    shop.encoder.missing = ""
    await shop.retries.try_again("a")
    after = shop.log.of("a")[-1]
    assert after.headers == before.headers
    assert (shop.last.picture_missing, shop.last.arrived_ms) == ("", 100)
    assert (
        shop.last.image_vector.tobytes() == unit_vector("https://cdn.example.com/a.jpg").tobytes()
    )
    assert shop.retries.mended == 1
    assert shop.log.seen_by_reader("a") == after


async def test_unchanged_item_with_its_picture_is_not_encoded_again() -> None:
    shop = Shop()
    await shop.handle(upsert(CHAIR, 0, 100))
    shop.encoder.missing = ""
    await shop.retries.try_again("a")
    await shop.handle(upsert(msgspec.structs.replace(CHAIR, price=1.0), 1, 200))
    assert shop.handler.counts.reused == 1
    assert shop.last.image_vector.size


async def test_picture_that_is_still_missing_changes_nothing() -> None:
    shop = Shop()
    await shop.handle(upsert(CHAIR, 0, 100))
    await shop.retries.try_again("a")
    assert len(shop.log.written) == 1


@pytest.mark.parametrize("later", ["update", "delete"])
async def test_picture_that_comes_after_an_update_or_delete_changes_nothing(later: str) -> None:
    shop = Shop()
    await shop.handle(upsert(CHAIR, 0, 100))
    shop.encoder.missing = ""
    shop.encoder.hold["Red chair"] = asyncio.Event()
    trying = asyncio.create_task(shop.retries.try_again("a"))
    await eventually(lambda: shop.encoder.encoded.count("Red chair") == 2, what="a second try")
    blue = upsert(msgspec.structs.replace(CHAIR, title="Blue chair"), 1, 200)
    await shop.handle(blue if later == "update" else delete("a", 1, 200))
    shop.encoder.hold["Red chair"].set()
    await trying
    assert len(shop.log.of("a")) == 2
    assert shop.log.of("a")[-1].version_ms == 200


async def test_item_of_another_instance_is_left_to_it() -> None:
    shop = Shop(owns=False)
    await shop.handle(upsert(CHAIR, 0, 100))
    shop.encoder.missing = ""
    await shop.retries.try_again("a")
    assert len(shop.log.written) == 1


async def test_nothing_is_tried_before_all_is_known_that_counts() -> None:
    shop = Shop()
    await shop.handle(upsert(CHAIR, 0, 100))
    shop.missing.note("a", GONE, True, -1e9)
    shop.encoder.missing = ""
    running = asyncio.create_task(shop.retries.run())
    for _ in range(9):
        await asyncio.sleep(0)
    assert len(shop.log.written) == 1
    shop.known.set()
    await eventually(lambda: len(shop.log.written) == 2, what="the picture")
    running.cancel()


async def test_picture_that_fails_otherwise_stops_no_other() -> None:
    shop = Shop()
    shop.known.set()
    await shop.handle(upsert(CHAIR, 0, 100))
    shop.encoder.missing = ""
    shop.missing.note("b", GONE, True, -1e9)  # which nothing knows of
    shop.missing.note("a", GONE, True, -1e9)
    shop.encoder.fails = [RuntimeError("a defect")]
    running = asyncio.create_task(shop.retries.run())
    await eventually(lambda: not shop.encoder.fails, what="a try")
    assert not running.done()
    running.cancel()


async def test_a_fault_of_the_system_ends_the_tries() -> None:
    shop = Shop()
    shop.known.set()
    await shop.handle(upsert(CHAIR, 0, 100))
    shop.encoder.missing = ""
    shop.missing.note("a", GONE, True, -1e9)
    shop.encoder.fails = [SystemFault("picture decoders cannot start")]
    with pytest.raises(SystemFault, match="decoders cannot start"):
        await asyncio.wait_for(shop.retries.run(), 5)
