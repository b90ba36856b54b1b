"""Write a batch's effect to Redis, exactly once (docs/architecture.md: exactly-once effect).

What is written is compared first: a chunk names the position and the guards that it replaces. So
a batch that failed, even one whose replies were lost, is simply applied again from what Redis
holds then: what was applied is covered by the guards.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from freshet.contract import records
from services.sessions.effect.cache import StateCache
from services.sessions.effect.store import StatesStore, UserWrite, WriteChunk
from services.sessions.effect.unknown_types import UnknownTypes
from services.sessions.faust.batches import Batch, Rejected, decode, unprocessable
from services.sessions.fold.event_columns import cached_item_key
from services.sessions.fold.fold import FoldedChunk, FoldEvent, fold_many
from services.sessions.settings import SessionsSettings
from shared.catalogue.catalogue import Items
from shared.runtime import metrics
from shared.runtime.dead_letters import DeadLetterWriter
from shared.users import positions
from shared.users.positions import UNKNOWN_TIME_MS, Position
from shared.users.states import UserState, empty, pack, pack_guard, unpack

log = logging.getLogger(__name__)


class Gap(Exception):
    """Redis is behind the batch: it lost something, and the partition must be read again."""


class AppliedPosition(NamedTuple):
    """Up to where a partition is applied, and the `pos:` value that says so, empty for none."""

    position: Position
    value: bytes


class EffectWriter:
    """Reads, folds and writes batches; one for all partitions of a worker.

    Keeps states and positions in memory, which may be wrong: then a write is refused, and what was
    kept of the batch is dropped.
    """

    def __init__(
        self, store: StatesStore, dead_letters: DeadLetterWriter, settings: SessionsSettings
    ) -> None:
        self._store = store
        self._dead_letters = dead_letters
        self._settings = settings
        self._cache = StateCache(settings.cache_users)
        self._applied: dict[int, AppliedPosition] = {}  # by partition
        self._without_value: dict[int, Position] = {}  # what no `pos:` value means, by partition
        self._lettered: defaultdict[int, set[int]] = defaultdict(set)  # offsets of letters sent
        self.unknown_types = UnknownTypes(settings.fold.vectors.weights.codes)
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

    def forget_states(self) -> None:
        """Drop all states: Redis may have lost some of any partition."""
        self._cache.clear()

    # A batch on its way to Redis

    async def apply(self, batch: Batch, items: Items) -> None:
        """Give a batch its effect, or raise; whatever was raised but Gap, apply it again.

        Raises WriteRefused when another worker, or a loss in Redis, came between; Gap; and
        TRANSIENT_ERRORS while Redis or Kafka is unavailable.
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
        except BaseException:
            self._applied.pop(batch.partition, None)
            self._cache.drop(users)
            raise
        self._cache.keep(states)
        self._lettered.pop(batch.partition, None)

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
        await self._store.keep_ids(_unknown(events, items))
        folded = dropped = 0
        starts = range(0, max(len(events), 1), self._settings.slice_events)
        async with _SliceWriter(self._store, batch.partition) as slices:
            for start in starts:
                part = events[start : start + self._settings.slice_events]
                chunks, failures = self._fold(states, part, items)
                folded += sum(chunk.events for chunk in chunks)
                dropped += sum(chunk.dropped for chunk in chunks)
                rejected += [_reject(batch, event, error) for event, error in failures]
                chunks = chunks or [FoldedChunk()]
                reached = [done] * len(chunks)
                if start == starts[-1]:
                    await self._send_letters(batch.partition, rejected, done.offset)
                    reached[-1] = Position(last.offset, last.timestamp, b"")
                packed = list(self._packed(chunks, reached, value))
                value = packed[-1].position
                await slices.put(packed)
        self._applied[batch.partition] = AppliedPosition(positions.unpack(value), value)
        partition = str(batch.partition)
        metrics.EVENTS_FOLDED.labels(partition).inc(folded)
        metrics.EVENTS_DROPPED.labels(partition).inc(len(events) - folded)
        metrics.EXCLUSIONS_DROPPED.inc(dropped)
        self.exclusions_dropped += dropped
        self.unknown_types.count(event.event.type for event in events)
        oldest_s = batch.records[0].timestamp / 1000
        metrics.EVENT_TO_STATE_S.observe(max(0.0, time.time() - oldest_s))

    def _fold(
        self, states: dict[str, UserState], events: Sequence[FoldEvent], items: Items
    ) -> tuple[list[FoldedChunk], list[tuple[FoldEvent, Exception]]]:
        """Fold events into `states`, so that a bug at one of them does not stop all.

        Returns the chunks, and the events at which the fold fails, which are found by halving.
        """
        try:
            folded = fold_many(states, events, items, self._settings.fold)
        except Exception as error:
            if len(events) <= 1:
                for event in events:
                    log.error("the fold fails at offset %d: %r", event.offset, error)
                return [], [(event, error) for event in events]
        else:
            states.update(folded.states)
            return folded.chunks, []
        middle = len(events) // 2
        chunks, failures = self._fold(states, events[:middle], items)
        more_chunks, more_failures = self._fold(states, events[middle:], items)
        return chunks + more_chunks, failures + more_failures

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


def _unknown(events: Sequence[FoldEvent], items: Items) -> dict[int, str]:
    """Return the ids, by key, of what events name and the catalogue lacks."""
    named = {event.event.item_id for event in events}
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
