"""An item's vectors: which steps it takes, in what order of precedence, and how it fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from freshet.contract.items import Item
from freshet.contract.records import BadRecord
from services.embedding.encode.batcher import Priority
from services.embedding.encode.item_encoder import (
    BACKFILL_DECODES,
    BAD_PICTURE,
    NO_DIRECTION,
    PICTURE_NOT_FETCHED,
    ItemEncoder,
)
from services.embedding.pictures.fetch import Forbidden, Missing, Unreachable
from services.embedding.pictures.hosts import Lane
from shared.bundles.fusion import BadVector, FusedVectors
from shared.bundles.picture import BadPicture
from shared.users.keys import item_key

PICTURE = np.zeros((224, 224, 3), np.uint8)
BOTH = Item(item_id="a", title="Red chair", image_bytes=b"jpeg")
ONE = np.array([1.0, 0.0], np.float32)


class Parts:
    """All that an ItemEncoder is made of; notes each step and can hold or fail it."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.hold: dict[str, asyncio.Event] = {}
        self.fails: dict[str, list[Exception]] = {}
        self.decoding = self.decoding_at_most = 0
        self.nan = False
        self.lanes: list[Lane] = []

    async def step(self, name: str) -> None:
        self.steps.append(name)
        if name in self.hold:
            await self.hold[name].wait()
        if self.fails.get(name):
            raise self.fails[name].pop(0)

    @asynccontextmanager
    async def place(self, uri: str, lane: Lane) -> AsyncIterator[None]:
        self.lanes.append(lane)
        yield

    async def fetch(self, uri: str) -> bytes:
        await self.step(f"fetch {uri}")
        return b"fetched"

    async def decode(self, data: bytes) -> NDArray[np.uint8]:
        self.decoding += 1
        self.decoding_at_most = max(self.decoding, self.decoding_at_most)
        try:
            await self.step(f"decode {data.decode()}")
        finally:
            self.decoding -= 1
        return PICTURE

    async def encode_image(
        self, picture: NDArray[np.uint8], priority: Priority
    ) -> NDArray[np.float32]:
        await self.step(f"image {priority.name}")
        return ONE

    async def encode_text(self, text: str, priority: Priority) -> NDArray[np.float32]:
        await self.step(f"text {priority.name}")
        return ONE

    def fuse(
        self, image: NDArray[np.float32] | None, text: NDArray[np.float32] | None
    ) -> FusedVectors:
        if self.nan:
            raise BadVector("image features are not finite")
        return FusedVectors(ONE, image, text)

    def fuse_again(
        self, image: NDArray[np.float32], text: NDArray[np.float32] | None
    ) -> FusedVectors:
        return FusedVectors(ONE, image, text)

    def encoder(self, tower: Any = None) -> ItemEncoder:
        parts: Any = self
        searches: Any = Searches(self)
        return ItemEncoder(parts, parts, searches, parts, parts, tower, fetch_waits_s=(0.0, 0.0))


class Searches:
    """The decoders of searches."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts

    async def decode(self, data: bytes) -> NDArray[np.uint8]:
        await self.parts.step(f"decode search {data.decode()}")
        return PICTURE


async def test_picture_and_text_are_both_encoded() -> None:
    parts = Parts()
    found = await parts.encoder().encode(BOTH, Priority.LIVE)
    assert sorted(parts.steps) == ["decode jpeg", "image LIVE", "text LIVE"]
    assert found.vector.dtype == np.float16
    assert found.image_vector.size == found.text_vector.size == 2


@pytest.mark.parametrize(
    ("item", "steps", "empty"),
    [
        (Item(item_id="a", title="t"), ["text LIVE"], "image_vector"),
        (Item(item_id="a", image_bytes=b"jpeg"), ["decode jpeg", "image LIVE"], "text_vector"),
        (
            Item(item_id="a", image_uri="u"),
            ["fetch u", "decode fetched", "image LIVE"],
            "text_vector",
        ),
    ],
)
async def test_one_modality_is_enough(item: Item, steps: list[str], empty: str) -> None:
    parts = Parts()
    found = await parts.encoder().encode(item, Priority.LIVE)
    assert parts.steps == steps
    assert getattr(found, empty).size == 0
    assert found.vector.size == 2


@pytest.mark.parametrize("priority", [Priority.LIVE, Priority.BACKFILL])
async def test_item_whose_picture_is_bad_is_encoded_from_its_text(priority: Priority) -> None:
    parts = Parts()
    parts.fails["decode jpeg"] = [BadPicture("not a picture but a page in HTML or XML")]
    found = await parts.encoder().encode(BOTH, priority)
    assert found.picture_missing == "bad-picture: not a picture but a page in HTML or XML"
    assert (found.text_vector.size, found.image_vector.size) == (2, 0)
    assert parts.steps == ["decode jpeg", f"text {priority.name}"]


@pytest.mark.parametrize("fault", [Forbidden("loopback"), Missing("404"), Unreachable("slow")])
async def test_item_whose_picture_cannot_be_fetched_is_encoded_from_its_text_at_once(
    fault: Exception,
) -> None:
    parts = Parts()
    parts.fails["fetch u"] = [fault]
    found = await parts.encoder().encode(
        Item(item_id="a", title="Red chair", image_uri="u"), Priority.LIVE
    )
    assert found.picture_missing == f"picture-not-fetched: picture cannot be fetched: {fault}"
    assert parts.steps == ["fetch u", "text LIVE"]


@pytest.mark.parametrize("title", ["Red chair", ""])
async def test_item_keeps_its_last_good_picture(title: str) -> None:
    async def last_good() -> NDArray[np.float16]:
        return np.array([0.0, 1.0], np.float16)

    parts = Parts()
    parts.fails["fetch u"] = [Missing("404")]
    item = Item(item_id="a", title=title, image_uri="u")
    found = await parts.encoder().encode(item, Priority.LIVE, last_good)
    assert found.image_vector.tolist() == [0.0, 1.0]
    assert found.text_vector.size == (2 if title else 0)
    assert "404" in found.picture_missing


async def test_reason_is_bounded() -> None:
    parts = Parts()
    parts.fails["fetch u"] = [Missing("ü" * 1000)]
    item = Item(item_id="a", title="Red chair", image_uri="u")
    found = await parts.encoder().encode(item, Priority.LIVE)
    assert 250 < len(found.picture_missing.encode()) <= 256


async def test_live_and_backfill_fetch_in_lanes_of_their_own() -> None:
    parts = Parts()
    for priority in (Priority.LIVE, Priority.BACKFILL):
        await parts.encoder().encode(Item(item_id="a", image_uri="u"), priority)
    assert parts.lanes == [Lane.LIVE, Lane.BACKFILL]


async def test_bad_picture_is_refused_where_there_is_nothing_else() -> None:
    parts = Parts()
    parts.fails["decode jpeg"] = [BadPicture("not a JPEG")]
    with pytest.raises(BadRecord, match="not a JPEG") as refused:
        await parts.encoder().encode(Item(item_id="a", image_bytes=b"jpeg"), Priority.LIVE)
    assert refused.value.error_class == BAD_PICTURE


async def test_host_that_does_not_answer_is_asked_again_within_bounds() -> None:
    parts = Parts()
    item = Item(item_id="a", image_uri="u")
    parts.fails["fetch u"] = [Unreachable("slow"), Unreachable("slow")]
    await parts.encoder().encode(item, Priority.LIVE)
    assert parts.steps.count("fetch u") == 3
    parts.fails["fetch u"] = [Unreachable("slow")] * 9
    with pytest.raises(BadRecord, match="slow") as refused:
        await parts.encoder().encode(item, Priority.LIVE)
    assert refused.value.error_class == PICTURE_NOT_FETCHED
    assert parts.steps.count("fetch u") == 6


@pytest.mark.parametrize("final", [Forbidden("loopback"), Missing("404")])
async def test_address_that_may_not_be_asked_is_asked_once(final: Exception) -> None:
    parts = Parts()
    parts.fails["fetch u"] = [final]
    with pytest.raises(BadRecord) as refused:
        await parts.encoder().encode(Item(item_id="a", image_uri="u"), Priority.LIVE)
    assert refused.value.error_class == PICTURE_NOT_FETCHED
    assert parts.steps == ["fetch u"]


async def test_vector_without_direction_is_refused() -> None:
    parts = Parts()
    parts.nan = True
    with pytest.raises(BadRecord, match="not finite") as refused:
        await parts.encoder().encode(BOTH, Priority.LIVE)
    assert refused.value.error_class == NO_DIRECTION


async def test_backfill_begins_no_step_while_live_work_is_under_way() -> None:
    parts = Parts()
    encoder = parts.encoder()
    parts.hold["text LIVE"] = asyncio.Event()
    live = asyncio.create_task(encoder.encode(Item(item_id="a", title="t"), Priority.LIVE))
    await asyncio.sleep(0)
    backfill = asyncio.create_task(encoder.encode(BOTH, Priority.BACKFILL))
    for _ in range(5):
        await asyncio.sleep(0)
    assert parts.steps == ["text LIVE"]
    parts.hold["text LIVE"].set()
    await live
    await backfill
    assert sorted(parts.steps[1:]) == ["decode jpeg", "image BACKFILL", "text BACKFILL"]


async def test_live_work_does_not_wait_for_a_backfill_picture_that_is_fetched() -> None:
    parts = Parts()
    encoder = parts.encoder()
    parts.hold["fetch slow"] = asyncio.Event()
    slow = asyncio.create_task(encoder.encode(Item(item_id="a", image_uri="slow"), Priority.LIVE))
    await asyncio.sleep(0)
    # A live download holds nobody back either: it wants no CPU.
    await asyncio.wait_for(encoder.encode(BOTH, Priority.BACKFILL), 1)
    parts.hold["fetch slow"].set()
    await slow


async def test_backfill_takes_few_decoders_at_once() -> None:
    parts = Parts()
    encoder = parts.encoder()
    parts.hold["decode jpeg"] = asyncio.Event()
    tasks = [asyncio.create_task(encoder.encode(BOTH, Priority.BACKFILL)) for _ in range(9)]
    for _ in range(9):
        await asyncio.sleep(0)
    assert parts.decoding == BACKFILL_DECODES
    parts.hold["decode jpeg"].set()
    await asyncio.gather(*tasks)
    assert parts.decoding_at_most == BACKFILL_DECODES


async def test_picture_of_a_search_is_decoded_though_all_decoders_are_busy_with_items() -> None:
    parts = Parts()
    encoder = parts.encoder()
    parts.hold["decode jpeg"] = asyncio.Event()
    items = [asyncio.create_task(encoder.encode(BOTH, Priority.LIVE)) for _ in range(9)]
    await asyncio.sleep(0)
    assert (await asyncio.wait_for(encoder.encode_picture(b"jpeg"), 5)).image_vector.size == 2
    assert not any(item.done() for item in items)
    parts.hold["decode jpeg"].set()
    await asyncio.gather(*items)


async def test_search_goes_before_everything() -> None:
    parts = Parts()
    encoder = parts.encoder()
    text, picture = await encoder.encode_text("chair"), await encoder.encode_picture(b"jpeg")
    assert parts.steps == ["text QUERY", "decode search jpeg", "image QUERY"]
    assert text.text_vector.size == picture.image_vector.size == 2


class Tower:
    """An item tower that knows one item's row, and says of others' content what it is."""

    def vectors(
        self, keys: NDArray[np.uint64], contents: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        if keys[0] == item_key("unheard of"):
            return np.zeros((1, 2), np.float32)
        return np.array([[0.0, 1.0]], np.float32) if keys[0] == item_key("known") else contents


async def test_an_item_has_the_vector_that_the_tower_makes_of_its_content_or_knows() -> None:
    encoder = Parts().encoder(Tower())
    new, known, unheard_of = [
        await encoder.encode(Item(item_id=item_id, title="Chair"), Priority.LIVE)
        for item_id in ("new", "known", "unheard of")
    ]
    assert new.tower_vector.tolist() == new.vector.tolist()
    assert known.tower_vector.tolist() == [0.0, 1.0]
    assert known.vector.tolist() == new.vector.tolist(), "what is served for content is as before"
    assert not unheard_of.tower_vector.size
    assert (await encoder.encode_text("chair")).tower_vector.size == 0


async def test_an_item_whose_picture_is_missing_has_a_tower_vector_too() -> None:
    parts = Parts()
    parts.fails["decode jpeg"] = [BadPicture("half")]
    vectors = await parts.encoder(Tower()).encode(BOTH, Priority.LIVE)
    assert vectors.picture_missing
    assert vectors.tower_vector.tolist() == vectors.vector.tolist()
