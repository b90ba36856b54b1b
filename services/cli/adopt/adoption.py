"""Let the states in Redis go on with the log that Kafka has: plan it, then do it.

Positions come last and all at once: until then the worker refuses this log, so what was cut off
half-way is begun again. Each state is replaced by compare-and-set, as workers that read other
partitions may write it meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from redis.asyncio import Redis

from freshet.contract.topics import CLICKS
from services.cli.adopt.plan import AdoptedPartition, Plan
from shared.kafka.log_reader import Bounds, LogReader
from shared.users import keys, positions
from shared.users.positions import UNKNOWN_TIME_MS, Position
from shared.users.states import with_guard

PARTITIONS_AT_MOST: Final = 10_000
AT_ONCE: Final = 500  # states
_REPLACE: Final = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'KEEPTTL')
return 1
"""


async def plan(redis: Redis, log: LogReader, cluster: str, count: int, *, skip: bool) -> Plan:
    """Return what does not fit, and from where on each such partition's events would count.

    That is the first record later than what was applied last. count: the partitions of `clicks`.
    skip: what stands in the log counts as applied, as it was copied from the one before.
    """
    noted: Any = await redis.get(keys.log_of(CLICKS.name))
    values: list[Any] = await redis.mget(
        keys.position(CLICKS.name, p) for p in range(PARTITIONS_AT_MOST)
    )
    applied = {p: positions.unpack(value) for p, value in enumerate(values) if value}
    planned = Plan(None if noted is None else noted.decode(), cluster, [], [], [])
    for partition, bounds in (await log.bounds(range(count))).items():
        position = applied.pop(partition, None)
        why = await _misfit(log, partition, bounds, position, planned)
        if why is None or (position is None and not skip):
            if position is not None:
                planned.kept.append(partition)
            continue
        first = bounds.end if skip else await _first(log, partition, bounds, position)
        before_ms = await log.time_of(partition, first - 1) if first > bounds.begin else None
        planned.adopted.append(
            AdoptedPartition(
                partition,
                position,
                why,
                *bounds,
                first,
                UNKNOWN_TIME_MS if before_ms is None else before_ms,
            )
        )
    if planned.other_cluster:
        planned.gone.extend(applied)
    return planned


async def _misfit(
    log: LogReader, partition: int, bounds: Bounds, position: Position | None, planned: Plan
) -> str | None:
    """Say why a position is not this log's; where another cluster is noted, it must show that."""
    unknown = "nothing shows that it is of this cluster" if planned.other_cluster else None
    if position is None:
        return unknown
    if not positions.has_time(position, *bounds):
        return positions.misfit(position, _name(partition), *bounds, None) or unknown
    time_ms = await log.time_of(partition, position.offset)
    return positions.misfit(position, _name(partition), *bounds, time_ms)


async def _first(log: LogReader, partition: int, bounds: Bounds, position: Position | None) -> int:
    if position is None or position.time_ms == UNKNOWN_TIME_MS:
        return bounds.begin
    first = await log.first_after(partition, position.time_ms)
    return bounds.end if first is None else first


def _name(partition: int) -> str:
    return f"{CLICKS.name}:{partition}"


async def count_states(redis: Redis, planned: Plan) -> int:
    """Return how many states have a guard that must change."""
    return sum([len(changed) async for changed in _changes(redis, planned)])


async def adopt(redis: Redis, planned: Plan) -> int:
    """Write what is planned. Returns how many states had to change."""
    count = 0
    replace = redis.register_script(_REPLACE)
    async for changed in _changes(redis, planned):
        while changed:
            async with redis.pipeline(transaction=False) as pipe:
                for name, values in changed.items():
                    await replace(keys=[name], args=values, client=pipe)
                replaced = await pipe.execute()
            count += sum(replaced)
            missed = [name for name, done in zip(changed, replaced, strict=True) if not done]
            changed = await _changed(redis, planned, missed)
    async with redis.pipeline(transaction=True) as pipe:
        for each in planned.adopted:
            position = Position(each.first - 1, each.before_ms, os.urandom(16))
            pipe.set(keys.position(CLICKS.name, each.partition), position.pack())
        for partition in planned.gone:
            pipe.delete(keys.position(CLICKS.name, partition))
        pipe.set(keys.log_of(CLICKS.name), planned.cluster)
        await pipe.execute()
    return count


async def _changes(redis: Redis, planned: Plan) -> AsyncIterator[dict[bytes, tuple[bytes, bytes]]]:
    """Yield the states that must change, some hundreds at once: by key, as they are and will be."""
    cursor = 0
    while True:
        found: Any = await redis.scan(cursor, match=keys.ALL_USERS, count=AT_ONCE)
        cursor, names = found
        yield await _changed(redis, planned, names)
        if cursor == 0:
            return


async def _changed(
    redis: Redis, planned: Plan, names: Sequence[bytes]
) -> dict[bytes, tuple[bytes, bytes]]:
    values: list[Any] = await redis.mget(names) if names else []
    changed = {}
    for name, value in zip(names, values, strict=True):
        try:
            now = with_guard(value, planned.guard) if value else value
        except ValueError:  # damaged: it stays for who can mend it, and is not applied either
            continue
        if now != value:
            changed[name] = (value, now)
    return changed
