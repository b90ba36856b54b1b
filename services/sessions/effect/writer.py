"""Write a batch's effect to Redis, exactly once (docs/architecture.md: exactly-once effect).

What is written is compared first: a chunk names the position and the guards that it replaces. So
a batch that failed, even one whose replies were lost, is simply applied again from what Redis
holds then: what was applied is covered by the guards.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import operator
import os
import time
from collections import Counter, defaultdict
from collections.abc import (
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from typing import NamedTuple

import numpy as np

from freshet.contract import records
from freshet.contract.events import FORGET, Event
from services.sessions.effect.cache import StateCache
from services.sessions.effect.segments import Segments
from services.sessions.effect.store import ForeignKeys, StatesStore, UserWrite, WriteChunk
from services.sessions.effect.unknown_types import UnknownTypes
from services.sessions.faust.batches import Batch, Rejected, decode, unprocessable
from services.sessions.fold.event_columns import cached_item_key
from services.sessions.fold.fold import Folded, FoldedChunk, FoldEvent, fold_many
from services.sessions.fold.mutable_state import COVERED, EFFECTS
from services.sessions.settings import SessionsSettings
from shared.catalogue.catalogue import Items
from shared.faults import FaultDetector, SystemFault, relation_of
from shared.runtime import metrics
from shared.runtime.dead_letters import DeadLetterWriter
from shared.users import keys, positions
from shared.users.positions import UNKNOWN_TIME_MS, Position
from shared.users.states import NewerFormat, UserState, empty, pack, pack_guard, unpack

log = logging.getLogger(__name__)


class Gap(Exception):
    """Redis is behind the batch: it lost something, and the partition must be read again."""


class AppliedPosition(NamedTuple):
    """Up to where a partition is applied, and the `pos:` value that says so, empty for none."""

    position: Position
    value: bytes


async def _at_once() -> None:
    """Wait for no items."""


async def _forget_nothing(times: Mapping[str, int]) -> None:
    """Know nothing of users beside their events."""


class EffectWriter:
    """Reads, folds and writes batches; one for all partitions of a worker.

    Keeps states and positions in memory, which may be wrong: then a write is refused, and what was
    kept of the batch is dropped.
    """

    def __init__(
        self,
        store: StatesStore,
        dead_letters: DeadLetterWriter,
        settings: SessionsSettings,
        items_caught_up: Callable[[], Awaitable[None]] = _at_once,
        forget_told: Callable[[Mapping[str, int]], Awaitable[None]] = _forget_nothing,
    ) -> None:
        """items_caught_up: waits for the items that are known to others by now, for a while.

        forget_told: forgets what the shop said of users until a record's time, in ms; may be called
        again.
        """
        self._forget_told = forget_told
        self._items_caught_up = items_caught_up
        self._store = store
        self._dead_letters = dead_letters
        self._settings = settings
        self._cache = StateCache(settings.cache_users)
        self._applied: dict[int, AppliedPosition] = {}  # by partition
        self._without_value: dict[int, Position] = {}  # what no `pos:` value means, by partition
        self._faults = FaultDetector(NewerFormat)
        # Of each partition's batch in hand: offsets of letters sent, keys that hold another type.
        self._lettered: defaultdict[int, set[int]] = defaultdict(set)
        self._foreign: defaultdict[int, set[bytes]] = defaultdict(set)
        self.unknown_types = UnknownTypes(settings.fold.vectors.weights.codes)
        self.effects = Counter[str]()  # events by what they did, since the start
        self.segments = Segments(store, settings.segments, settings.segments_at_most)
        self.unknown_items = 0  # events of items that the catalogue lacks, since the start
        self.segments_refused = 0  # events whose segment had no place, since the start
        self.exclusions_dropped = 0  # by full lists, since the start
        self._stamp_prefix = os.urandom(8)
        self._counter = itertools.count(1)

    # What is known of partitions

    def take_over(self, partition: int, value: bytes | None, log_begin: int) -> Position:
        """Return where a partition stands; without a `pos:` value before the log's first record.

        Raises ValueError when the value cannot be read.
        """
        self._without_value.pop(partition, None)
        if not value:
            self._without_value[partition] = Position(log_begin - 1, UNKNOWN_TIME_MS, b"")
        return self._note_position(partition, value).position

    def position_of(self, partition: int) -> AppliedPosition | None:
        """Return up to where a partition is applied; None while that is to be read anew."""
        return self._applied.get(partition)

    def partitions(self) -> set[int]:
        """Return the partitions of which a position is kept."""
        return set(self._applied)

    def users_in_memory(self) -> int:
        """Count the states kept, some of them twice."""
        return len(self._cache)

    def forget_partitions(self, partitions: set[int]) -> None:
        """Drop what is kept of partitions that others have now."""
        if partitions:
            self._cache.drop_partitions(partitions)
        for partition in partitions:
            self._applied.pop(partition, None)
            self._lettered.pop(partition, None)
            self._foreign.pop(partition, None)

    def forget_states(self) -> None:
        """Drop all states: Redis may have lost some of any partition."""
        self._cache.clear()
        self.segments.forget()

    # A batch on its way to Redis

    async def apply(self, batch: Batch, items: Items) -> None:
        """Give a batch its effect, or raise; whatever was raised but Gap, apply it again.

        Raises WriteRefused when another worker, or a loss in Redis, came between; Gap;
        TRANSIENT_ERRORS while Redis or Kafka is unavailable; and SystemFault, after which nothing
        should be applied: the batch's position and dead letters are not written then.
        """
        events, rejected = decode(batch.records)
        users = dict.fromkeys(event.event.user_id for event in events)
        try:
            applied, states, damaged = await self._read(batch.partition, users)
            if batch.end <= applied.position.offset:
                return  # applied before, dead letters and all
            if batch.start > applied.position.offset + 1:
                missing = f"{applied.position.offset + 1} to {batch.start - 1}"
                raise Gap(f"{missing} are missing in Redis")
            if damaged:
                for event in [e for e in events if e.event.user_id in damaged]:
                    rejected.append(_reject(batch, event, damaged[event.event.user_id]))
                events = [event for event in events if event.event.user_id not in damaged]
            await self._write(batch, items, applied, states, events, rejected)
        except BaseException as error:
            if isinstance(error, ForeignKeys):
                self._foreign[batch.partition] |= error.names
            self._applied.pop(batch.partition, None)
            self._cache.drop(users)
            raise
        self._cache.keep(states)
        self._lettered.pop(batch.partition, None)
        self._foreign.pop(batch.partition, None)

    async def _read(
        self, partition: int, users: Mapping[str, None]
    ) -> tuple[AppliedPosition, dict[str, UserState], dict[str, ValueError]]:
        """Return position and states, from memory as far as they are there.

        And why a state cannot be read, by user: it stays for who can mend it.
        """
        applied = self._applied.get(partition)
        states, missing = self._cache.find(users)
        damaged: dict[str, ValueError] = {}
        if applied is not None and not missing:
            return applied, states, damaged
        value, values = await self._store.read(partition, missing)
        applied = self._note_position(partition, value)
        offset = applied.position.offset
        ahead = [user for user in states if states[user].guard.get(partition, -1) > offset]
        if ahead:  # Redis may have lost what memory holds of them
            self._cache.drop(ahead)
            return await self._read(partition, users)
        for user, packed in values.items():
            try:
                states[user] = unpack(packed) if packed else empty()
            except ValueError as error:
                damaged[user] = error
        if foreign := self._foreign[partition]:
            for user in [user for user in states if keys.user(user) in foreign]:
                del states[user]
                damaged[user] = ValueError("the user's key in Redis holds no state, nor a string")
        return applied, states, damaged

    def _note_position(self, partition: int, value: bytes | None) -> AppliedPosition:
        """Keep and return a partition's position, given its `pos:` value.

        Raises Gap when there is none though there was one, ValueError when it cannot be read.
        """
        if value:
            applied = AppliedPosition(positions.unpack(value), value)
        elif partition in self._without_value:
            applied = AppliedPosition(self._without_value[partition], b"")
        else:
            raise Gap(f"the position of partition {partition} is gone")
        self._applied[partition] = applied
        return applied

    async def _write(
        self,
        batch: Batch,
        items: Items,
        applied: AppliedPosition,
        states: dict[str, UserState],
        events: Sequence[FoldEvent],
        rejected: list[Rejected],
    ) -> None:
        """Fold slice by slice, each being written while the next one is folded."""
        done, value, last = applied.position, applied.value, batch.records[-1]
        events = [event for event in events if event.offset > done.offset]
        if forgets := [event for event in events if event.event.type == FORGET]:
            # Before any position or guard says that it is done.
            forgets.sort(key=lambda event: event.record_time_ms)  # the latest counts
            await self._forget_told({f.event.user_id: f.record_time_ms for f in forgets})
        unknown = await self._keep_unknown_ids(events, items)
        named, events = events, await self.segments.admit(events)
        dropped, lost, effects = 0, 0, Counter[str]()
        starts = range(0, max(len(events), 1), self._settings.slice_events)
        async with _SliceWriter(self._store, batch.partition) as slices:
            for start in starts:
                part = events[start : start + self._settings.slice_events]
                folds, failures = self._fold(states, part, items)
                chunks = [chunk for folded in folds for chunk in folded.chunks]
                for folded in folds:
                    effects.update(folded.effects)
                dropped += sum(chunk.dropped for chunk in chunks)
                rejected += [_reject(batch, event, error) for event, error in failures]
                chunks = chunks or [FoldedChunk()]
                reached = [done] * len(chunks)
                if start == starts[-1]:
                    self._judge(batch, rejected, done.offset)
                    await self._send_letters(batch.partition, rejected, done.offset)
                    reached[-1] = Position(last.offset, last.timestamp, b"")
                lost += sum(
                    _drop_foreign(chunk, self._foreign[batch.partition]) for chunk in chunks
                )
                packed = list(self._packed(chunks, reached, value))
                value = packed[-1].position
                await slices.put(packed)
        self._applied[batch.partition] = AppliedPosition(positions.unpack(value), value)
        partition = str(batch.partition)
        covered = effects.pop(EFFECTS[COVERED], 0)
        metrics.EVENTS_FOLDED.labels(partition).inc(effects.total())
        metrics.EVENTS_DROPPED.labels(partition).inc(covered)
        for effect, count in effects.items():
            metrics.EVENT_EFFECTS.labels(effect).inc(count)
        self.effects += effects
        metrics.EXCLUSIONS_DROPPED.inc(dropped)
        metrics.INCREMENTS_LOST.inc(lost)
        self.exclusions_dropped += dropped
        metrics.UNKNOWN_ITEMS.inc(unknown)
        self.unknown_items += unknown
        refused = sum(map(operator.is_not, named, events))
        metrics.SEGMENTS_REFUSED.inc(refused)
        self.segments_refused += refused
        self.unknown_types.count(event.event.type for event in events)
        oldest_s = batch.records[0].timestamp / 1000
        metrics.EVENT_TO_STATE_S.observe(max(0.0, time.time() - oldest_s))

    async def _keep_unknown_ids(self, events: Sequence[FoldEvent], items: Items) -> int:
        """Keep the ids of items that the catalogue lacks; return how many events name one."""
        named = Counter(event.event.item_id for event in events)
        if ids := _unknown(named, items):
            await self._items_caught_up()
            ids = _unknown(named, items)
        dropped = await self._store.keep_ids(ids, self._settings.unknown_ids_at_most)
        metrics.UNKNOWN_IDS_DROPPED.inc(dropped)
        return sum(named[item_id] for item_id in ids.values())

    def _fold(
        self, states: dict[str, UserState], events: Sequence[FoldEvent], items: Items
    ) -> tuple[list[Folded], list[tuple[FoldEvent, Exception]]]:
        """Fold events into `states`, so that a bug at one of them does not stop all.

        Returns what is folded, and the events at which the fold fails, found by halving.
        """
        if not events:
            return [], []
        try:
            folded = fold_many(states, events, items, self._settings.fold)
        except Exception as error:
            if len(events) == 1:
                self._check_fold(events[0].record_time_ms, items)
                return [], [(events[0], error)]
        else:
            states.update(folded.states)
            return [folded], []
        middle = len(events) // 2
        folds, failures = self._fold(states, events[:middle], items)
        more_folds, more_failures = self._fold(states, events[middle:], items)
        return folds + more_folds, failures + more_failures

    def _check_fold(self, time_ms: int, items: Items) -> None:
        """Fold an event with nothing to it. Raises SystemFault: then no other can be folded."""
        plain = FoldEvent(Event(user_id="-", item_id="-", type="click"), 0, 0, time_ms)
        try:
            fold_many({}, [plain], items, self._settings.fold)
        except Exception as error:
            raise SystemFault(f"no event can be folded: {error!r}") from error

    def _judge(self, batch: Batch, rejected: Sequence[Rejected], done: int) -> None:
        """Raise SystemFault where records fail unforeseen and are not to blame for it."""
        errors = {letter.record.offset: letter.error for letter in rejected}
        if all(error.error_class != records.UNPROCESSABLE for error in errors.values()):
            if len(errors) < len(batch.records):
                self._faults.succeeded()
            return
        for record in batch.records:
            error = errors.get(record.offset)
            if error is None:
                self._faults.succeeded()
            elif error.error_class == records.UNPROCESSABLE and record.offset > done:
                self._faults.failed(relation_of(record), error.__cause__ or error)

    def _packed(
        self, chunks: Sequence[FoldedChunk], reached: Sequence[Position], value: bytes
    ) -> Iterator[WriteChunk]:
        """Pack what was folded, each chunk expecting the position that the one before leaves."""
        none = empty()  # of a user of whom Redis has no state
        for chunk, position in zip(chunks, reached, strict=True):
            after = position._replace(stamp=self._stamp()).pack()
            # A state that was adopted from another log has an empty guard, and is there.
            users = [
                UserWrite(
                    c.user_id, b"" if c.before is none else pack_guard(c.before), pack(c.after)
                )
                for c in chunk.changes
            ]
            yield WriteChunk(value, after, users, chunk.covisits, chunk.trends)
            value = after

    def _stamp(self) -> bytes:
        """Return 16 bytes that were never used before."""
        return self._stamp_prefix + next(self._counter).to_bytes(8, "big")

    async def _send_letters(self, partition: int, rejected: Sequence[Rejected], done: int) -> None:
        """Send the dead letters that are not there yet, and wait until all replicas have them."""
        sent = self._lettered[partition]
        letters = [r for r in rejected if r.record.offset > done and r.record.offset not in sent]
        if not letters:
            return

        async def send(letter: Rejected) -> None:
            await self._dead_letters.send(letter.record, letter.error)
            sent.add(letter.record.offset)

        await asyncio.gather(*map(send, letters))
        by_class = Counter(letter.error.error_class for letter in letters)
        first = records.origin_of(letters[0].record)
        log.warning("dead letters: %s, the first of %s", dict(by_class), first)


def _reject(batch: Batch, event: FoldEvent, error: Exception) -> Rejected:
    record = next(r for r in batch.records if r.offset == event.offset)
    return unprocessable(record, error)


def _drop_foreign(chunk: FoldedChunk, foreign: Collection[bytes]) -> int:
    """Take out of a chunk, and count, what would go to sets whose keys hold another type."""
    if not foreign:
        return 0
    followed = [pair for pair in chunk.covisits if keys.covisits(pair[0]) in foreign]
    trending = [pair for pair in chunk.trends if keys.trending(pair[0]) in foreign]
    for pair in followed:
        del chunk.covisits[pair]
    for scoped in trending:
        del chunk.trends[scoped]
    return len(followed) + len(trending)


def _unknown(named: Iterable[str], items: Items) -> dict[int, str]:
    """Return the ids, by key, of items that the catalogue lacks."""
    ids = {cached_item_key(item_id): item_id for item_id in named if item_id}
    rows = items.rows(np.fromiter(ids, np.uint64, len(ids))).tolist()
    return {key: ids[key] for key, row in zip(ids, rows, strict=True) if row < 0}


class _SliceWriter:
    """Writes slices of chunks one after the other, while whoever puts them works on."""

    def __init__(self, store: StatesStore, partition: int) -> None:
        self._store = store
        self._partition = partition
        self._writing: asyncio.Future[None] | None = None

    async def put(self, chunks: Sequence[WriteChunk]) -> None:
        """Wait for the slice before, then send this one."""
        if self._writing is not None:
            await self._writing
        self._writing = asyncio.ensure_future(self._store.write(self._partition, chunks))
        await asyncio.sleep(0)  # it is on its way: Redis works while the next is folded

    async def __aenter__(self) -> _SliceWriter:
        return self

    async def __aexit__(self, error_type: type[BaseException] | None, *_: object) -> None:
        """Wait for the last slice; after an error, cut it off."""
        if self._writing is None:
            return
        if error_type is None:
            await self._writing
        else:
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)
