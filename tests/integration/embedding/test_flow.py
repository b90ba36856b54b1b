"""Items in, vectors out, on the real Kafka and Valkey. Each test has items of its own."""

from __future__ import annotations

import io
import json
import time
from functools import partial
from pathlib import Path

import grpc
import msgspec
import numpy as np
import pytest
import redis
from PIL import Image

from freshet.contract import records, topics
from freshet.contract.items import Item, encode_item
from freshet.contract.records import header
from freshet.v1 import embedding_pb2 as pb
from freshet.v1 import embedding_pb2_grpc
from services.cli.up.valkey import EmbeddedValkey
from services.embedding.items.versions import Stated, headers
from shared.bundles.content import text_of
from shared.catalogue.item_vectors import ItemVector
from shared.catalogue.versions import record_version
from shared.users import keys
from tests.integration.embedding.shop import Shop, Topic, picture
from tests.servers import Service, eventually

pytestmark = pytest.mark.integration

LONG_AGO_MS = 1_600_000_000_000  # by the shop's clock


def count(embedding: Service, name: str) -> int:
    found = embedding.status()[name]
    assert isinstance(found, int)
    return found


async def test_item_with_picture_and_text_gets_unit_vectors(shop: Shop) -> None:
    await shop.publish(Item(item_id="both", title="Red chair", image_bytes=picture()))
    found = await shop.has_vector("both")
    assert found.item.title == "Red chair"
    for vector in (found.vector, found.image_vector, found.text_vector):
        assert vector.size == found.vector.size
        assert abs(float(np.linalg.norm(vector.astype(np.float32))) - 1) < 0.01


async def test_picture_or_text_alone_gives_a_vector_in_the_one_space(shop: Shop) -> None:
    await shop.publish(Item(item_id="text", title="Red chair"))
    await shop.publish(Item(item_id="picture", image_bytes=picture()))
    text, image = await shop.has_vector("text"), await shop.has_vector("picture")
    assert (text.image_vector.size, image.text_vector.size) == (0, 0)
    assert text.vector.size == image.vector.size


async def test_protobuf_items_are_read_as_json_ones_are(shop: Shop) -> None:
    item = Item(item_id="proto", title="Red chair")
    await shop.send(
        "proto",
        encode_item(item, records.PROTOBUF),
        headers=[(records.CONTENT_TYPE, records.PROTOBUF.encode())],
    )
    assert (await shop.has_vector("proto")).item == item


async def test_changed_price_is_published_without_encoding(shop: Shop, embedding: Service) -> None:
    item = Item(item_id="price", title="Red chair", image_bytes=picture(), price=10.0)
    await shop.publish(item)
    before = await shop.has_vector("price")
    encoded = count(embedding, "encoded")
    await shop.publish(Item(item_id="price", title="Red chair", image_bytes=picture(), price=12.0))

    async def dearer() -> bool:
        found = (await shop.vectors()).vector("price")
        return found is not None and found.item.price == 12.0

    await eventually(dearer)
    after = await shop.has_vector("price")
    assert after.vector.tobytes() == before.vector.tobytes()
    assert (after.arrived_ms, after.version > before.version) == (before.arrived_ms, True)
    assert count(embedding, "encoded") == encoded


async def test_deleted_item_is_gone_everywhere(shop: Shop, valkey_server: EmbeddedValkey) -> None:
    await shop.publish(Item(item_id="gone", title="Red chair"))
    await shop.has_vector("gone")
    await shop.delete("gone")
    await shop.is_gone("gone")
    for topic in (topics.ITEMS_BACKFILL.name, topics.OFFERS.name):
        await eventually(partial(_is_null, shop, topic, "gone"))
    with redis.Redis.from_url(valkey_server.url) as client:
        key = keys.item_cache(shop.space, "gone")
        await eventually(lambda: not client.exists(key))
    version = (await shop.vectors()).version("gone")
    assert version is not None
    assert abs(version - time.time() * 1000) < 60_000


async def _is_null(shop: Shop, topic: str, key: str) -> bool:
    last = (await shop.read(topic)).last.get(key)
    return last is not None and last.value is None


async def test_older_version_from_the_backfill_changes_nothing(
    shop: Shop, embedding: Service
) -> None:
    await shop.publish(Item(item_id="kept", title="New", updated_ms=LONG_AGO_MS + 1))
    await shop.has_vector("kept")
    overtaken = count(embedding, "overtaken")
    old = Item(item_id="kept", title="Old", updated_ms=LONG_AGO_MS)
    await shop.publish(old, "items-backfill")
    await eventually(lambda: count(embedding, "overtaken") == overtaken + 1)
    versions = [r for r in (await shop.vectors()).records if r.key == b"kept"]
    assert len(versions) == 1


async def test_newer_version_from_the_backfill_counts(shop: Shop) -> None:
    await shop.publish(Item(item_id="renewed", title="Old", updated_ms=LONG_AGO_MS))
    await shop.has_vector("renewed")
    await shop.publish(Item(item_id="renewed", title="New"), "items-backfill")
    await eventually(lambda: _has_title(shop, "renewed", "New"))


async def test_item_published_again_after_its_delete_counts_with_its_old_updated_ms(
    shop: Shop,
) -> None:
    season = Item(item_id="season", title="Sledge", updated_ms=LONG_AGO_MS)
    await shop.publish(season)
    await shop.has_vector("season")
    await shop.delete("season")
    await shop.is_gone("season")
    await shop.publish(season)
    again = await shop.has_vector("season")
    deleted = (await shop.vectors()).of("season")[1]
    assert again.item == season
    assert again.version > int(header(deleted.headers, records.VERSION) or 0)


async def _has_title(shop: Shop, item_id: str, title: str) -> bool:
    found = (await shop.vectors()).vector(item_id)
    return found is not None and found.item.title == title


async def test_every_record_states_its_version_and_origin(shop: Shop) -> None:
    offset = await shop.publish(Item(item_id="stated", title="x", updated_ms=LONG_AGO_MS))
    await shop.has_vector("stated")
    await shop.delete("stated")
    await shop.is_gone("stated")
    first, last = (r for r in (await shop.vectors()).records if r.key == b"stated")
    stated_ms = header(first.headers, records.VERSION)
    assert stated_ms == header(first.headers, records.ORIGIN_TIME_MS)
    origin = header(first.headers, records.ORIGIN)
    assert origin is not None
    assert origin.decode().startswith("items:")
    assert origin.decode().endswith(f":{offset}")
    assert int(header(last.headers, records.VERSION) or 0) > int(stated_ms or 0)


@pytest.mark.parametrize("deleted", [False, True])
async def test_lower_version_that_comes_to_stand_last_is_mended(
    deleted: bool, shop: Shop, embedding: Service
) -> None:
    item_id = f"late-{deleted}"
    await shop.publish(Item(item_id=item_id, title="Old", updated_ms=LONG_AGO_MS))
    old = await shop.has_vector(item_id)
    if deleted:
        await shop.delete(item_id)
        await shop.is_gone(item_id)
    else:
        await shop.publish(Item(item_id=item_id, title="New"))
        await eventually(lambda: _has_title(shop, item_id, "New"))
    highest = (await shop.vectors()).last[item_id]
    # What an instance does that lost its partition long ago and does not know it.
    late = (await shop.vectors()).of(item_id)[0]
    origin = records.Origin("items", 0, 0, old.version)
    stated = Stated(record_version(LONG_AGO_MS, origin, None), old.version)
    await shop.send(
        item_id,
        late.value,
        shop.vectors_topic,
        headers=headers(stated, origin),
    )

    async def mended() -> bool:
        last = (await shop.vectors()).last[item_id]
        return bool(last.offset > highest.offset and last.value == highest.value)

    await eventually(mended)
    last = (await shop.vectors()).last[item_id]
    assert list(last.headers) == list(highest.headers)
    assert count(embedding, "mended") >= 1


async def test_item_on_a_foreign_partition_ends_on_its_own(shop: Shop) -> None:
    """Producers that hash otherwise, as librdkafka's do, put an item's records anywhere."""
    item = Item(item_id="foreign", title="One")
    for partition in (0, 1):
        await shop.publish(item, partition=partition)
    await shop.has_vector("foreign")
    await shop.send("foreign", None, partition=0)
    await shop.is_gone("foreign")
    await shop.publish(Item(item_id="foreign", title="Two"), partition=1)
    await eventually(lambda: _has_title(shop, "foreign", "Two"))
    assert len({r.partition for r in (await shop.vectors()).of("foreign")}) == 1


def item_json(item_id: str, **fields: object) -> bytes:
    return json.dumps({"item_id": item_id, **fields}).encode()


BAD: dict[str, tuple[bytes, str]] = {
    "no JSON": (b"{", records.UNDECODABLE),
    "price below zero": (item_json("bad", price=-1), records.OUT_OF_BOUNDS),
    "key of another item": (item_json("other", title="x"), records.WRONG_KEY),
    "neither text nor picture": (item_json("bad"), "nothing-to-encode"),
    "picture alone, cut off": (
        encode_item(Item(item_id="bad", image_bytes=picture()[:300])),
        "bad-picture",
    ),
    "picture alone, no host": (
        item_json("bad", image_uri="https://example.com/not-allowed.jpg"),
        "picture-not-fetched",
    ),
}
FORBIDDEN = (
    "http://127.0.0.1/x.jpg",
    "http://2130706433/x.jpg",
    "http://0x7f000001/x.jpg",
    "http://0177.0.0.1/x.jpg",
    "http://[::1]/x.jpg",
    "http://[::ffff:127.0.0.1]/x.jpg",
    "http://169.254.169.254/latest/meta-data",
    "http://localhost/x.jpg",
    "https://example.com/not-allowed.jpg",
    "file:///etc/passwd",
    "ftp://example.com/x.jpg",
)


def encoded_picture(kind: str, side: int = 256) -> bytes:
    out = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").resize((side, side)).save(out, kind)
    return out.getvalue()


PICTURES = {
    "27 megapixels": encoded_picture("JPEG", 5200),
    "AVIF": encoded_picture("AVIF"),
    "GIF": encoded_picture("GIF"),
    "BMP": encoded_picture("BMP"),
    "TIFF": encoded_picture("TIFF"),
    "JPEG less its last two bytes": encoded_picture("JPEG")[:-2],
}
MISSING = {
    "HTML page": (b"<!DOCTYPE html><html>", "bad-picture: not a picture but a page in HTML or XML"),
    "bomb": (encoded_picture("PNG", 9000), "bad-picture: picture of 9000 × 9000 has more than"),
    "JPEG cut off": (picture()[:300], "bad-picture: broken picture: "),
}


@pytest.mark.parametrize("what", BAD)
async def test_bad_item_is_a_dead_letter_with_its_origin(what: str, shop: Shop) -> None:
    value, error_class = BAD[what]
    offset = await shop.send("bad", value, partition=0)
    letter = await shop.dead_letter(f"items:0:{offset}")
    assert header(letter.headers, records.ERROR_CLASS) == error_class.encode()
    assert header(letter.headers, records.SERVICE) == b"embedding"
    assert letter.value == value
    assert "bad" not in (await shop.vectors()).last


@pytest.mark.parametrize("what", MISSING)
async def test_item_whose_picture_is_bad_is_served_by_its_text(what: str, shop: Shop) -> None:
    data, reason = MISSING[what]
    item_id = f"bad {what}"
    await shop.publish(Item(item_id=item_id, title="Red chair", image_bytes=data))
    found = await shop.has_vector(item_id)
    assert found.picture_missing.startswith(reason)
    assert (bool(found.text_vector.size), found.image_vector.size) == (True, 0)


@pytest.mark.parametrize("uri", FORBIDDEN)
async def test_item_whose_picture_may_not_be_fetched_is_served_by_its_text(
    uri: str, shop: Shop
) -> None:
    await shop.publish(Item(item_id=f"forbidden {uri}", title="Red chair", image_uri=uri))
    found = await shop.has_vector(f"forbidden {uri}")
    assert found.picture_missing.startswith("picture-not-fetched: picture cannot be fetched: ")
    assert found.image_vector.size == 0


@pytest.mark.parametrize("what", PICTURES)
async def test_picture_that_shops_have_counts(what: str, shop: Shop) -> None:
    await shop.publish(Item(item_id=what, title="Red chair", image_bytes=PICTURES[what]))
    found = await shop.has_vector(what)
    assert found.picture_missing == ""
    assert found.image_vector.size


async def test_picture_that_comes_late_is_taken_in_and_kept_when_it_goes(
    shop: Shop, pictures: Path, embedding: Service
) -> None:
    late = Item(item_id="late", title="Red chair", image_uri=f"file://{pictures}/late.jpg")
    await shop.publish(late)
    missing = await shop.has_vector("late")
    assert missing.picture_missing == (
        "picture-not-fetched: picture cannot be fetched: no such file"
    )
    shown = embedding.status()["pictures"]
    assert isinstance(shown, dict)
    assert shown["missing"]["picture-not-fetched"]

    (pictures / "late.jpg").write_bytes(picture(3))

    async def came() -> ItemVector | None:
        found = (await shop.vectors()).vector("late")
        return found if found is not None and not found.picture_missing else None

    found = await eventually(came, within_s=60, what="the picture")
    assert isinstance(found, ItemVector)
    assert found.version == missing.version
    assert found.image_vector.size

    (pictures / "late.jpg").unlink()
    await shop.publish(msgspec.structs.replace(late, title="Blue chair"))
    await eventually(lambda: _has_title(shop, "late", "Blue chair"))
    kept = await shop.has_vector("late")
    assert kept.picture_missing
    assert kept.image_vector.tobytes() == found.image_vector.tobytes()


async def test_bad_items_stop_nothing(shop: Shop, embedding: Service) -> None:
    for number, (value, _) in enumerate(BAD.values()):
        await shop.send("bad", value)
        await shop.publish(Item(item_id=f"good-{number}", title=f"Good {number}"))
    for number in range(len(BAD)):
        await shop.has_vector(f"good-{number}")
    assert embedding.status()["live"] is True


async def test_picture_in_allowed_storage_is_fetched(shop: Shop, pictures: Path) -> None:
    (pictures / "a.jpg").write_bytes(picture(3))
    await shop.publish(Item(item_id="stored", image_uri=f"file://{pictures}/a.jpg"))
    await shop.publish(Item(item_id="inline", image_bytes=picture(3)))
    stored, inline = await shop.has_vector("stored"), await shop.has_vector("inline")
    assert stored.vector.tobytes() == inline.vector.tobytes()
    assert stored.content_hash != inline.content_hash


async def test_backfill_does_not_delay_live_items(shop: Shop, embedding: Service) -> None:
    old = [f"old-{number}" for number in range(150)]
    embedding.pause()  # so that all of them wait when the live item comes
    try:
        for number, item_id in enumerate(old):
            item = Item(item_id=item_id, image_bytes=picture(number, side=600))
            await shop.publish(item, topics.ITEMS_BACKFILL.name)
        await shop.publish(Item(item_id="urgent", title="Urgent", image_bytes=picture(1)))
    finally:
        embedding.resume()
    urgent = await shop.has_vector("urgent", within_s=60)

    async def all_done() -> Topic | None:
        found = await shop.vectors()
        return found if all(found.vector(item_id) for item_id in old) else None

    found = await eventually(all_done, what="the end of the backfill", within_s=60)
    assert isinstance(found, Topic)
    ends = [vector.encoded_ms for item_id in old if (vector := found.vector(item_id))]
    assert sum(end_ms < urgent.encoded_ms for end_ms in ends) < 75, "live items go first"


async def test_search_gives_the_vector_that_a_text_item_has(shop: Shop, embedding: Service) -> None:
    item = Item(item_id="found", title="Space adventure")
    await shop.publish(item)
    found = await shop.has_vector("found")
    address = f"127.0.0.1:{embedding.status()['port']}"
    async with grpc.aio.insecure_channel(address) as channel:
        stub = embedding_pb2_grpc.EmbeddingStub(channel)
        reply = await stub.EmbedQuery(pb.EmbedQueryRequest(text=text_of(item)))
        assert reply.space == shop.space
        asked = np.frombuffer(reply.vector, "<f2").astype(np.float32)
        assert float(asked @ found.vector.astype(np.float32)) > 0.99
        image = await stub.EmbedQuery(pb.EmbedQueryRequest(image=picture()))
        assert len(image.vector) == len(reply.vector)


async def test_bundle_is_made_active(
    embedding: Service, valkey_server: EmbeddedValkey, space: str
) -> None:
    with redis.Redis.from_url(valkey_server.url) as client:
        active = json.loads(client.get(keys.ACTIVE_BUNDLE) or b"{}")
        assert active["space"] == space
        assert active["dim"] > 0


async def test_cached_item_ends_after_thirty_days(
    shop: Shop, valkey_server: EmbeddedValkey
) -> None:
    await shop.publish(Item(item_id="cached", title="Cached"))
    found = await shop.has_vector("cached")
    with redis.Redis.from_url(valkey_server.url) as client:
        key = keys.item_cache(shop.space, "cached")
        fields = await eventually(lambda: client.hgetall(key))
        assert isinstance(fields, dict)
        assert fields[b"vector"] == found.vector.tobytes()
        assert fields[b"content_hash"] == found.content_hash
        assert int(fields[b"version"]) == found.version
        assert 0 < client.ttl(key) <= keys.ITEM_CACHE_TTL_S
