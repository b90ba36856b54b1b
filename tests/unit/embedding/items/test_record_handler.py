"""One record's effect, and that order of processing never shows."""

from __future__ import annotations

import asyncio
import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freshet.contract import records
from freshet.contract.bounds import EARLIEST_MS
from freshet.contract.items import Item
from services.embedding.encode.content import NOTHING_TO_ENCODE
from services.embedding.items.latest_versions import ITEM_KEY_COLLISION, LatestVersions
from services.embedding.items.versions import RecordVersion, record_version
from tests.unit.embedding.items.world import Consumed, World, delete, upsert

CHAIR = Item(item_id="a", title="Red chair", price=10.0)
DEARER = msgspec.structs.replace(CHAIR, price=12.0)
BLUE = msgspec.structs.replace(CHAIR, title="Blue chair")


async def test_item_is_published_with_version_origin_and_arrival() -> None:
    world = World()
    await world.handle(upsert(CHAIR, offset=3, time_ms=500))
    (written,) = world.log.of("a")
    assert written.version == RecordVersion(500, True, 3)
    assert records.header(written.headers, records.VERSION) == b"500"
    found = written.vector
    assert found is not None
    assert (found.version, found.arrived_ms, found.item.title) == (500, 500, "Red chair")


async def test_picture_is_not_published() -> None:
    world = World()
    item = msgspec.structs.replace(CHAIR, image_bytes=b"x" * 100)
    await world.handle(upsert(item, 0, 1))
    found = world.log.of("a")[0].vector
    assert found is not None
    assert found.item.image_bytes is None


async def test_changed_price_is_published_without_encoding() -> None:
    world = World()
    await world.handle(upsert(CHAIR, 0, 100), upsert(DEARER, 1, 200))
    first, second = (written.vector for written in world.log.of("a"))
    assert first is not None
    assert second is not None
    assert world.encoder.encoded == ["Red chair"]
    assert second.item.price == 12.0
    assert second.vector.tobytes() == first.vector.tobytes()
    assert second.arrived_ms == first.arrived_ms == 100
    assert world.handler.counts.reused == 1


async def test_lost_cache_only_costs_encoding() -> None:
    world = World()
    await world.handle(upsert(CHAIR, 0, 100))
    world.cache.entries.clear()
    await world.handle(upsert(DEARER, 1, 200))
    assert world.encoder.encoded == ["Red chair", "Red chair"]


async def test_redelivered_record_changes_nothing() -> None:
    world = World()
    await world.handle(upsert(CHAIR, 0, 100), upsert(CHAIR, 0, 100))
    other = world.restarted()
    await other.handle(upsert(CHAIR, 0, 100))
    assert len(world.log.written) == 1
    assert other.encoder.encoded == []


async def test_older_version_from_the_backfill_changes_nothing() -> None:
    world = World()
    await world.handle(upsert(CHAIR, 5, EARLIEST_MS + 1_000))
    old = msgspec.structs.replace(BLUE, updated_ms=EARLIEST_MS + 900)
    await world.handle(upsert(old, 8, EARLIEST_MS + 2_000, topic="items-backfill"))
    assert len(world.log.written) == 1
    assert world.encoder.encoded == ["Red chair"]
    assert world.handler.counts.overtaken == 1


async def test_equal_version_from_the_backfill_changes_nothing_after_a_restart_too() -> None:
    world = World()
    item = msgspec.structs.replace(CHAIR, updated_ms=EARLIEST_MS + 900)
    other_item = msgspec.structs.replace(BLUE, updated_ms=EARLIEST_MS + 900)
    await world.handle(upsert(item, 5, EARLIEST_MS + 1_000))
    restarted = world.restarted()
    later_ms = EARLIEST_MS + 2_000
    await restarted.handle(upsert(other_item, 99, later_ms, topic="items-backfill"))
    assert len(world.log.written) == 1


async def test_slow_encode_of_a_deleted_item_changes_nothing() -> None:
    world = World()
    world.encoder.hold["Red chair"] = asyncio.Event()
    slow = asyncio.create_task(world.handle(upsert(CHAIR, 0, 100)))
    await asyncio.sleep(0)
    await world.handle(delete("a", 1, 200))
    world.encoder.hold["Red chair"].set()
    await slow
    assert [written.value for written in world.log.of("a")] == [None]


async def test_delete_and_price_overtake_another_items_encode() -> None:
    world = World()
    await world.handle(upsert(CHAIR, 0, 100), upsert(Item(item_id="b", title="B"), 1, 101))
    world.encoder.hold["Slow"] = asyncio.Event()
    slow = asyncio.create_task(world.handle(upsert(Item(item_id="c", title="Slow"), 2, 102)))
    await asyncio.sleep(0)
    await asyncio.wait_for(world.handle(upsert(DEARER, 3, 103), delete("b", 4, 104)), 1)
    assert not slow.done()
    world.encoder.hold["Slow"].set()
    await slow


async def test_delete_writes_nulls_everywhere_before_it_is_acknowledged() -> None:
    world = World()
    await world.handle(upsert(CHAIR, 0, 100), delete("a", 1, 200))
    assert world.log.nulls == ["a"]
    assert world.log.of("a")[-1].value is None
    assert world.log.of("a")[-1].version.time_ms == 200
    assert "a" not in world.cache.entries


async def test_redelivered_delete_completes_what_a_crash_left_undone() -> None:
    world = World()
    await world.handle(delete("a", 1, 200))
    world.log.nulls.clear()  # as if the process had died between its writes
    restarted = world.restarted()
    await restarted.handle(delete("a", 1, 200))
    assert world.log.nulls == ["a"]


async def test_delete_older_than_what_counts_changes_nothing() -> None:
    world = World()
    await world.handle(upsert(CHAIR, 2, 300), delete("a", 1, 200))
    assert world.log.nulls == []
    assert len(world.log.written) == 1


async def test_item_published_again_after_its_delete_has_arrived_anew() -> None:
    world = World()
    await world.handle(upsert(CHAIR, 0, 100), delete("a", 1, 200), upsert(CHAIR, 2, 300))
    found = world.log.of("a")[-1].vector
    assert found is not None
    assert found.arrived_ms == 300


async def test_echo_of_a_delete_on_the_backfill_is_ignored() -> None:
    world = World()
    await world.handle(upsert(CHAIR, 2, 300))
    await world.handle(Consumed("items-backfill", 0, 999, b"a", None, [(records.VERSION, b"200")]))
    assert len(world.log.written) == 1
    assert world.dead.letters == []


async def test_foreign_null_on_the_backfill_is_a_dead_letter() -> None:
    world = World()
    await world.handle(Consumed("items-backfill", 0, 999, b"a", None))
    assert "deletes go on items" in str(world.dead.letters[0][1])


async def test_write_that_was_lost_is_repeated_when_its_record_comes_again() -> None:
    world = World()
    world.log.held = asyncio.Event()
    lost = asyncio.create_task(world.handle(upsert(CHAIR, 0, 100)))
    await asyncio.sleep(0.01)
    lost.cancel()
    await asyncio.gather(lost, return_exceptions=True)
    world.log.held = None
    await world.handle(upsert(CHAIR, 0, 100))
    assert len(world.log.of("a")) == 1


@pytest.mark.parametrize(
    ("consumed", "error_class"),
    [
        (Consumed("items", 0, 1, b"a", b"{"), records.UNDECODABLE),
        (Consumed("items", 0, 1, b"a", b'{"item_id":"a","price":-1}'), records.OUT_OF_BOUNDS),
        (Consumed("items", 0, 1, b"b", b'{"item_id":"a","title":"x"}'), records.WRONG_KEY),
        (Consumed("items", 0, 1, None, b'{"item_id":"a","title":"x"}'), records.WRONG_KEY),
        (Consumed("items", 0, 1, b"a", b'{"item_id":"a"}'), NOTHING_TO_ENCODE),
        (Consumed("items", 0, 1, None, None), records.OUT_OF_BOUNDS),
        (Consumed("items", 0, 1, b"\xff", None), records.WRONG_KEY),
        (
            Consumed("items", 0, 1, b"a", b"x", [("content-type", b"text/xml")]),
            records.UNKNOWN_ENCODING,
        ),
    ],
)
async def test_bad_record_is_a_dead_letter_with_its_origin(
    consumed: Consumed, error_class: str
) -> None:
    world = World()
    await world.handle(consumed, upsert(CHAIR, 1, 2))
    ((origin, error),) = world.dead.letters
    assert (str(origin), error.error_class) == ("items:0:0", error_class)
    assert len(world.log.written) == 1


async def test_second_item_with_the_same_key_is_a_dead_letter() -> None:
    world = World(LatestVersions(key_of=lambda _: 1))
    await world.handle(upsert(CHAIR, 0, 1), upsert(Item(item_id="b", title="B"), 1, 2))
    assert world.dead.classes == [ITEM_KEY_COLLISION]


async def test_passing_failure_is_tried_again() -> None:
    world = World()
    world.encoder.fails = [RuntimeError("out of memory")]
    await world.handle(upsert(CHAIR, 0, 1))
    assert len(world.log.written) == 1
    assert world.dead.letters == []


async def test_lasting_failure_is_a_dead_letter_and_stops_nothing() -> None:
    world = World()
    world.encoder.fails = [RuntimeError("always")] * 3
    await world.handle(upsert(CHAIR, 0, 1), upsert(BLUE, 1, 2))
    assert world.dead.classes == [records.UNPROCESSABLE]
    assert len(world.log.written) == 1


async def test_vector_that_is_not_finite_is_refused_and_what_counts_stays() -> None:
    world = World()
    await world.handle(upsert(CHAIR, 0, 1))
    world.cache.entries["a"].vectors.vector[0] = float("nan")
    await world.handle(upsert(DEARER, 1, 2))
    assert world.dead.classes == [records.OUT_OF_BOUNDS]
    latest = world.latest.get("a")
    assert latest is not None
    assert latest.version.offset == 0


async def test_replayed_dead_letter_counts_as_of_its_origin() -> None:
    world = World()
    origin = records.Origin("items", 0, 2, 150)
    replay = Consumed(
        "items", 50, 9_000, b"a", upsert(BLUE, 0, 0).value, records.origin_headers(origin)
    )
    await world.handle(upsert(CHAIR, 3, 200), replay)
    assert [written.version.time_ms for written in world.log.written] == [200]


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b"]),
        st.sampled_from(["items", "items-backfill", "delete"]),
        st.integers(1, 4),  # the log's time advances by so much
        st.one_of(st.none(), st.integers(EARLIEST_MS, EARLIEST_MS + 20)),  # updated_ms
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(EVENTS, st.integers(0, 2**32))
async def test_any_order_of_processing_ends_with_the_highest_version(
    events: list[tuple[str, str, int, int | None]], seed: int
) -> None:
    world, time_ms = World(), EARLIEST_MS
    consumed: list[Consumed] = []
    best: dict[str, RecordVersion] = {}
    for offset, (item_id, topic, gap_ms, updated_ms) in enumerate(events):
        time_ms += gap_ms
        if topic == "delete":
            record = delete(item_id, offset, time_ms)
            version = record_version(None, records.Origin("items", 0, offset, time_ms))
        else:
            item = Item(item_id=item_id, title=f"t{offset % 3}", updated_ms=updated_ms)
            record = upsert(item, offset, time_ms, topic)
            version = record_version(updated_ms, records.Origin(topic, 0, offset, time_ms))
        consumed.append(record)
        best[item_id] = max(version, best.get(item_id, version))
    shuffled = random.Random(seed)
    shuffled.shuffle(consumed)
    for title in ("t0", "t1", "t2"):
        world.encoder.hold[title] = asyncio.Event()
    tasks = [asyncio.create_task(world.handle(record)) for record in consumed]
    holds = list(world.encoder.hold.values())
    shuffled.shuffle(holds)
    for hold in holds:
        await asyncio.sleep(0)
        hold.set()
    await asyncio.gather(*tasks)
    for item_id, highest in best.items():
        seen = world.log.seen_by_reader(item_id)
        assert seen is not None
        assert seen.version.time_ms == highest.time_ms
        assert max(written.version for written in world.log.of(item_id)) == highest
        assert world.log.of(item_id)[-1].version == highest


async def test_backfilled_item_is_as_old_as_its_version() -> None:
    world = World()
    old = msgspec.structs.replace(CHAIR, updated_ms=EARLIEST_MS)
    await world.handle(upsert(old, 0, EARLIEST_MS + 9_000, topic="items-backfill"))
    found = world.log.of("a")[0].vector
    assert found is not None
    assert found.arrived_ms == EARLIEST_MS
