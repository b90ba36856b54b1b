"""Publish events, items, offers and users, keyed and encoded as the topics want them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec

from freshet.addresses import check_servers
from freshet.calls import check_timeout
from freshet.contract.bounds import check_id
from freshet.contract.events import Event, encode_event
from freshet.contract.forms import read_text, tidied
from freshet.contract.items import Item, encode_item
from freshet.contract.offers import Offer, encode_offer
from freshet.contract.position_tokens import PositionToken
from freshet.contract.records import PROTOBUF, PROTOBUF_HEADERS, BadRecord
from freshet.contract.topics import CLICKS, ITEMS, ITEMS_BACKFILL, OFFERS, USERS
from freshet.contract.users import User, encode_user
from freshet.errors import (
    DeadlineExceeded,
    FreshetError,
    InvalidRequest,
    Unavailable,
    as_invalid_request,
)
from freshet.loop_bound import LoopBound
from freshet.prefix import PREFIX, check_prefix
from freshet.send_window import SendWindow

if TYPE_CHECKING:
    from types import TracebackType
    from typing import TypeAlias

    from aiokafka.structs import RecordMetadata

    from freshet.kafka_clients import KafkaSettings
    from freshet.producer import RenewedProducer

    Record: TypeAlias = Event | Item | Offer | User

TIMEOUT_S: Final = 5.0  # a few ms where Kafka is well; a new leader takes seconds
LINGER_MS: Final = 20  # what suits imports
BATCH_BYTES: Final = 128 * 1024  # a batch that is full waits for nothing
PUBLISHED: Final = (CLICKS, ITEMS, ITEMS_BACKFILL, OFFERS, USERS)


class Published(msgspec.Struct, frozen=True, gc=False):
    """What `many` has published: all replicas have it."""

    count: int
    positions: tuple[str, ...]  # tokens: the last event of each partition


class Publisher(LoopBound):
    """Publishes to Kafka; use it as `async with Publisher("127.0.0.1:9092") as publisher`.

    One publisher serves any number of calls at once, and all of them belong to the event loop of
    the first; freshet.sync has the same without one. Entering the block connects, for at most a
    second and whether or not anybody answers; without a block, `close` it when done, which sends
    what is on its way.

    Every call waits until all replicas have the record, within its `timeout` in seconds, and
    raises FreshetError (freshet/errors.py). The client of Kafka repeats what is lost on the way
    and Kafka keeps one; after DeadlineExceeded or Unavailable a record may be published all the
    same, so whoever publishes an event again gives it an `event_id`.
    """

    def __init__(
        self,
        kafka: str | KafkaSettings = "127.0.0.1:9092",
        *,
        topic_prefix: str = PREFIX,
        linger_ms: int = 0,
        timeout: float = TIMEOUT_S,
    ) -> None:
        """Connect at the first call.

        kafka: bootstrap servers as host:port, comma separated; KafkaSettings for TLS and passwords.
        topic_prefix: of the shop that shares its Kafka with others; by default FRESHET_TOPIC_PREFIX
        of the environment.
        linger_ms: how long a batch waits for company; 0 for single clicks, 20 for imports.
        timeout: seconds, for calls that say none. Raises ValueError for servers without a port and
        for a prefix that no topic can have.
        """
        check_prefix(topic_prefix)
        check_servers(getattr(kafka, "bootstrap_servers", kafka))
        super().__init__(kafka if isinstance(kafka, str) else kafka.bootstrap_servers)
        self._kafka = kafka
        self._topics = {
            topic.name: topic_prefix + topic.name.removeprefix(PREFIX) for topic in PUBLISHED
        }
        self._linger_ms = linger_ms
        self._timeout = timeout
        self._kafka_errors = _KafkaErrors(self._address)
        self._producer: RenewedProducer

    async def event(self, event: Event, *, timeout: float | None = None) -> str:
        """Publish what a user did; returns the position token to give to `after`."""
        return token(await self._publish(*encoded(event), timeout))

    async def item(
        self, item: Item, *, backfill: bool = False, timeout: float | None = None
    ) -> None:
        """Publish the whole item; `backfill` lets live arrivals overtake it."""
        await self._publish(*encoded(item, backfill=backfill), timeout)

    async def offer(self, offer: Offer, *, timeout: float | None = None) -> None:
        """Publish price, stock or window of an item without its picture."""
        await self._publish(*encoded(offer), timeout)

    async def user(self, user: User, *, timeout: float | None = None) -> None:
        """Publish what the shop knows of a user, the whole of it."""
        await self._publish(*encoded(user), timeout)

    async def delete(self, item_id: str, *, timeout: float | None = None) -> None:
        """Delete an item: it is in no list any more."""
        await self._publish(ITEMS.name, _checked(item_id), None, timeout)

    async def delete_offer(self, item_id: str, *, timeout: float | None = None) -> None:
        """Take an offer back: the item's own price, stock and window hold again."""
        await self._publish(OFFERS.name, _checked(item_id), None, timeout)

    async def delete_user(self, user_id: str, *, timeout: float | None = None) -> None:
        """Delete what the shop said of a user; the user's events stay (Client.forget)."""
        await self._publish(USERS.name, _checked(user_id, "user_id"), None, timeout)

    async def many(
        self,
        records: Iterable[Record] | AsyncIterable[Record],
        *,
        backfill: bool = False,
        on_token: Callable[[str], None] | None = None,
    ) -> Published:
        """Publish any number of records of any kind in order, many of them on their way.

        on_token: hears the position token of each event, in order. backfill: see `item`. It takes
        as long as it takes, but no record longer than 20 s. What was handed over before an error
        is published all the same; an error of a record itself names its number, from 0.
        """
        sending = await self._sending(backfill, on_token)
        try:
            async for record in _each(records):
                await sending.send(record)
        finally:
            published = await sending.finish()
        return published

    async def _sending(self, backfill: bool, on_token: Callable[[str], None] | None) -> Sending:
        """Begin what `many` does, for records that come bit by bit."""
        return Sending(self._open(), self._topics, self._kafka_errors, backfill, on_token)

    async def _publish(
        self, topic: str, key: str, value: bytes | None, timeout: float | None
    ) -> RecordMetadata:
        timeout = self._timeout if timeout is None else timeout
        with as_invalid_request():
            check_timeout(timeout)
        with self._kafka_errors:
            async with asyncio.timeout(timeout):
                return await self._open().send_and_wait(
                    self._topics[topic], key=key.encode(), value=value, headers=PROTOBUF_HEADERS
                )

    def _open(self) -> RenewedProducer:
        self._bind()
        return self._producer

    def _make(self) -> None:
        from freshet.kafka_clients import KafkaSettings

        kafka = self._kafka
        if isinstance(kafka, str):
            kafka = KafkaSettings(bootstrap_servers=kafka)
        self._producer = batching_producer(kafka, self._linger_ms)

    async def _connect(self) -> None:
        producer = self._open()
        with suppress(FreshetError), self._kafka_errors:  # the first call says it
            await producer.start()

    async def _disconnect(self) -> None:
        await self._producer.stop()


class Sending:
    """One `many` under way: records go in, `finish` waits for all of them."""

    def __init__(
        self,
        producer: RenewedProducer,
        topics: Mapping[str, str],
        kafka_errors: _KafkaErrors,
        backfill: bool,
        on_token: Callable[[str], None] | None,
    ) -> None:
        """topics: the name of each on this Kafka, by that which `encoded` returns."""
        self._window = SendWindow(producer, self._acknowledged)
        self._topics = topics
        self._kafka_errors = kafka_errors
        self._backfill = backfill
        self._on_token = on_token
        self._last: dict[int, RecordMetadata] = {}  # of each partition of `clicks`
        self._handed_over = 0

    async def send(self, *records: Record) -> None:
        """Hand records over. Raises FreshetError for the first that cannot be, or was not, sent."""
        for record in records:
            try:
                topic, key, value = encoded(record, backfill=self._backfill)
            except (InvalidRequest, TypeError) as error:
                raise type(error)(f"{error} (record {self._handed_over}, from 0)") from None
            with self._kafka_errors:
                await self._window.send(self._topics[topic], key, value)
            self._handed_over += 1

    async def finish(self) -> Published:
        """Wait until all replicas have everything."""
        with self._kafka_errors:
            await self._window.flush()
        return Published(self._window.acknowledged, tuple(map(token, self._last.values())))

    def _acknowledged(self, written: RecordMetadata) -> None:
        if written.topic == self._topics[CLICKS.name]:
            self._last[written.partition] = written
            if self._on_token is not None:
                self._on_token(token(written))


def batching_producer(kafka: KafkaSettings, linger_ms: int = LINGER_MS) -> RenewedProducer:
    """Return a producer, not started, of batches that suit many records at once."""
    from freshet import kafka_clients
    from freshet.producer import RenewedProducer

    options = {"linger_ms": linger_ms, "max_batch_size": BATCH_BYTES}
    return RenewedProducer(partial(kafka_clients.producer, kafka, **options))


def token(written: RecordMetadata) -> str:
    """Return the position token of a published event."""
    return str(PositionToken(written.partition, written.offset))


def encoded(record: Record, *, backfill: bool = False) -> tuple[str, str, bytes]:
    """Return a record's topic, key and value. Raises InvalidRequest, TypeError.

    backfill: an item's topic is the one that live items overtake.
    """
    try:
        if isinstance(record, Event):
            try:
                return CLICKS.name, record.user_id, encode_event(record, PROTOBUF)
            except (TypeError, AttributeError):  # to tidy each would cost a tenth
                record = tidied(record)
                return CLICKS.name, record.user_id, encode_event(record, PROTOBUF)
        if isinstance(record, Item):
            record = tidied(record)
            topic = ITEMS_BACKFILL if backfill else ITEMS
            return topic.name, record.item_id, encode_item(record, PROTOBUF)
        if isinstance(record, Offer):
            record = tidied(record)
            return OFFERS.name, record.item_id, encode_offer(record, PROTOBUF)
        if isinstance(record, User):
            record = tidied(record)
            return USERS.name, record.user_id, encode_user(record, PROTOBUF)
    except BadRecord as error:
        raise InvalidRequest(str(error)) from None
    raise TypeError(f"an Event, Item, Offer or User can be published, not {type(record).__name__}")


def _checked(key: str, field: str = "item_id") -> str:
    with as_invalid_request():
        key = read_text(field, key)
        check_id(field, key)
    return key


class _KafkaErrors:
    """Turns what Kafka's client raises in a `with` block into FreshetError."""

    def __init__(self, address: str) -> None:
        self._where = f"Kafka at {address}"

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None and (meaning := self._meaning(error)) is not None:
            raise meaning from error

    def _meaning(self, error: BaseException) -> FreshetError | None:
        from aiokafka.errors import (
            ClusterAuthorizationFailedError,
            KafkaError,
            TopicAuthorizationFailedError,
        )

        from freshet.producer import TOO_LARGE_ERRORS

        if isinstance(error, TimeoutError):
            late = "has not acknowledged in time; the record may be published all the same"
            return DeadlineExceeded(f"{self._where} {late}")
        if isinstance(error, TOO_LARGE_ERRORS):
            return InvalidRequest(f"the record is too large: {error}")
        if isinstance(error, (ClusterAuthorizationFailedError, TopicAuthorizationFailedError)):
            return FreshetError(f"{self._where} refuses: {error}")
        if isinstance(error, (KafkaError, OSError)):
            return Unavailable(f"{self._where}: {error or type(error).__name__}")
        return None


async def _each(records: Iterable[Record] | AsyncIterable[Record]) -> AsyncIterator[Record]:
    if isinstance(records, AsyncIterable):
        async for record in records:
            yield record
    else:
        for record in records:
            yield record
