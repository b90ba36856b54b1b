"""Publish the originals of dead letters again: first a plan, which can be shown, then as planned.

Where an original goes is where the service read it, and only to topics that this service reads.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from typing import Any, Final, NamedTuple

from aiokafka import TopicPartition
from aiokafka.structs import OffsetAndMetadata

from freshet import kafka_clients
from freshet.contract import records
from freshet.contract.records import BadRecord, Origin, header, replay_of
from freshet.contract.topics import CLICKS, DEAD_LETTERS, ITEMS, ITEMS_BACKFILL, OFFERS
from freshet.kafka_clients import KafkaSettings
from freshet.prefix import PREFIX
from shared.dead_letters.letters import DeadLetter, Selection, begin_of_last, letter_of
from shared.dead_letters.published import PublishedOffsets
from shared.kafka.records import Offsets, ends_of, record_at, records_of
from shared.runtime.retry import retry_until_available

GROUP: Final = PREFIX + "freshet-dead-letters"  # its commits: what was published again
COMMIT_EVERY: Final = 100  # letters
GROUP_WITHIN_S: Final = 15.0  # a broker that has had no group yet needs a moment
# What a service reads, and so all that a letter of its may be published to.
_READ_BY: Final = {
    "sessions": (CLICKS,),
    "embedding": (ITEMS, ITEMS_BACKFILL),
    "ranking": (OFFERS,),
}
_NOBODY: Final = BadRecord("", "")  # whose error does not matter


class LetterKind(NamedTuple):
    """What planned letters have in common."""

    service: str
    error_class: str
    topic: str


class Refusal(NamedTuple):
    """A letter that cannot be published again, and why."""

    origin: Origin
    why: str


@dataclass(slots=True)
class ReplayPlan:
    """What is to be published again."""

    letters: dict[tuple[TopicPartition, int], Origin] = field(
        default_factory=dict
    )  # where they are
    kinds: Counter[LetterKind] = field(default_factory=Counter)
    refused: list[Refusal] = field(default_factory=list)
    strange: int = 0  # records on the topic that are no dead letters


class _Original(NamedTuple):
    topic: str
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]


async def plan_replay(
    settings: KafkaSettings, selection: Selection, last: int | None = None
) -> ReplayPlan:
    """Return what of the selection was not published again yet, and what cannot be.

    last: how many of each partition's records are looked at, else all.
    """
    plan = ReplayPlan()
    ends = await ends_of(settings, DEAD_LETTERS.name)
    published = await _published(settings, ends)
    begin = begin_of_last(last, ends)
    begin = {tp: max(known.before, begin.get(tp, 0)) for tp, known in published.items()}
    async for record in records_of(settings, DEAD_LETTERS.name, begin=begin):
        tp, letter = TopicPartition(record.topic, record.partition), letter_of(record)
        if record.offset in published[tp] or not selection.takes(letter):
            continue
        try:
            replay_of(record.headers)
        except BadRecord:
            plan.strange += 1
            continue
        if why := await _refusal(settings, record, letter):
            plan.refused.append(Refusal(letter.origin, why))
        else:
            plan.letters[tp, record.offset] = letter.origin
            plan.kinds[LetterKind(letter.service, letter.error_class, letter.origin.topic)] += 1
    return plan


async def replay(settings: KafkaSettings, plan: ReplayPlan) -> int:
    """Publish as planned, with the origin in the headers, and return how many.

    Stopped half-way, a few are published again by the next replay: the events' origin keeps them
    from counting twice.
    """
    replayed = 0
    begin: dict[TopicPartition, int] = {}
    for tp, offset in plan.letters:
        begin[tp] = min(offset, begin.get(tp, offset))
    async with kafka_clients.producer(settings) as producer, _noted(settings) as note:
        async for record in records_of(settings, DEAD_LETTERS.name, begin=begin):
            tp = TopicPartition(record.topic, record.partition)
            if (tp, record.offset) not in plan.letters:
                continue
            if (original := await _original(settings, record)) is None:
                continue  # gone since it was planned
            topic, key, value, headers = original
            await producer.send_and_wait(topic, value, key=key, headers=headers)
            replayed += 1
            await note(tp, record.offset)
    return replayed


async def _refusal(settings: KafkaSettings, record: Any, letter: DeadLetter) -> str:
    """Say why a letter cannot be published again; empty: it can be."""
    read = [topic.name for topic in _READ_BY.get(letter.service, ())]
    if letter.origin.topic not in read:
        names = " or ".join(read) or "nothing"
        return f"{letter.service or 'nobody'} reads {names}, not {letter.origin.topic}"
    if await _original(settings, record) is None:
        return f"its value was cut, and {letter.origin} does not hold it any more"
    return ""


async def _original(settings: KafkaSettings, record: Any) -> _Original | None:
    """Return what a letter is published as: of one that was cut, what stands at its origin.

    None if that does not hold it any more.
    """
    digest = header(record.headers, records.VALUE_SHA256)
    if digest is None:
        topic, key, headers = replay_of(record.headers)
        return _Original(topic, key, record.value, headers)
    origin = letter_of(record).origin
    whole = await record_at(settings, origin.topic, origin.partition, origin.offset)
    if whole is None or sha256(whole.value or b"").hexdigest().encode() != digest:
        return None
    topic, key, headers = replay_of(records.dead_letter_headers(whole, _NOBODY, "", 0))
    return _Original(topic, key, whole.value, headers)


async def _published(
    settings: KafkaSettings, ends: Offsets
) -> dict[TopicPartition, PublishedOffsets]:
    """Read what was published again, by partition. ends: of the topic."""
    tps = list(ends)
    if not tps:
        return {}
    async with asyncio.timeout(GROUP_WITHIN_S):
        commits = await retry_until_available("Kafka's groups", partial(_commits, settings, tps))
    consumer = kafka_clients.consumer(settings)
    consumer.assign(tps)
    async with consumer:
        begins = await consumer.beginning_offsets(tps)
    return {
        tp: PublishedOffsets.read(commits[tp].offset, commits[tp].metadata, begins[tp], ends[tp])
        if tp in commits
        else PublishedOffsets(begins[tp])
        for tp in tps
    }


async def _commits(
    settings: KafkaSettings, tps: Sequence[TopicPartition]
) -> dict[TopicPartition, OffsetAndMetadata]:
    admin = await kafka_clients.admin(settings)
    try:
        return dict(await admin.list_consumer_group_offsets(GROUP, partitions=tps))
    finally:
        await admin.close()


@asynccontextmanager
async def _noted(settings: KafkaSettings) -> AsyncIterator[Any]:
    """Give a function that notes what was published, and commit it at times and at the end."""
    published = await _published(settings, await ends_of(settings, DEAD_LETTERS.name))
    noted = 0
    group = kafka_clients.consumer(settings, group_id=GROUP)
    group.assign(list(published))

    async def commit() -> None:
        await group.commit({tp: known.commit() for tp, known in published.items()})

    async def note(tp: TopicPartition, offset: int) -> None:
        nonlocal noted
        published[tp].add(offset)
        noted += 1
        if noted % COMMIT_EVERY == 0:
            await commit()

    async with group:
        try:
            yield note
        finally:
            await commit()
