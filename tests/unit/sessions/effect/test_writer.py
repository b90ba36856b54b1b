"""Exactly once, whatever comes between: redelivery, lost replies, lost writes, other workers."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from freshet.contract.records import CONTENT_TYPE, JSON, UNPROCESSABLE, Origin, origin_headers
from services.sessions.effect import writer as writer_module
from services.sessions.effect.double import MemoryStore
from services.sessions.effect.store import WriteRefused
from services.sessions.effect.writer import EffectWriter, Gap
from services.sessions.faust import batches as batches_module
from services.sessions.faust.batches import Batch
from services.sessions.fold.fold import Folded, FoldEvent, fold_many
from services.sessions.fold.mutable_state import EFFECTS
from services.sessions.fold.settings import FoldSettings
from services.sessions.settings import SessionsSettings
from shared.faults import SystemFault
from shared.runtime import metrics
from shared.users import keys, positions
from shared.users.exclusions import ExclusionSettings
from tests.unit.sessions.kit import (
    NOW_MS,
    TOPIC,
    FailingStore,
    MemoryDeadLetters,
    MemoryItems,
    Record,
    assert_same,
    batch,
    click,
    content,
    poison,
    state_of,
    writer,
)

ITEMS = MemoryItems(np.random.default_rng(3).standard_normal((12, 8)), [("shoes",), ("hats",)] * 6)
LOG = [click(n, user="ann" if n % 3 else "bob", item=n % 5) for n in range(20)]


async def apply(worker: EffectWriter, *batches: Batch) -> None:
    for one in batches:
        await worker.apply(one, ITEMS)


async def plain(records: Sequence[Record] = LOG) -> dict[bytes, object]:
    """What a log comes to, taken in at once and undisturbed."""
    store = MemoryStore(TOPIC)
    for partition in sorted({record.partition for record in records}):
        await apply(
            writer(store), batch([record for record in records if record.partition == partition])
        )
    return content(store)


async def test_ids_of_items_that_the_catalogue_lacks_are_kept_as_they_were_sent() -> None:
    store = MemoryStore(TOPIC)
    worker = writer(store)

    await apply(worker, batch([click(0, item=3), click(1, item=99), click(2, item=99)]))

    assert store.ids == {keys.item_key("item-99"): "item-99"}
    assert worker.unknown_items == 2


async def test_the_first_event_of_an_item_that_is_still_being_read_counts_for_others() -> None:
    class ItemsOnTheirWay(MemoryItems):
        there = False

        def rows(self, wanted: NDArray[np.uint64]) -> NDArray[np.int64]:
            return super().rows(wanted) if self.there else np.full(wanted.shape, -1)

    items, store = ItemsOnTheirWay(ITEMS.vectors), MemoryStore(TOPIC)

    async def caught_up() -> None:
        items.there = True

    worker = EffectWriter(store, MemoryDeadLetters(), SessionsSettings(), caught_up)
    worker.take_over(0, None, 0)
    await worker.apply(batch([click(0, item=3), click(1, item=4)]), items)

    assert len(store.sets[keys.trending("all")]) == 2
    assert keys.covisits(keys.item_key("item-3")) in store.sets
    assert (store.ids, worker.unknown_items) == ({}, 0)


async def test_redis_does_not_grow_by_what_clients_invent() -> None:
    store = MemoryStore(TOPIC)
    worker = writer(store, segments_at_most=3, unknown_ids_at_most=100)
    await apply(worker, batch([click(n, f"user-{n}", n % 12, segment="PL") for n in range(12)]))
    before = set(store.sets)

    invented = [click(n, "eve", n, segment=f"segment-{n}") for n in range(12, 5_012)]
    await apply(worker, batch(invented))

    scopes = {b"tr:s:segment-12", b"tr:s:segment-13"}  # no event of theirs counts
    assert set(store.sets) - before <= scopes
    assert len(store.sets[keys.trending("all")]) == 12
    assert store.segments.keys() == {"PL", "segment-12", "segment-13"}
    assert len(store.ids) == 100
    assert worker.unknown_items == 5_000
    assert worker.segments_refused == 4_998


async def test_only_segments_that_are_listed_have_a_scope() -> None:
    store = MemoryStore(TOPIC)
    worker = writer(store, segments=("PL", "DE"))
    records = [click(n, f"user-{n}", n, segment=s) for n, s in enumerate(("PL", "XX", "DE"))]

    await apply(worker, batch(records))

    scopes = {key for key in store.sets if key.startswith(b"tr:s:")}
    assert scopes == {b"tr:s:PL", b"tr:s:DE"}
    assert worker.segments_refused == 1
    assert not store.segments


async def test_a_segment_that_lost_its_scope_leaves_its_place() -> None:
    store, month_ms = MemoryStore(TOPIC), 31 * 86_400_000
    worker = writer(store, segments_at_most=1)
    first, refused = click(0, segment="PL"), click(1, "bob", segment="DE")
    later = click(2, "bob", 1, segment="DE")
    later = replace(later, timestamp=later.timestamp + month_ms)

    await apply(worker, batch([first, refused]), batch([later]))

    assert store.segments.keys() == {"DE"}
    assert keys.trending("s:DE") in store.sets


def position_of(store: MemoryStore, partition: int = 0) -> positions.Position:
    return positions.unpack(store.values[keys.position(TOPIC, partition)])


async def test_the_position_is_the_last_record_with_its_time() -> None:
    store = MemoryStore(TOPIC)
    await apply(writer(store), batch(LOG))
    assert position_of(store)[:2] == (19, LOG[-1].timestamp)


async def test_a_redelivered_batch_writes_nothing() -> None:
    store = FailingStore()
    worker = writer(store)
    await apply(worker, batch(LOG))
    before, writes = deepcopy(store.values), store.writes
    await apply(worker, batch(LOG[7:]), batch(LOG[:3]), batch(LOG))
    assert store.values == before
    assert store.writes == writes


async def test_a_batch_that_overlaps_counts_only_what_is_new() -> None:
    store = MemoryStore(TOPIC)
    await apply(writer(store), batch(LOG[:12]), batch(LOG[5:]))
    assert_same(content(store), await plain())


async def test_a_reply_that_is_lost_counts_once() -> None:
    store = FailingStore(["lost after"])
    worker, part = writer(store), batch(LOG)
    with pytest.raises(ConnectionError):
        await apply(worker, part)
    await apply(worker, part)
    assert_same(content(store), await plain())


async def test_a_write_that_never_arrived_is_made_again() -> None:
    store = FailingStore([None, "lost before"])
    worker, part = writer(store, slice_events=4), batch(LOG)
    with pytest.raises(ConnectionError):
        await apply(worker, part)
    assert position_of(store).offset == -1  # a first part is there, and says nothing of the rest
    await apply(worker, part)
    assert_same(content(store), await plain())


async def test_a_worker_that_writes_late_changes_nothing_twice() -> None:
    """It was stopped, lost its partition, and goes on with what it has in memory."""
    store = MemoryStore(TOPIC)
    late, other = writer(store), writer(store)
    await apply(late, batch(LOG[:5]))
    other = writer(store)
    await apply(other, batch(LOG[5:15]))
    part = batch(LOG[5:10])
    with pytest.raises(WriteRefused):
        await apply(late, part)
    await apply(late, part)
    await apply(other, batch(LOG[15:]))
    assert_same(content(store), await plain())


async def test_two_workers_that_both_think_they_own_a_partition_count_once() -> None:
    store = MemoryStore(TOPIC)
    one, two = writer(store), writer(store)
    for start in range(0, 20, 2):
        for worker in (one, two):
            part = batch(LOG[start : start + 2])
            with contextlib.suppress(WriteRefused):
                await apply(worker, part)
            await apply(worker, part)
    assert_same(content(store), await plain())


async def test_a_user_on_two_partitions_is_counted_once_on_each() -> None:
    mine = [click(n, "ann", n % 5) for n in range(8)]
    others = [click(n, "ann", n % 4, partition=1) for n in range(8)]
    store = MemoryStore(TOPIC)
    left, right = writer(store), writer(store)  # neither knows what the other writes
    for n in range(0, 8, 2):
        for worker, records in ((left, mine), (right, others)):
            part = batch(records[n : n + 2])
            with contextlib.suppress(WriteRefused):
                await apply(worker, part)
            await apply(worker, part)
    assert state_of(store, "ann").guard == {0: 7, 1: 7}
    assert len(state_of(store, "ann").history) == 16


async def test_a_batch_beyond_what_redis_has_is_not_folded() -> None:
    """Redis came back without its newest writes."""
    store = MemoryStore(TOPIC)
    worker = writer(store)
    await apply(worker, batch(LOG[:5]))
    older = deepcopy(store.values)
    await apply(worker, batch(LOG[5:10]))
    store.values = older
    part = batch(LOG[10:15])
    with pytest.raises(WriteRefused):
        await apply(worker, part)
    with pytest.raises(Gap, match="5 to 9 are missing"):
        await apply(worker, part)
    assert store.values == older


async def test_a_position_that_is_gone_is_a_gap() -> None:
    """Redis came back empty: nothing may be counted as the beginning of the log."""
    store = MemoryStore(TOPIC)
    await apply(writer(store), batch(LOG[:5]))
    worker = writer(store)
    store.values.clear()
    part = batch(LOG[5:10])
    with pytest.raises(Gap, match="gone"):
        await apply(worker, part)
    assert not store.values


async def test_states_in_memory_that_redis_has_lost_are_read_again() -> None:
    """It came back empty: what memory has applied must not count as written."""
    store = MemoryStore(TOPIC)
    worker = writer(store)
    await apply(worker, batch(LOG[:1]))
    store.values, store.sets = {}, {}
    await apply(worker, batch(LOG))  # of bob, who is in memory, and ann, who is not
    assert_same(content(store), await plain())


async def test_without_a_position_the_log_counts_from_where_it_begins() -> None:
    store = MemoryStore(TOPIC)
    late = [click(500 + n) for n in range(3)]
    await apply(writer(store, begin=500), batch(late))
    assert position_of(store).offset == 502


async def test_offsets_that_the_log_leaves_out_are_no_gap() -> None:
    """Transactions leave markers in the log that no consumer sees."""
    store = MemoryStore(TOPIC)
    worker = writer(store)
    await apply(worker, batch(LOG[:5]), batch(LOG[6:], start=5))
    assert position_of(store).offset == 19


async def test_poison_goes_to_dead_letters_before_the_position_passes_it() -> None:
    records = [click(0), poison(1), click(2), poison(3)]
    store, letters = MemoryStore(TOPIC), MemoryDeadLetters(failures=2)
    worker, part = writer(store, letters), batch(records)
    with pytest.raises(ConnectionError):
        await apply(worker, part)
    assert keys.position(TOPIC, 0) not in store.values
    await apply(worker, part)
    assert letters.offsets == [1, 3]
    assert position_of(store).offset == 3
    assert len(state_of(store, "ann").history) == 2


async def test_a_batch_of_nothing_but_poison_moves_the_position() -> None:
    store, letters = MemoryStore(TOPIC), MemoryDeadLetters()
    await apply(writer(store, letters), batch([poison(0), poison(1)]))
    assert letters.offsets == [0, 1]
    assert content(store).keys() == {keys.position(TOPIC, 0)}


async def test_a_refused_batch_of_nothing_but_poison_looks_where_redis_is() -> None:
    store = MemoryStore(TOPIC)
    late, other = writer(store), writer(store)
    await apply(other, batch([poison(0)]))
    part = batch([poison(0), poison(1)])
    with pytest.raises(WriteRefused):
        await apply(late, part)
    await apply(late, part)
    assert position_of(store).offset == 1


async def test_letters_that_are_there_are_not_written_again() -> None:
    store, letters = FailingStore(["lost before"]), MemoryDeadLetters()
    worker, part = writer(store, letters), batch([click(0), poison(1)])
    with pytest.raises(ConnectionError):
        await apply(worker, part)
    await apply(worker, part)
    assert letters.offsets == [1]


async def test_a_redelivered_batch_writes_no_letters_again() -> None:
    store, letters = MemoryStore(TOPIC), MemoryDeadLetters()
    worker = writer(store, letters)
    await apply(worker, batch([poison(0), click(1)]), batch([poison(0), click(1)]))
    await apply(worker, batch([poison(0), click(1), click(2)]))
    assert letters.offsets == [0]


async def test_an_event_at_which_the_fold_breaks_is_a_dead_letter_and_the_rest_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fold_that_breaks(states: Any, events: Sequence[FoldEvent], *more: Any) -> Folded:
        if any(event.event.item_id == "item-3" for event in events):
            raise ZeroDivisionError("a bug")
        return fold_many(states, events, *more)

    monkeypatch.setattr(writer_module, "fold_many", fold_that_breaks)
    store, letters = MemoryStore(TOPIC), MemoryDeadLetters()
    await apply(writer(store, letters, slice_events=64), batch(LOG))
    monkeypatch.undo()
    broken = [record.offset for record in LOG if record.offset % 5 == 3]
    assert letters.offsets == broken
    assert {letter.error.error_class for letter in letters.letters} == {UNPROCESSABLE}
    assert "ZeroDivisionError: a bug" in str(letters.letters[0].error)
    good = [record for record in LOG if record.offset not in broken]
    expected = await plain(good)
    expected[keys.position(TOPIC, 0)] = (19, LOG[-1].timestamp)
    assert_same(content(store), expected)


def breaks_for(monkeypatch: pytest.MonkeyPatch, *users: str) -> None:
    """Let the fold raise at events of these users; at all without any."""

    def fold_that_breaks(states: Any, events: Sequence[FoldEvent], *more: Any) -> Folded:
        if not users or any(event.event.user_id in users for event in events):
            raise ZeroDivisionError("a bug")
        return fold_many(states, events, *more)

    monkeypatch.setattr(writer_module, "fold_many", fold_that_breaks)


async def test_a_fold_that_always_raises_stops_and_once_mended_everything_counts_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, letters = MemoryStore(TOPIC), MemoryDeadLetters()
    await apply(writer(store), batch(LOG[:5]))
    before = deepcopy((store.values, store.sets))
    breaks_for(monkeypatch)
    await apply(writer(MemoryStore(TOPIC)), batch([poison(0)]))  # in which nothing is to be folded
    with pytest.raises(SystemFault, match=r"no event can be folded: ZeroDivisionError\('a bug'\)"):
        await apply(writer(store, letters), batch(LOG[5:]))
    assert (store.values, store.sets) == before
    assert letters.offsets == []
    monkeypatch.undo()
    await apply(writer(store, letters), batch(LOG[5:]))
    assert_same(content(store), await plain())


async def test_a_fold_that_raises_for_one_user_after_the_other_stops(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = [click(n, f"u{n}", n % 5) for n in range(12)]
    store, letters = MemoryStore(TOPIC), MemoryDeadLetters()
    breaks_for(monkeypatch, *(f"u{n}" for n in range(3, 12)))
    with pytest.raises(SystemFault, match="5 unrelated records in a row fail alike: ZeroDivision"):
        await apply(writer(store, letters), batch(log))
    assert position_of(store).offset == -1
    assert letters.offsets == []
    monkeypatch.undo()
    await apply(writer(store, letters), batch(log))
    assert_same(content(store), await plain(log))


async def test_dead_letters_published_again_before_the_fold_is_mended_stop_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    breaks_for(monkeypatch, *(f"u{n}" for n in range(9)))
    again = [
        click(n, f"u{n}", headers=[(CONTENT_TYPE, JSON.encode()), *origin_headers(origin)])
        for n in range(9)
        for origin in (Origin(TOPIC, 1, n, NOW_MS - 1),)
    ]
    store, letters = MemoryStore(TOPIC), MemoryDeadLetters()
    await apply(writer(store, letters), batch(again))
    assert letters.offsets == list(range(9))
    assert position_of(store).offset == 8


async def test_a_fault_shows_over_batches_of_one_event_too_and_the_first_can_be_replayed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, letters = MemoryStore(TOPIC), MemoryDeadLetters()
    breaks_for(monkeypatch, *(f"u{n}" for n in range(9)))
    worker = writer(store, letters)
    with pytest.raises(SystemFault):
        await apply(worker, *(batch([click(n, f"u{n}")]) for n in range(9)))
    assert letters.offsets == [0, 1, 2, 3]
    assert position_of(store).offset == 3


async def test_records_that_cannot_be_decoded_for_a_reason_unforeseen_stop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def decode_that_breaks(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(batches_module, "decode_event", decode_that_breaks)
    store, letters = MemoryStore(TOPIC), MemoryDeadLetters()
    with pytest.raises(SystemFault, match="in a row"):
        await apply(writer(store, letters), batch([click(n, f"u{n}") for n in range(9)]))
    assert letters.offsets == []


async def test_any_number_of_records_that_the_contract_refuses_stops_nothing() -> None:
    log = [Record(n, b"\xff", b"u%d" % n) for n in range(30)]
    store, letters = MemoryStore(TOPIC), MemoryDeadLetters()
    await apply(writer(store, letters), batch(log))
    assert letters.offsets == list(range(30))


async def test_a_state_that_a_newer_program_wrote_stops_and_is_folded_once_it_can_be_read() -> None:
    store, letters = MemoryStore(TOPIC), MemoryDeadLetters()
    await apply(writer(store), batch(LOG[:5]))
    ours = store.values[keys.user("bob")]
    store.values[keys.user("bob")] = newer = b"\x03" + ours[1:]
    with pytest.raises(SystemFault, match="user state of format 3: this program reads formats 1"):
        await apply(writer(store, letters), batch(LOG[5:]))
    assert letters.offsets == []
    assert position_of(store).offset == 4
    assert store.values[keys.user("bob")] == newer
    store.values[keys.user("bob")] = ours
    await apply(writer(store, letters), batch(LOG[5:]))
    assert_same(content(store), await plain())


async def test_a_state_that_cannot_be_read_stays_and_its_events_are_dead_letters() -> None:
    store, letters = MemoryStore(TOPIC), MemoryDeadLetters()
    store.values[keys.user("bob")] = b"\xffnonsense"
    await apply(writer(store, letters), batch(LOG))
    assert letters.offsets == [record.offset for record in LOG if record.key == b"bob"]
    assert {letter.error.error_class for letter in letters.letters} == {UNPROCESSABLE}
    assert store.values[keys.user("bob")] == b"\xffnonsense"
    assert len(state_of(store, "ann").history) == 13


async def test_a_hot_user_costs_no_read() -> None:
    store = MemoryStore(TOPIC)
    worker = writer(store)
    await apply(worker, batch(LOG[:10]))

    async def read(*_: object) -> None:
        raise AssertionError("Redis was asked for what is in memory")

    store.read = read  # type: ignore[assignment,method-assign]
    await apply(worker, batch(LOG[10:]))
    assert position_of(store).offset == 19


async def test_a_state_changes_its_format_and_back_while_guards_compare() -> None:
    kinds = ["click", "swipe", "dislike", *["click"] * 50, "undislike", *["click"] * 3]
    log = [click(n, item=n % 51, type=kind) for n, kind in enumerate(kinds)]  # 53 is 2 again
    store, formats = MemoryStore(TOPIC), []
    for record in log:
        await apply(writer(store), batch([record]))  # reads what the one before wrote
        await apply(writer(store), batch([record]))
        formats.append(store.values[keys.user("ann")][0])
    assert formats == [1, *[2] * 52, *[1] * 4]
    assert_same(content(store), await plain(log))


async def test_what_full_lists_let_go_and_what_nobody_weighs_is_counted() -> None:
    small = FoldSettings(exclusions=ExclusionSettings(at_most=2))
    worker = writer(MemoryStore(TOPIC), fold=small)
    log = [click(n, item=n, type=("Hide", "Swipe")[n // 5]) for n in range(7)]
    await apply(worker, batch(log), batch(log))
    assert worker.exclusions_dropped == 3
    assert worker.unknown_types.seen() == {"swipe": 2}


async def test_what_events_did_is_counted_once_also_where_a_batch_comes_again() -> None:
    def counted() -> dict[str, float]:
        return {
            effect: metrics.EVENT_EFFECTS.labels(effect)._value.get()
            for effect in EFFECTS
            if effect != "covered"
        }

    log = [click(n, item=n, type="view") for n in range(52)]
    log.append(replace(click(0, item=60), offset=52))  # older than 50 entries
    log.append(replace(click(40, item=61), offset=53))  # before newer ones
    log.append(click(54, type="forget"))
    log.append(replace(click(50), offset=55))  # before the forget
    store, before = FailingStore(["lost after"]), counted()
    worker = writer(store, slice_events=64)
    with pytest.raises(ConnectionError):
        await apply(worker, batch(log))
    await apply(worker, batch(log), batch(log))
    assert worker.effects == {}, "all was written before, so the second attempt found it covered"
    worker = writer(MemoryStore(TOPIC))
    await apply(worker, batch(log), batch(log))
    effects = {"applied": 52, "late": 1, "too_old": 1, "forgot": 1, "forgotten": 1, "repeated": 0}
    assert +Counter(effects) == worker.effects
    assert {name: count - before[name] for name, count in counted().items()} == effects


async def test_leaving_a_partition_forgets_its_users() -> None:
    worker = writer(MemoryStore(TOPIC))
    await apply(worker, batch(LOG), batch([click(0, "cy", partition=1)]))
    worker.forget_partitions({0})
    assert worker._cache.find(["ann", "cy"])[1] == ["ann"]
    assert worker.partitions() == {1}


async def test_no_stamp_is_ever_used_twice() -> None:
    store = MemoryStore(TOPIC)
    workers = [writer(store) for _ in range(3)]
    stamps = [worker._stamp() for worker in workers for _ in range(100)]
    assert len(set(stamps)) == len(stamps)
    assert {len(stamp) for stamp in stamps} == {16}


@settings(max_examples=60, deadline=None)
@given(data=st.data())
async def test_whatever_is_lost_on_the_way_the_end_is_that_of_a_plain_fold(
    data: st.DataObject,
) -> None:
    """Two workers take turns as they please, in batches of any size, from any place before.

    Replies and writes are lost, and Redis falls back to an older copy of itself.
    """
    log = [click(n, f"u{n % 4}", n * 7 % 11) if n % 7 else poison(n) for n in range(30)]
    faults = data.draw(st.lists(st.sampled_from([None, None, "lost before", "lost after"])))
    store = FailingStore(faults)
    workers = [writer(store), writer(store)]
    copies = [deepcopy((store.values, store.sets))]
    for _ in range(data.draw(st.integers(0, 25))):
        at = data.draw(st.integers(0, 29))
        end = data.draw(st.integers(at + 1, 30))
        worker = data.draw(st.sampled_from(workers))
        with contextlib.suppress(WriteRefused, ConnectionError, Gap):
            await apply(worker, batch(log[at:end]))
        if data.draw(st.booleans()):
            copies.append(deepcopy((store.values, store.sets)))
        elif data.draw(st.integers(0, 5)) == 0:
            store.values, store.sets = deepcopy(data.draw(st.sampled_from(copies)))
    store.faults = iter(())
    await apply(writer(store), batch(log))
    assert_same(content(store), await plain(log))
