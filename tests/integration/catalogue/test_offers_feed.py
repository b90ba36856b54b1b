"""Offers take effect from a real broker, and bad ones become dead letters."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from functools import partial

import numpy as np
import pytest
from aiokafka import AIOKafkaProducer, ConsumerRecord

from freshet import kafka_clients as kafka_edge
from freshet.contract import records, topics
from freshet.contract.bounds import EARLIEST_MS, LATEST_MS
from freshet.contract.offers import Offer, encode_offer
from freshet.kafka_clients import KafkaSettings
from services.ranking.live.offers import Offers
from services.ranking.live.offers_feed import OffersFeed
from shared.runtime.dead_letters import DeadLetterWriter
from shared.runtime.topic_reader import POLL_MS
from tests.integration.catalogue.conftest import Publish, at_work
from tests.servers import eventually
from tests.unit.shared.catalogue.makers import catalogue_of, put

pytestmark = pytest.mark.integration

ITEMS_MS = EARLIEST_MS + 1  # their version
CATALOGUE = [put(f"item-{n}", ITEMS_MS, price=10.0) for n in range(40)]


@pytest.fixture
async def producer(settings: KafkaSettings, publish: Publish) -> AsyncIterator[AIOKafkaProducer]:
    """Return a producer, once the topics are there."""
    started = kafka_edge.producer(settings)
    await started.start()
    yield started
    await started.stop()


async def send(producer: AIOKafkaProducer, item_id: str, **fields: float | bool | int) -> None:
    value = encode_offer(Offer(item_id=item_id, **fields))  # type: ignore[arg-type]
    await producer.send_and_wait(topics.OFFERS.name, key=item_id.encode(), value=value)


async def test_offer_takes_effect_when_its_record_comes_not_at_the_next_look(
    settings: KafkaSettings, producer: AIOKafkaProducer
) -> None:
    offers = Offers(catalogue_of(*CATALOGUE))
    feed = OffersFeed(settings, offers, DeadLetterWriter(producer, "ranking"))
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
    settings: KafkaSettings, producer: AIOKafkaProducer
) -> None:
    await send(producer, "item-1", price=5.0)
    await send(producer, "item-2", price=6.0, updated_ms=ITEMS_MS)  # as old: the offer wins
    await send(producer, "item-3", price=6.0, updated_ms=EARLIEST_MS)  # older
    await send(producer, "item-4", price=7.0)
    await producer.send_and_wait(topics.OFFERS.name, key=b"item-4", value=None)
    offers = Offers(catalogue_of(*CATALOGUE))
    feed = OffersFeed(settings, offers, DeadLetterWriter(producer, "ranking"))
    async with at_work(feed.run()):
        await feed.caught_up()
    assert offers.terms.price[:5].tolist() == [10.0, 5.0, 6.0, 10.0, 10.0]
    assert feed.status()["refused"] == 0


async def test_version_is_never_later_than_the_record(
    settings: KafkaSettings, producer: AIOKafkaProducer
) -> None:
    await send(producer, "item-1", price=5.0, updated_ms=LATEST_MS)
    await send(producer, "item-1", price=6.0)
    offers = Offers(catalogue_of(*CATALOGUE))
    feed = OffersFeed(settings, offers, DeadLetterWriter(producer, "ranking"))
    async with at_work(feed.run()):
        await feed.caught_up()
    assert offers.terms.price[1] == 6.0, "a wrong clock does not lock an offer for ever"


async def test_bad_offers_become_dead_letters_with_their_origin_and_the_good_ones_count(
    settings: KafkaSettings, producer: AIOKafkaProducer
) -> None:
    await producer.send_and_wait(topics.OFFERS.name, key=b"item-0", value=b"before the start")
    offers = Offers(catalogue_of(*CATALOGUE))
    feed = OffersFeed(settings, offers, DeadLetterWriter(producer, "ranking"))
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
    settings: KafkaSettings, producer: AIOKafkaProducer
) -> None:
    value = encode_offer(Offer(item_id="item-1", price=5.0))
    for _ in range(5_000):
        await producer.send(topics.OFFERS.name, key=b"item-1", value=value)
    await producer.flush()
    feed = OffersFeed(
        settings, Offers(catalogue_of(*CATALOGUE)), DeadLetterWriter(producer, "ranking")
    )
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
