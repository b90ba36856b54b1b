"""Offers take effect from a real broker, and bad ones become dead letters."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from functools import partial

import numpy as np
import pytest
from aiokafka import AIOKafkaProducer, ConsumerRecord
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from freshet import kafka_clients as kafka_edge
from freshet.contract import records, topics
from freshet.contract.bounds import LATEST_MS
from freshet.contract.offers import Offer, encode_offer
from freshet.kafka_clients import KafkaSettings
from freshet.producer import RenewedProducer
from services.ranking.live.offers import Offers
from services.ranking.live.offers_feed import OffersFeed
from shared.runtime.dead_letters import DeadLetterWriter
from shared.runtime.topic_reader import POLL_MS, TopicReader
from tests.integration.catalogue.conftest import Publish, at_work
from tests.servers import eventually
from tests.unit.shared.catalogue.makers import catalogue_of, put

pytestmark = pytest.mark.integration

LONG_AGO_MS = 1_600_000_000_000
CATALOGUE = [put(f"item-{n}", 1, price=10.0) for n in range(40)]


@pytest.fixture
async def producer(settings: KafkaSettings, publish: Publish) -> AsyncIterator[AIOKafkaProducer]:
    """Return a producer, once the topics are there."""
    started = kafka_edge.producer(settings)
    await started.start()
    yield started
    await started.stop()


@pytest.fixture
async def own(settings: KafkaSettings) -> AsyncIterator[RenewedProducer]:
    """Return what the feed itself writes with."""
    async with RenewedProducer(partial(kafka_edge.producer, settings)) as opened:
        yield opened


def feed_of(settings: KafkaSettings, offers: Offers, own: RenewedProducer) -> OffersFeed:
    letters = DeadLetterWriter(own, "ranking")
    return OffersFeed(settings, offers, own, letters, look_again_s=lambda: 0.05)


async def send(producer: AIOKafkaProducer, item_id: str, **fields: float | bool | int) -> None:
    value = encode_offer(Offer(item_id=item_id, **fields))  # type: ignore[arg-type]
    await producer.send_and_wait(topics.OFFERS.name, key=item_id.encode(), value=value)


async def test_offer_takes_effect_when_its_record_comes_not_at_the_next_look(
    settings: KafkaSettings, producer: AIOKafkaProducer, own: RenewedProducer
) -> None:
    offers = Offers(catalogue_of(*CATALOGUE))
    feed = feed_of(settings, offers, own)
    waits_s = []
    async with at_work(feed.run()):
        await feed.caught_up()
        for n in range(30):
            await send(producer, f"item-{n}", in_stock=False)
            began = time.perf_counter()
            await eventually(partial(_sold_out, offers, n), within_s=5)
            waits_s.append(time.perf_counter() - began)
    assert np.median(waits_s) < POLL_MS / 1000, "told of it, not found at the next look"


def _sold_out(offers: Offers, row: int) -> bool:
    return not offers.terms.in_stock[row]


async def test_offers_of_before_the_start_are_there_and_null_takes_one_back(
    settings: KafkaSettings, producer: AIOKafkaProducer, own: RenewedProducer
) -> None:
    await send(producer, "item-1", price=5.0)
    await send(producer, "item-2", price=6.0, updated_ms=LONG_AGO_MS)  # as old as the item
    await send(producer, "item-3", price=6.0, updated_ms=LONG_AGO_MS - 1)  # older
    await send(producer, "item-4", price=7.0)
    await producer.send_and_wait(topics.OFFERS.name, key=b"item-4", value=None)
    stated = [put(f"item-{n}", LONG_AGO_MS, price=10.0, updated_ms=LONG_AGO_MS) for n in range(40)]
    offers = Offers(catalogue_of(*stated))
    feed = feed_of(settings, offers, own)
    async with at_work(feed.run()):
        await feed.caught_up()
    assert offers.terms.price[:5].tolist() == [10.0, 5.0, 6.0, 10.0, 10.0]
    assert feed.status()["refused"] == 0


async def test_replica_started_after_compaction_shows_the_prices_that_the_others_show(
    settings: KafkaSettings, producer: AIOKafkaProducer, own: RenewedProducer
) -> None:
    await compact_at_once(settings, topics.OFFERS)
    before, after = (Offers(catalogue_of(*CATALOGUE)) for _ in range(2))
    feed = feed_of(settings, before, own)
    async with at_work(feed.run()):
        await send(producer, "item-1", price=5.0, currency="EUR")  # type: ignore[arg-type]
        await send(producer, "item-1", in_stock=False)
        await send(producer, "item-1", price=6.0)
        await eventually(lambda: feed.made_whole and not before.unwhole(), within_s=10)

        async def compacted() -> bool:
            for partition in range(2):  # a segment ends, and can be cleaned, with the next record
                await producer.send_and_wait(
                    topics.OFFERS.name, key=b"filler", value=None, partition=partition
                )
            return await count_of(settings, topics.OFFERS, b"item-1") == 1

        await eventually(compacted, within_s=60, what="compaction")
    later = feed_of(settings, after, own)
    async with at_work(later.run()):
        await later.caught_up()
    for offers in (before, after):
        terms, code = offers.terms, int(offers.terms.currency[1])
        word = terms.currencies.word(code)
        assert (terms.price[1], word, terms.in_stock[1]) == (6.0, "EUR", False)
    assert later.made_whole == 0


async def compact_at_once(settings: KafkaSettings, topic: topics.Topic) -> None:
    client = await kafka_edge.admin(settings)
    at_once = {"segment.ms": "1", "min.cleanable.dirty.ratio": "0", "max.compaction.lag.ms": "1"}
    try:
        resource = ConfigResource(ConfigResourceType.TOPIC, topic.name, topic.config | at_once)
        await client.alter_configs([resource])
    finally:
        await client.close()


async def count_of(settings: KafkaSettings, topic: topics.Topic, key: bytes) -> int:
    """Count the records of a key that a topic holds."""
    found = 0

    def take(consumed: Sequence[ConsumerRecord]) -> None:
        nonlocal found
        found += sum(record.key == key for record in consumed)

    reader = TopicReader(partial(kafka_edge.consumer, settings), topic.name)
    async with at_work(reader.run(take)):
        await reader.caught_up()
    return found


async def test_version_is_never_later_than_the_record(
    settings: KafkaSettings, producer: AIOKafkaProducer, own: RenewedProducer
) -> None:
    await send(producer, "item-1", price=5.0, updated_ms=LATEST_MS)
    await send(producer, "item-1", price=6.0)
    offers = Offers(catalogue_of(*CATALOGUE))
    feed = feed_of(settings, offers, own)
    async with at_work(feed.run()):
        await feed.caught_up()
    assert offers.terms.price[1] == 6.0, "a wrong clock does not lock an offer for ever"


async def test_bad_offers_become_dead_letters_with_their_origin_and_the_good_ones_count(
    settings: KafkaSettings, producer: AIOKafkaProducer, own: RenewedProducer
) -> None:
    await producer.send_and_wait(topics.OFFERS.name, key=b"item-0", value=b"before the start")
    offers = Offers(catalogue_of(*CATALOGUE))
    feed = feed_of(settings, offers, own)
    bad = {
        b"item-1": b"not json",
        b"item-2": b'{"item_id": "item-2", "price": -1}',
        b"item-3": b'{"item_id": "another"}',
        b"\xff": None,
    }
    where = {}
    async with at_work(feed.run()):
        await feed.caught_up()
        for key, value in bad.items():
            sent = await producer.send_and_wait(topics.OFFERS.name, key=key, value=value)
            where[f"offers:{sent.partition}:{sent.offset}".encode()] = value
            await send(producer, "item-9", price=float(len(where)))
        await feed.caught_up()
        letters = await _dead_letters(settings, len(bad))
    assert offers.terms.price[9] == len(bad)
    assert {letter.key: letter.value for letter in letters} == where
    classes = [records.header(letter.headers, records.ERROR_CLASS) for letter in letters]
    assert sorted(filter(None, classes)) == [
        b"out-of-bounds",
        b"undecodable",
        b"wrong-key",
        b"wrong-key",
    ]
    assert feed.status()["refused"] == len(bad) + 1, "the one before the start is only counted"


async def test_bad_offer_that_comes_while_the_topic_is_still_read_becomes_a_dead_letter(
    settings: KafkaSettings, producer: AIOKafkaProducer, own: RenewedProducer
) -> None:
    value = encode_offer(Offer(item_id="item-1", price=5.0))
    for _ in range(5_000):
        await producer.send(topics.OFFERS.name, key=b"item-1", value=value)
    await producer.flush()
    feed = feed_of(settings, Offers(catalogue_of(*CATALOGUE)), own)
    async with at_work(feed.run()):
        await eventually(lambda: feed._reader.ends_at_start is not None, within_s=10)
        sent = await producer.send_and_wait(topics.OFFERS.name, key=b"item-1", value=b"not json")
        (letter,) = await _dead_letters(settings, 1)
    assert letter.key == f"offers:{sent.partition}:{sent.offset}".encode()


async def _dead_letters(settings: KafkaSettings, count: int) -> list[ConsumerRecord]:
    """Read so many dead letters, and make sure that there is none more."""
    consumer = kafka_edge.consumer(settings, topics.DEAD_LETTERS.name)
    await consumer.start()
    try:
        async with asyncio.timeout(10):
            letters = [await consumer.getone() for _ in range(count)]
        assert not await consumer.getmany(timeout_ms=300)
    finally:
        await consumer.stop()
    return letters
