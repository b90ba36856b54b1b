"""Let what the shop says of users stand in Redis, an older record never in place of a newer one.

The log must end with what counts, too: its compaction keeps each key's last record, which a later
reading begins with. So where an older record came to stand last, what counts is published again
with the version that it has, by which it changes nothing for who knows it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from freshet.contract import records
from freshet.contract.records import Origin
from freshet.contract.topics import DAY_MS, USERS
from freshet.contract.users import User, encode_user
from freshet.producer import RenewedProducer
from services.sessions.users.store import KeyChange, UsersStore
from shared.catalogue.versions import LogPlace, RecordVersion, record_version
from shared.users import keys, standing
from shared.users.standing import StandingUser

GONE_TTL_S: Final = 7 * DAY_MS // 1000  # as long as Kafka keeps a null


class UserRecord(NamedTuple):
    """What a record of `users` says."""

    user_id: str
    user: User | None  # None: what stands is deleted
    origin: Origin  # where it counts
    place: Origin  # where it stands; another place, if a dead letter was published again
    version: RecordVersion | None  # stated, where what counts was published again


class StandingUsers:
    """Keeps what stands. Methods raise TRANSIENT_ERRORS while Redis or Kafka is unavailable."""

    def __init__(self, store: UsersStore, producer: RenewedProducer) -> None:
        self.overtaken = 0  # records that changed nothing, since the start
        self._store = store
        self._producer = producer

    async def take(self, told: Sequence[UserRecord], position: KeyChange) -> bool:
        """Let records have their effect and move the position; False where another came between.

        position: the change that says so far the partition's records are applied.
        """
        values, stands = await self._read(dict.fromkeys(each.user_id for each in told))
        before, late, overtaken = dict(stands), dict[str, UserRecord](), 0
        for each in told:
            counts = stands.get(each.user_id)
            version = each.version or record_version(
                each.user.updated_ms if each.user else None,
                each.origin,
                None if counts is None else counts.version,
            )
            if counts is not None and version.is_behind(counts.version):
                overtaken += 1
                late[each.user_id] = each
            else:
                stands[each.user_id] = StandingUser(version, each.user)
                late.pop(each.user_id, None)
        # Before the position moves: a crash in between leaves nothing undone.
        await asyncio.gather(
            *(
                self._publish(user_id, stands[user_id], each.place.partition)
                for user_id, each in late.items()
                if _stands_behind(each, stands[user_id])
            )
        )
        changes = [
            _change(user_id, values[user_id], stood)
            for user_id, stood in stands.items()
            if stood != before.get(user_id)
        ]
        if not await self._store.change([*changes, position]):
            return False
        self.overtaken += overtaken
        return True

    async def forget(self, times: Mapping[str, int]) -> None:
        """Let nothing stand that was said of users up to these record times (ms), nor come back."""
        gone = {user_id: standing.forgotten(time_ms) for user_id, time_ms in times.items()}
        while True:
            values, stands = await self._read(gone)
            changes = [
                _change(user_id, values[user_id], forgotten)
                for user_id, forgotten in gone.items()
                if user_id not in stands or _is_before(stands[user_id], forgotten)
            ]
            if await self._store.change(changes):
                break
        # On all: a record may be left on another since partitions were added.
        partitions = await self._producer.partitions_of(USERS.name)
        await asyncio.gather(
            *(
                self._publish(user_id, forgotten, partition)
                for user_id, forgotten in gone.items()
                for partition in partitions
            )
        )

    async def _read(
        self, user_ids: Mapping[str, object]
    ) -> tuple[dict[str, bytes | None], dict[str, StandingUser]]:
        """Return values and what stands by them; what cannot be read is replaced as if absent."""
        found = await self._store.read([keys.standing(user_id) for user_id in user_ids])
        values, stands = dict(zip(user_ids, found, strict=True)), {}
        for user_id, value in values.items():
            if value:
                try:
                    stands[user_id] = standing.unpack(user_id, value)
                except ValueError:
                    continue
        return values, stands

    async def _publish(self, user_id: str, counts: StandingUser, partition: int) -> None:
        value, headers = None, [(records.COUNTS, counts.version.written())]
        if counts.user is not None:
            value = encode_user(counts.user, records.PROTOBUF)
            headers += records.PROTOBUF_HEADERS
        await self._producer.send_and_wait(
            USERS.name,
            key=user_id.encode(),
            value=value,
            headers=headers,
            partition=partition,
        )


def _is_before(stood: StandingUser, forgotten: StandingUser) -> bool:
    return stood != forgotten and not forgotten.version.is_behind(stood.version)


def _stands_behind(record: UserRecord, counts: StandingUser) -> bool:
    """Say whether an overtaken record stands behind what counts, and would be what is kept."""
    return LogPlace(record.place.time_ms, False, record.place.offset) > counts.version.place


def _change(user_id: str, before: bytes | None, after: StandingUser) -> KeyChange:
    ttl_s = GONE_TTL_S if after.user is None else 0
    return KeyChange(keys.standing(user_id), before, standing.pack(after), ttl_s)
