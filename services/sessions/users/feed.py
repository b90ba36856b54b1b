"""Follow `users` in a group, and let its records have their effect.

Where a partition is read from stands in Redis beside what was read, so that what Redis loses is
read again; the group only shares partitions out. A worker that is late, or two at once, do no harm:
an older record never takes the place of a newer one.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from redis.exceptions import RedisError

from freshet import kafka_clients
from freshet.contract import records
from freshet.contract.bounds import check_id
from freshet.contract.topics import USERS
from freshet.contract.users import decode_user
from freshet.prefix import PREFIX
from services.sessions.faust.batches import Rejected, unprocessable
from services.sessions.settings import SessionsSettings
from services.sessions.users.standing_users import StandingUsers, UserRecord
from services.sessions.users.store import KeyChange, UsersStore
from shared.catalogue.versions import RecordVersion
from shared.faults import FaultDetector, relation_of
from shared.runtime import metrics
from shared.runtime.dead_letters import DeadLetterWriter
from shared.runtime.retry import retry_until_available
from shared.runtime.topic_reader import FAILURES, RETRY_S, Stuck, stop_consumer
from shared.users import keys, positions
from shared.users.positions import UNKNOWN_TIME_MS, Position

log = logging.getLogger(__name__)

AT_ONCE: Final = 256  # records that one script lets have their effect, under 1 ms of Redis
POLL_MS: Final = 200  # a record is there at once; this bounds the wait without one
CHECK_S: Final = 5.0
REQUEST_S: Final = 5.0


class _UsersReached(NamedTuple):
    """Up to where a partition is applied, and the value in Redis that says so."""

    offset: int
    value: bytes | None


class UsersFeed:
    """Reads this worker's share of `users`."""

    def __init__(
        self,
        settings: SessionsSettings,
        store: UsersStore,
        users: StandingUsers,
        dead_letters: DeadLetterWriter,
    ) -> None:
        self.applied = 0  # records, since the start
        self.lags: dict[int, int] = {}  # records not applied, by partition, at the last check
        self.replaced = 0  # consumers given up, since the start
        self._settings = settings
        self._store = store
        self._users = users
        self._dead_letters = dead_letters
        self._cluster_id = ""
        self._reached: dict[int, _UsersReached] = {}  # by partition that is being read
        self._faults = FaultDetector()

    async def run(self, cluster_id: str) -> None:
        """Read until cancelled. Raises SystemFault where no record is to blame."""
        self._cluster_id = cluster_id
        while True:
            try:
                await self._follow()
            except (*FAILURES, RedisError, Stuck) as error:
                self.replaced += 1
                log.warning("reading %s anew: %s", USERS.name, error or type(error).__name__)
            await asyncio.sleep(RETRY_S)

    def status(self) -> dict[str, Any]:
        """Return figures for /status."""
        return {
            "applied": self.applied,
            "overtaken": self._users.overtaken,
            "lag": sum(self.lags.values()),
            "consumers_replaced": self.replaced,
        }

    async def _follow(self) -> None:
        """Read with one consumer until it fails or is stuck."""
        self._reached.clear()
        consumer = kafka_clients.consumer(
            self._settings.kafka,
            group_id=f"{PREFIX}{self._settings.group}-users",
            isolation_level="read_committed",
            max_poll_interval_ms=3_600_000,  # waiting for Redis must not cost the partitions
            metadata_max_age_ms=60_000,  # partitions that are added
        )
        try:
            async with asyncio.timeout(2 * REQUEST_S):
                await consumer.start()
            consumer.subscribe([USERS.name])
            await self._read(consumer)
        finally:
            await stop_consumer(consumer)

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        clock = asyncio.get_running_loop().time
        check_at, seen, idle_checks = clock() + CHECK_S, dict[TopicPartition, int](), 0
        while True:
            batches = await consumer.getmany(timeout_ms=POLL_MS, max_records=AT_ONCE)
            for tp, batch in batches.items():
                await self._apply(consumer, tp, batch)
            if clock() >= check_at:
                at = await self._check(consumer)
                idle_checks = idle_checks + 1 if sum(self.lags.values()) and at == seen else 0
                if idle_checks == 2:
                    raise Stuck(f"no record for {2 * CHECK_S:.0f} s, lags are {self.lags}")
                check_at, seen = clock() + CHECK_S, at

    async def _apply(
        self, consumer: AIOKafkaConsumer, tp: TopicPartition, batch: Sequence[ConsumerRecord]
    ) -> None:
        """Let records have their effect; where reading did not begin with them, let it begin."""
        reached = self._reached.get(tp.partition)
        if reached is not None:
            batch = [record for record in batch if record.offset > reached.offset]
            if not batch:
                return
            take = partial(self._take, tp.partition, reached, batch)
            if await retry_until_available("Redis and Kafka", take):
                return
        await self._begin(consumer, tp)

    async def _take(
        self, partition: int, reached: _UsersReached, batch: Sequence[ConsumerRecord]
    ) -> bool:
        told, rejected = self._decode(batch)
        for letter in rejected:
            await self._dead_letters.send(letter.record, letter.error)
        value = Position(batch[-1].offset, batch[-1].timestamp, b"").pack()
        name = keys.users_read(self._cluster_id, partition)
        if not await self._users.take(told, KeyChange(name, reached.value, value)):
            return False
        self._reached[partition] = _UsersReached(batch[-1].offset, value)
        self.applied += len(told)
        return True

    def _decode(self, batch: Sequence[ConsumerRecord]) -> tuple[list[UserRecord], list[Rejected]]:
        """Raises SystemFault where unrelated records in a row fail alike."""
        told, rejected = [], []
        for record in batch:
            try:
                told.append(told_by(record))
            except records.BadRecord as error:
                rejected.append(Rejected(record, error))
                continue
            except Exception as error:
                self._faults.failed(relation_of(record), error)
                rejected.append(unprocessable(record, error))
                continue
            self._faults.succeeded()
        if rejected:
            by_class = Counter(letter.error.error_class for letter in rejected)
            first = records.origin_of(rejected[0].record)
            log.warning("dead letters: %s, the first of %s", dict(by_class), first)
        return told, rejected

    async def _begin(self, consumer: AIOKafkaConsumer, tp: TopicPartition) -> None:
        """Read a partition from where Redis says that it is applied."""
        (value,) = await self._store.read([keys.users_read(self._cluster_id, tp.partition)])
        async with asyncio.timeout(REQUEST_S):
            begin = (await consumer.beginning_offsets([tp]))[tp]
            end = (await consumer.end_offsets([tp]))[tp]
        offset = _position(value).offset
        if offset >= end:  # of a topic that was deleted since
            offset = begin - 1
        if tp in consumer.assignment():
            consumer.seek(tp, max(offset + 1, begin))
            self._reached[tp.partition] = _UsersReached(offset, value)

    async def _check(self, consumer: AIOKafkaConsumer) -> dict[TopicPartition, int]:
        """Note lags, begin anew where Redis has lost something; return where reading stands."""
        assigned = consumer.assignment()
        for partition in self._reached.keys() - {tp.partition for tp in assigned}:
            del self._reached[partition]
        names = {p: keys.users_read(self._cluster_id, p) for p in self._reached}
        held = await self._store.read(list(names.values()))
        for partition, value in zip(names, held, strict=True):
            if value != self._reached[partition].value:
                await self._begin(consumer, TopicPartition(USERS.name, partition))
        async with asyncio.timeout(REQUEST_S):
            ends = await consumer.end_offsets(list(assigned)) if assigned else {}
            at = {tp: await consumer.position(tp) for tp in assigned}
        self.lags = {tp.partition: max(0, end - at[tp]) for tp, end in ends.items()}
        metrics.USERS_LAG.set(sum(self.lags.values()))
        return at


def told_by(record: ConsumerRecord) -> UserRecord:
    """Return what a record of `users` says. Raises BadRecord."""
    origin, place = records.origin_of(record), records.place_of(record)
    version = _stated(record)
    if record.value is None:
        return UserRecord(_id_of(record.key), None, origin, place, version)
    user = decode_user(record.value, records.content_type(record.headers))
    records.check_key(record.key, user.user_id)
    return UserRecord(user.user_id, user, origin, place, version)


def _id_of(key: bytes | None) -> str:
    try:
        user_id = (key or b"").decode()
    except UnicodeDecodeError as error:
        raise records.BadRecord(records.WRONG_KEY, f"the key must be UTF-8: {error}") from None
    check_id("the key", user_id)
    return user_id


def _stated(record: ConsumerRecord) -> RecordVersion | None:
    """Return the version of what was published again; None where no header reads as one."""
    written = records.header(record.headers, records.COUNTS)
    if written is None:
        return None
    try:
        return RecordVersion.read(written)
    except ValueError:
        return None


def _position(value: bytes | None) -> Position:
    if value is not None:
        try:
            return positions.unpack(value)
        except ValueError:
            log.warning("a position of %s cannot be read: all is read again", USERS.name)
    return Position(-1, UNKNOWN_TIME_MS, b"")
