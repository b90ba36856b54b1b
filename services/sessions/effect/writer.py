"""A batch's effect in Redis, exactly once (design: exactly-once effect).

What is written is compared first: a chunk names the position and the guards that it replaces. So
an attempt that fails, even one whose replies were lost, is simply made again from what Redis
holds then: what was applied is covered by the guards.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from services.sessions.effect import store
from services.sessions.effect.cache import StateCache
from services.sessions.effect.store import StatesStore, UserWrite
from services.sessions.faust.batches import Batch, Rejected, read, unprocessable
from services.sessions.fold.fold import Chunk, Folded, FoldEvent
from shared.runtime import metrics
from shared.users import positions
from shared.users.positions import UNKNOWN_TIME_MS, Position
from shared.users.states import UserState, empty, pack, pack_guard, unpack

log = logging.getLogger(__name__)

Fold = Callable[[Mapping[str, UserState], Sequence[FoldEvent]], Folded]
SendLetters = Callable[[Sequence[Rejected]], Awaitable[None]]


class Gap(Exception):
    """Redis is behind the batch: it lost something, and the partition must be read again."""


class Stand(NamedTuple):
    """A partition's position and its value in Redis, empty while there is none."""

    position: Position
    value: bytes


class Applier:
    """What the batches of a worker share: store, fold, cached states, positions and stamps."""

    def __init__(
        self,
        store: StatesStore,
        fold: Fold,
        send_letters: SendLetters,
        *,
        cache_users: int,
        slice_events: int,
    ) -> None:
        """Set up.

        send_letters: returns once all replicas have the dead letters.
        cache_users: states held in memory. slice_events: folded at once, while the slice before is
        being written.
        """
        self.store = store
        self.fold = fold
        self.send_letters = send_letters
        self.slice_events = slice_events
        self.cache = StateCache(cache_users)
        self.stands: dict[int, Stand] = {}
        self._nowhere: dict[int, Position] = {}  # what no `pos:` value means, by partition
        self._worker = os.urandom(8)
        self._counter = itertools.count(1)

    def stand_at(self, partition: int, value: bytes | None) -> Stand:
        """Note and return where a partition stands, given its `pos:` value.

        Raises Gap when there is none though there was one, ValueError when it cannot be read.
        """
        if value:
            stand = Stand(positions.unpack(value), value)
        elif partition in self._nowhere:
            stand = Stand(self._nowhere[partition], b"")
        else:
            raise Gap(f"the position of partition {partition} is gone")
        self.stands[partition] = stand
        return stand

    def place(self, partition: int, value: bytes | None, log_begin: int) -> Stand:
        """Take over a partition; without a `pos:` value it stands before the log's first record."""
        self._nowhere.pop(partition, None)
        if not value:
            self._nowhere[partition] = Position(log_begin - 1, UNKNOWN_TIME_MS, b"")
        return self.stand_at(partition, value)

    def leave(self, partitions: set[int]) -> None:
        """Drop what is held of partitions that others have now."""
        if partitions:
            self.cache.drop_partitions(partitions)
        for partition in partitions:
            self.stands.pop(partition, None)

    def stamp(self) -> bytes:
        """Return 16 bytes that were never used before."""
        return self._worker + next(self._counter).to_bytes(8, "big")


class Work:
    """One batch on its way to Redis: `attempt` it until it returns or raises Gap."""

    def __init__(self, applier: Applier, batch: Batch) -> None:
        self._applier = applier
        self._batch = batch
        self._events, self._rejected = read(batch.records)
        self._lettered: set[int] = set()  # offsets whose dead letters all replicas have

    async def attempt(self) -> None:
        """Give the batch its effect, or raise.

        Refused: another worker or a loss in Redis came between. Gap: see there. RedisError,
        KafkaError, OSError: they cannot be had just now.
        """
        applier, batch = self._applier, self._batch
        users = dict.fromkeys(event.event.user_id for event in self._events)
        try:
            stand, states = await self._read(users)
            if batch.end <= stand.position.offset:
                return  # applied before, dead letters and all
            if batch.start > stand.position.offset + 1:
                raise Gap(f"{stand.position.offset + 1} to {batch.start - 1} are missing in Redis")
            await self._write(stand, states)
        except BaseException:
            applier.stands.pop(batch.partition, None)
            applier.cache.drop(users)
            raise
        applier.cache.keep(states)

    async def _read(self, users: Mapping[str, None]) -> tuple[Stand, dict[str, UserState]]:
        """Return position and states, from memory as far as they are there."""
        applier, partition = self._applier, self._batch.partition
        stand = applier.stands.get(partition)
        states, missing = applier.cache.find(users)
        if stand is not None and not missing:
            return stand, states
        value, found = await applier.store.read(partition, missing)
        for user, packed in found.items():
            try:
                states[user] = unpack(packed) if packed else empty()
            except ValueError as error:
                self._set_aside(user, error)
        return applier.stand_at(partition, value), states

    def _set_aside(self, user: str, error: ValueError) -> None:
        """Reject the events of a user whose state cannot be read; it stays for who can mend it."""
        self._rejected += [self._reject(e, error) for e in self._events if e.event.user_id == user]
        self._events = [event for event in self._events if event.event.user_id != user]

    def _reject(self, event: FoldEvent, error: Exception) -> Rejected:
        record = next(r for r in self._batch.records if r.offset == event.offset)
        return unprocessable(record, error)

    async def _write(self, stand: Stand, states: dict[str, UserState]) -> None:
        """Fold slice by slice, each being written while the next one is folded."""
        applier, batch, done = self._applier, self._batch, stand.position
        events = [event for event in self._events if event.offset > done.offset]
        starts = range(0, max(len(events), 1), applier.slice_events)
        value, applied = stand.value, 0
        async with _Writing(applier.store, batch.partition) as writing:
            for start in starts:
                part = events[start : start + applier.slice_events]
                folded = self._fold(states, part) or [Chunk()]
                applied += sum(chunk.events for chunk in folded)
                reached = [done] * len(folded)
                if start == starts[-1]:
                    await self._send_letters(done.offset)
                    last = batch.records[-1]
                    reached[-1] = Position(last.offset, last.timestamp, b"")
                chunks = list(self._chunks(folded, reached, value))
                value = chunks[-1].position
                await writing.put(chunks)
        applier.stands[batch.partition] = Stand(positions.unpack(value), value)
        self._count(applied, len(events))

    def _fold(self, states: dict[str, UserState], events: Sequence[FoldEvent]) -> list[Chunk]:
        """Fold events into `states`; one at which the fold fails is found by halving."""
        try:
            folded = self._applier.fold(states, events)
        except Exception as error:
            if len(events) <= 1:
                self._refuse(events, error)
                return []
        else:
            states.update(folded.states)
            return folded.chunks
        middle = len(events) // 2
        return self._fold(states, events[:middle]) + self._fold(states, events[middle:])

    def _refuse(self, events: Sequence[FoldEvent], error: Exception) -> None:
        """Reject events at which the fold fails, so that one bug does not stop all."""
        for event in events:
            log.error("the fold fails at offset %d: %r", event.offset, error)
            self._rejected.append(self._reject(event, error))
            self._events.remove(event)

    def _chunks(
        self, folded: Sequence[Chunk], reached: Sequence[Position], value: bytes
    ) -> Iterator[store.Chunk]:
        """Pack what was folded, each chunk expecting the position that the one before leaves."""
        for chunk, position in zip(folded, reached, strict=True):
            after = position._replace(stamp=self._applier.stamp()).pack()
            users = [
                UserWrite(w.user_id, pack_guard(w.before) if w.before.guard else b"", pack(w.after))
                for w in chunk.writes
            ]
            yield store.Chunk(value, after, users, chunk.covisits, chunk.trends)
            value = after

    async def _send_letters(self, done: int) -> None:
        """Send the dead letters that are not there yet, and wait until all replicas have them."""
        letters = [
            bad
            for bad in self._rejected
            if bad.record.offset > done and bad.record.offset not in self._lettered
        ]
        if letters:
            await self._applier.send_letters(letters)
            self._lettered.update(bad.record.offset for bad in letters)

    def _count(self, applied: int, events: int) -> None:
        partition = str(self._batch.partition)
        metrics.EVENTS_FOLDED.labels(partition).inc(applied)
        metrics.EVENTS_DROPPED.labels(partition).inc(events - applied)
        oldest_s = self._batch.records[0].timestamp / 1000
        metrics.EVENT_TO_STATE_S.observe(max(0.0, time.time() - oldest_s))


class _Writing:
    """Writes slices of chunks one after the other, while whoever puts them works on."""

    def __init__(self, store: StatesStore, partition: int) -> None:
        self._store = store
        self._partition = partition
        self._writing: asyncio.Future[None] | None = None

    async def put(self, chunks: Sequence[store.Chunk]) -> None:
        """Wait for the slice before, then send this one."""
        if self._writing is not None:
            await self._writing
        self._writing = asyncio.ensure_future(self._store.write(self._partition, chunks))
        await asyncio.sleep(0)  # it is on its way: Redis works while the next is folded

    async def __aenter__(self) -> _Writing:
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
