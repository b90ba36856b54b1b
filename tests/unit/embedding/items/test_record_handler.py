"""One record's effect, and that order of processing never shows."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freshet.contract import records
from freshet.contract.items import Item, decode_item
from services.embedding.items.latest_versions import ITEM_KEY_COLLISION, LatestVersions
from shared.bundles.content import NOTHING_TO_ENCODE
from shared.catalogue.item_vectors import ItemVector
from shared.catalogue.versions import UNSTATED, LogPlace, RecordVersion
from shared.faults import SystemFault
from tests.unit.embedding.items.world import Consumed, World, delete, unit_vector, upsert

CHAIR = Item(item_id="a", title="Red chair", price=10.0)
DEARER = msgspec.structs.replace(CHAIR, price=12.0)
BLUE = msgspec.structs.replace(CHAIR, title="Blue chair")
DAY_MS = 86_400_000
T = 1_700_000_000_000  # some moment of the log


def as_of(item: Item, updated_ms: int) -> Item:
    return msgspec.structs.replace(item, updated_ms=updated_ms)


async def test_item_is_published_with_version_origin_and_arrival() -> None:
    world = World()
    await world.handle(upsert(CHAIR, offset=3, time_ms=500))
    (written,) = world.log.of("a")
    place = LogPlace(500, True, 3)
    assert written.version == RecordVersion(place, UNSTATED, place)
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


PICTURED = Item(item_id="a", title="Red chair", image_uri="https://cdn.example.com/a.jpg")
GONE = "picture-not-fetched: picture cannot be fetched: cdn.example.com answered 404"


def last_vector(world: World) -> ItemVector:
    found = world.log.of("a")[-1].vector
    assert found is not None
    return found


async def test_item_whose_picture_is_missing_is_published_from_its_text_with_the_reason() -> None:
    world = World()
    world.encoder.missing = GONE
    await world.handle(upsert(PICTURED, 0, 100))
    found = last_vector(world)
    assert (found.picture_missing, found.image_vector.size) == (GONE, 0)
    assert found.vector.tobytes() == unit_vector("Red chair").tobytes()
    assert world.dead.letters == []


@pytest.mark.parametrize("cached", [True, False])
async def test_update_keeps_the_last_good_picture(cached: bool) -> None:
    world = World()
    await world.handle(upsert(PICTURED, 0, 100))
    good = last_vector(world).image_vector
    world.encoder.missing = GONE
    if not cached:  # then the log has it
        world.cache.entries.clear()
    moved = msgspec.structs.replace(PICTURED, title="Blue chair", image_uri="https://new/a.jpg")
    await world.handle(upsert(moved, 1, 200))
    await world.handle(upsert(msgspec.structs.replace(moved, price=1.0), 2, 300))
    found = last_vector(world)
    assert (found.item.price, found.picture_missing) == (1.0, GONE)
    assert found.image_vector.tobytes() == good.tobytes()


async def test_item_that_comes_back_after_its_delete_has_no_picture_of_before() -> None:
    world = World()
    await world.handle(upsert(PICTURED, 0, 100))
    before = dict(world.cache.entries)
    await world.handle(delete("a", 1, 200))
    world.cache.entries |= before  # Redis was away when the delete came
    world.encoder.missing = GONE
    await world.handle(upsert(msgspec.structs.replace(PICTURED, title="New"), 2, 300))
    assert last_vector(world).image_vector.size == 0


async def test_item_that_is_published_again_has_its_missing_picture_tried_again() -> None:
    world = World()
    world.encoder.missing = GONE
    await world.handle(upsert(PICTURED, 0, 100))
    world.encoder.missing = ""
    await world.handle(upsert(PICTURED, 1, 200))
    assert last_vector(world).picture_missing == ""
    assert last_vector(world).image_vector.size
    assert world.encoder.encoded == ["Red chair", "Red chair"]


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
    await world.handle(upsert(as_of(CHAIR, T + 950), 5, T + 1_000))
    await world.handle(upsert(as_of(BLUE, T + 900), 8, T + 2_000, topic="items-backfill"))
    assert len(world.log.written) == 1
    assert world.encoder.encoded == ["Red chair"]
    assert world.handler.counts.overtaken == 1


async def test_equal_version_from_the_backfill_counts_by_the_log_after_a_restart_too() -> None:
    world = World()
    await world.handle(upsert(as_of(CHAIR, T + 900), 5, T + 1_000))
    restarted = world.restarted()
    earlier = upsert(as_of(BLUE, T + 900), 99, T + 950, topic="items-backfill")
    await restarted.handle(earlier)
    assert len(world.log.written) == 1


async def test_item_published_again_after_its_delete_counts_with_its_old_updated_ms() -> None:
    world = World()
    mug = as_of(CHAIR, T - 90 * DAY_MS)  # the shop's own: when it was last edited
    await world.handle(upsert(mug, 0, T), delete("a", 1, T + 1), upsert(mug, 2, T + 2))
    found = world.log.of("a")[-1].vector
    assert found is not None
    assert found.item == mug
    assert world.handler.counts.overtaken == 0
    assert world.log.seen_by_reader("a") == world.log.of("a")[-1]


async def test_update_with_an_old_updated_ms_counts_after_one_without() -> None:
    world = World()
    blue = as_of(BLUE, T - 90 * DAY_MS)
    await world.handle(upsert(CHAIR, 0, T), upsert(blue, 1, T + 1))
    assert world.log.seen_by_reader("a") == world.log.of("a")[-1]
    assert [written.vector.item.title for written in world.log.of("a") if written.vector] == [
        "Red chair",
        "Blue chair",
    ]


async def test_reader_that_knows_a_delete_takes_the_item_when_embedding_knows_it_no_more() -> None:
    world = World()
    mug = as_of(CHAIR, T - 90 * DAY_MS)
    await world.handle(upsert(mug, 0, T), delete("a", 1, T + 1))
    written = world.log.written.copy()
    world.log.written.clear()  # compacted, and the null is past its retention
    forgotten = world.restarted()
    await forgotten.handle(upsert(mug, 2, T + 30 * DAY_MS))
    world.log.written[:0] = written
    held = world.log.seen_by_reader("a")
    assert held is not None
    assert held.value is not None


async def test_old_backfill_read_after_a_delete_and_a_newer_item_changes_nothing() -> None:
    world = World()
    newest_by_its_clock = upsert(as_of(BLUE, T), 0, T + 1, topic="items-backfill")
    again = upsert(as_of(CHAIR, T - 5), 2, T + 3)
    await world.handle(delete("a", 1, T + 2), again, newest_by_its_clock)
    restarted = world.restarted()
    await restarted.handle(newest_by_its_clock)
    assert [written.version_ms for written in world.log.of("a")] == [T + 2, T + 3]


async def test_records_of_one_item_take_their_turns_where_one_is_slow() -> None:
    """Else the last would be compared with the first, as the one between is not known yet."""
    world = World()
    await world.handle(upsert(as_of(CHAIR, T), 0, T))
    world.encoder.hold["Blue chair"] = asyncio.Event()
    slow = asyncio.create_task(world.handle(upsert(BLUE, 1, T + 1)))
    last = asyncio.create_task(world.handle(upsert(as_of(DEARER, T - 5), 2, T + 2)))
    await asyncio.sleep(0)
    world.encoder.hold["Blue chair"].set()
    await asyncio.gather(slow, last)
    assert [written.version.place.offset for written in world.log.of("a")] == [0, 1, 2]


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
    assert world.log.of("a")[-1].version_ms == 200
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


async def test_the_same_failure_of_unrelated_items_in_a_row_stops_and_none_is_a_dead_letter() -> (
    None
):
    world = World()
    world.encoder.fails = [RuntimeError("always")] * 99
    log = [upsert(Item(item_id=f"i{n}", title=f"Item {n}"), n, n) for n in range(8)]
    ends = await asyncio.gather(*map(world.handler.handle, log), return_exceptions=True)
    assert {type(end) for end in ends} == {SystemFault}
    assert "unrelated records in a row fail alike: RuntimeError('always')" in str(ends[0])
    assert world.dead.letters == []
    restarted = world.restarted()
    await restarted.handle(*log)
    assert [written.item_id for written in world.log.written] == [f"i{n}" for n in range(8)]


@pytest.mark.parametrize("error", [SystemFault("the model of embedding fails"), MemoryError()])
async def test_what_no_item_can_cause_is_tried_again_and_then_stops(error: Exception) -> None:
    world = World()
    world.encoder.fails = [error]
    await world.handle(upsert(CHAIR, 0, 1))
    world.encoder.fails = [error] * 3
    with pytest.raises(SystemFault):
        await world.handle(upsert(BLUE, 1, 2))
    assert world.dead.letters == []
    assert len(world.log.written) == 1


async def test_vector_that_is_not_finite_is_refused_and_what_counts_stays() -> None:
    world = World()
    await world.handle(upsert(CHAIR, 0, 1))
    world.cache.entries["a"].vectors.vector[0] = float("nan")
    await world.handle(upsert(DEARER, 1, 2))
    assert world.dead.classes == [records.OUT_OF_BOUNDS]
    latest = world.latest.get("a")
    assert latest is not None
    assert latest.version.place.offset == 0


async def test_replayed_dead_letter_counts_as_of_its_origin() -> None:
    world = World()
    origin = records.Origin("items", 0, 2, 150)
    replay = Consumed(
        "items", 50, 9_000, b"a", upsert(BLUE, 0, 0).value, records.origin_headers(origin)
    )
    await world.handle(upsert(CHAIR, 3, 200), replay)
    assert [written.version_ms for written in world.log.written] == [200]


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b"]),
        st.sampled_from(["items", "items-backfill", "delete"]),
        st.integers(0, 4),  # the log's time advances by so much; 0: one batch
        st.one_of(st.none(), st.integers(-20, 20)),  # updated_ms
    ),
    max_size=12,
)


def sequential(log: list[Consumed]) -> dict[str, int | None]:
    """Work out the plain way which record of each item counts, by offset; None: deleted.

    In the log's order: a record with `updated_ms` changes nothing where one counts that states a
    later one; every other record counts.
    """
    counting: dict[str, tuple[int, int | None, int | None]] = {}
    for record in sorted(log, key=lambda it: (it.timestamp, it.topic == "items", it.offset)):
        item_id = (record.key or b"").decode()
        item = decode_item(record.value, records.JSON) if record.value is not None else None
        updated_ms = None if item is None else item.updated_ms
        _, _, before_ms = counting.get(item_id, (0, None, None))
        if updated_ms is None:
            counts = record.offset if item is not None else None
            counting[item_id] = (record.offset, counts, None)
        elif before_ms is None or min(updated_ms, record.timestamp) >= before_ms:
            counting[item_id] = (record.offset, record.offset, min(updated_ms, record.timestamp))
    return {item_id: offset for item_id, (_, offset, _) in counting.items()}


def consumed_of(events: list[tuple[str, str, int, int | None]]) -> list[Consumed]:
    log, time_ms = [], T
    for offset, (item_id, topic, gap_ms, updated_ms) in enumerate(events):
        time_ms += gap_ms
        if topic == "delete":
            log.append(delete(item_id, offset, time_ms))
        else:
            its_ms = None if updated_ms is None else T + updated_ms
            item = Item(item_id=item_id, title=f"t{offset % 3}", updated_ms=its_ms)
            log.append(upsert(item, offset, time_ms, topic))
    return log


async def process(world: World, log: list[Consumed], shuffle: random.Random) -> None:
    """Begin all records in order, and let their encodes end in any."""
    for title in ("t0", "t1", "t2"):
        world.encoder.hold[title] = asyncio.Event()
    tasks = [asyncio.create_task(world.handle(record)) for record in log]
    holds = list(world.encoder.hold.values())
    shuffle.shuffle(holds)
    for hold in holds:
        await asyncio.sleep(0)
        hold.set()
    await asyncio.gather(*tasks)


def assert_counts(world: World, expected: dict[str, int | None]) -> None:
    """Check that what counts stands last, is the highest and is what readers hold."""
    for item_id, offset in expected.items():
        *_, last = world.log.of(item_id)
        assert (last.version.place.offset if last.value is not None else None) == offset
        assert last.version == max(written.version for written in world.log.of(item_id))
        assert world.log.seen_by_reader(item_id) == last


@settings(max_examples=150, deadline=None)
@given(EVENTS, st.integers(0, 2**32), st.integers(0, 12))
async def test_one_topic_ends_as_one_record_after_the_other_does_also_after_a_crash(
    events: list[tuple[str, str, int, int | None]], seed: int, acknowledged: int
) -> None:
    log = [replace(record, topic="items") for record in consumed_of(events)]
    shuffle, world = random.Random(seed), World()
    await process(world, log, shuffle)
    again = world.restarted()
    written = len(world.log.written)
    await process(again, log[acknowledged:], shuffle)
    assert_counts(world, sequential(log))
    upserts = [it for it in world.log.written[written:] if it.value is not None]
    assert upserts == [], "what comes again changes nothing"


@settings(max_examples=150, deadline=None)
@given(EVENTS, st.integers(0, 2**32))
async def test_two_topics_end_as_one_does_where_the_backfill_comes_behind_the_live_items(
    events: list[tuple[str, str, int, int | None]], seed: int
) -> None:
    """Anyhow interleaved, but that what states no time on one is applied for the other."""
    log, shuffle = consumed_of(events), random.Random(seed)
    for number, record in enumerate(log):  # the backfill's own clock is the shop's
        item = decode_item(record.value, records.JSON) if record.value is not None else None
        if item is not None and record.topic == "items-backfill" and item.updated_ms is None:
            log[number] = upsert(as_of(item, record.timestamp), record.offset, record.timestamp)
            log[number] = replace(log[number], topic="items-backfill")
    live = [record for record in log if record.topic == "items"]
    backfill = [record for record in log if record.topic != "items"]
    order = []
    while live or backfill:
        unknown = any(it.timestamp <= backfill[0].timestamp for it in live) if backfill else True
        if live and (unknown or shuffle.random() < 0.5):
            order.append(live.pop(0))
        else:
            order.append(backfill.pop(0))
    world = World()
    await world.handle(*order)
    assert_counts(world, sequential(log))


@settings(max_examples=150, deadline=None)
@given(EVENTS, st.integers(0, 2**32))
async def test_two_topics_anyhow_interleaved_leave_all_readers_with_one_and_nothing_deleted_returns(
    events: list[tuple[str, str, int, int | None]], seed: int
) -> None:
    log, shuffle = consumed_of(events), random.Random(seed)
    live = [record for record in log if record.topic == "items"]
    backfill = [record for record in log if record.topic != "items"]
    order = []
    while live or backfill:
        order.append((shuffle.choice([half for half in (live, backfill) if half])).pop(0))
    world = World()
    await process(world, order, shuffle)
    for item_id in {(record.key or b"").decode() for record in log}:
        *_, last = world.log.of(item_id)
        assert last.version == max(written.version for written in world.log.of(item_id))
        assert world.log.seen_by_reader(item_id) == last
        deletes = [it for it in log if it.key == item_id.encode() and it.value is None]
        if deletes:
            place = LogPlace(deletes[-1].timestamp, True, deletes[-1].offset)
            assert last.version.place >= place


async def test_an_item_is_there_since_the_shop_created_it_also_if_it_says_so_later() -> None:
    world = World()
    dated = msgspec.structs.replace(CHAIR, created_ms=T)
    later = T + 9_000
    await world.handle(
        upsert(CHAIR, 0, later), upsert(dated, 1, later + 1), upsert(CHAIR, 2, later + 2)
    )
    since = [written.vector.arrived_ms for written in world.log.of("a") if written.vector]
    assert since == [later, T, T]
