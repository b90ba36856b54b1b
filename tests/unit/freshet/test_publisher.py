"""What a publisher sends, in what order, how much at once, and what it makes of Kafka's errors."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import pytest
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    MessageSizeTooLargeError,
    TopicAuthorizationFailedError,
)

from freshet import (
    DeadlineExceeded,
    Event,
    FreshetError,
    InvalidRequest,
    Item,
    KafkaSettings,
    Offer,
    Published,
    Publisher,
    Unavailable,
    User,
    kafka_clients,
    send_window,
    sync,
)
from freshet.contract.events import decode_event
from freshet.contract.items import decode_item
from freshet.contract.offers import decode_offer
from freshet.contract.records import PROTOBUF
from freshet.contract.users import decode_user
from tests.unit.freshet.kafka_double import KafkaDouble

CLICK = Event(user_id="ada", item_id="mug", type="click")
MUG = Item(item_id="mug", title="Blue mug")
DEAL = Offer(item_id="mug", price=15.0)
ANA = User(user_id="ana", country="JP", attributes={"age": "25-34"})
Publish = Callable[[Publisher], Coroutine[Any, Any, object]]


@pytest.fixture
def kafka(monkeypatch: pytest.MonkeyPatch) -> KafkaDouble:
    double = KafkaDouble()
    monkeypatch.setattr(kafka_clients, "producer", double.make)
    return double


@pytest.fixture
async def publisher(kafka: KafkaDouble) -> AsyncIterator[Publisher]:
    async with Publisher("kafka:9092", timeout=30) as publisher:
        yield publisher


async def test_an_event_gets_the_token_of_its_position(
    publisher: Publisher, kafka: KafkaDouble
) -> None:
    assert [await publisher.event(CLICK), await publisher.event(CLICK)] == ["3:0", "3:1"]

    record = kafka.sent[0]
    assert (record.topic, record.key) == ("clicks", b"ada")
    assert record.headers == [("content-type", b"application/protobuf")]
    assert record.value is not None
    assert decode_event(record.value, PROTOBUF) == CLICK


async def test_items_offers_and_users_go_to_their_topics(
    publisher: Publisher, kafka: KafkaDouble
) -> None:
    await publisher.item(MUG)
    await publisher.item(MUG, backfill=True)
    await publisher.offer(DEAL)
    await publisher.user(ANA)
    await publisher.delete("mug")
    await publisher.delete_offer("mug")
    await publisher.delete_user("ana")

    assert [(record.topic, record.key) for record in kafka.sent] == [
        ("items", b"mug"),
        ("items-backfill", b"mug"),
        ("offers", b"mug"),
        ("users", b"ana"),
        ("items", b"mug"),
        ("offers", b"mug"),
        ("users", b"ana"),
    ]
    live, backfill, offer, user, *deletes = [record.value for record in kafka.sent]
    assert decode_item(live or b"", PROTOBUF) == decode_item(backfill or b"", PROTOBUF) == MUG
    assert decode_offer(offer or b"", PROTOBUF) == DEAL
    assert decode_user(user or b"", PROTOBUF) == ANA
    assert deletes == [None, None, None]


async def test_a_shop_with_a_prefix_has_topics_of_its_own(kafka: KafkaDouble) -> None:
    async with Publisher("kafka:9092", topic_prefix="shoes.") as publisher:
        await publisher.event(CLICK)
        published = await publisher.many([MUG, DEAL, ANA, CLICK], backfill=True)
        await publisher.delete("mug")
    assert [record.topic for record in kafka.sent] == [
        *("shoes.clicks", "shoes.items-backfill", "shoes.offers", "shoes.users"),
        *("shoes.clicks", "shoes.items"),
    ]
    assert published.positions == ("3:1",)


@pytest.mark.parametrize("prefix", ["two words", "shop/", "s" * 65])
def test_what_no_topic_can_begin_with_is_refused_at_once(prefix: str) -> None:
    for make in (Publisher, sync.Publisher):
        with pytest.raises(ValueError, match="no prefix of topics"):
            make("kafka:9092", topic_prefix=prefix)


async def test_the_producer_is_made_at_the_first_call_and_stopped_at_the_end(
    kafka: KafkaDouble,
) -> None:
    publisher = Publisher(KafkaSettings(bootstrap_servers="one:9092,two:9092"), linger_ms=20)
    assert kafka.options == {}

    await publisher.event(CLICK)
    assert kafka.options["bootstrap_servers"] == "one:9092,two:9092"
    assert kafka.options["linger_ms"] == 20
    assert kafka.running == 1

    await publisher.close()
    await publisher.close()
    assert kafka.running == 0
    assert repr(publisher) == "<Publisher of one:9092,two:9092 (closed)>"
    with pytest.raises(RuntimeError, match="cannot be used any more"):
        await publisher.event(CLICK)


@pytest.mark.parametrize(
    "kafka", ["", "localhost:abc", "localhost", None, KafkaSettings(bootstrap_servers="mug")]
)
def test_what_are_no_servers_is_refused_at_once(kafka: Any) -> None:
    for kind in (Publisher, sync.Publisher):
        with pytest.raises(ValueError, match="servers must be host:port, comma separated, such as"):
            kind(kafka)


def test_a_password_stands_in_no_repr() -> None:
    settings = KafkaSettings(sasl_username="shop", sasl_password="pa55")

    assert "shop" in repr(settings)
    assert "pa55" not in repr(settings) + repr(Publisher(settings))


REFUSED: list[tuple[Publish, str]] = [
    (lambda each: each.event(Event(user_id="", item_id="mug", type="click")), "user_id"),
    (lambda each: each.event(Event(user_id="ada", type="click")), "item_id"),
    (lambda each: each.item(Item(item_id="mug", title="x" * 513)), "title"),
    (
        lambda each: each.item(Item(item_id="mug", categories="mugs")),  # type: ignore[arg-type]
        "categories",
    ),
    (lambda each: each.event(Event(user_id=1.5, type="click")), "user_id"),  # type: ignore[arg-type]
    (lambda each: each.item(MUG, timeout=0), "timeout"),
    (lambda each: each.offer(Offer(item_id="mug", price=-1)), "price"),
    (lambda each: each.delete("a\nb"), "item_id"),
    (lambda each: each.delete_offer(""), "item_id"),
    (lambda each: each.user(User(user_id="ana", country="jp")), "country"),
    (lambda each: each.delete_user(""), "user_id"),
    (lambda each: each.many([Offer(item_id="mug", currency="euro")]), "currency"),
]


@pytest.mark.parametrize(("publish", "field"), REFUSED)
async def test_what_is_out_of_bounds_is_refused_before_it_is_sent(
    publisher: Publisher, kafka: KafkaDouble, publish: Publish, field: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await publish(publisher)

    assert refused.value.field == field
    assert refused.value.bound
    assert kafka.sent == []


async def test_ids_and_values_are_read_as_in_files_and_records(
    publisher: Publisher, kafka: KafkaDouble
) -> None:
    await publisher.event(
        Event(user_id=42, item_id=7, type="rate", value="4")  # type: ignore[arg-type]
    )
    await publisher.item(Item(item_id=7, tags=None, in_stock=1))  # type: ignore[arg-type]
    await publisher.delete(7)  # type: ignore[arg-type]

    event, item, delete = kafka.sent
    assert decode_event(event.value, PROTOBUF) == Event(
        user_id="42", item_id="7", type="rate", value=4.0
    )
    assert decode_item(item.value or b"", PROTOBUF) == Item(item_id="7", in_stock=True)
    assert [event.key, item.key, delete.key] == [b"42", b"7", b"7"]


@pytest.mark.parametrize(
    "record",
    [
        Event(user_id="ada", item_id="mug", type="click", time_ms=1_800_000_000),
        Item(item_id="mug", updated_ms=1_800_000_000),
        Offer(item_id="mug", available_until_ms=1_800_000_000),
        User(user_id="ana", updated_ms=1_800_000_000),
    ],
)
async def test_seconds_where_milliseconds_are_meant_are_refused(
    publisher: Publisher, record: Event | Item | Offer | User
) -> None:
    with pytest.raises(InvalidRequest, match="if these are seconds, give 1800000000000"):
        await publisher.many([record])


async def test_what_is_no_record_is_a_mistake_of_types(publisher: Publisher) -> None:
    with pytest.raises(TypeError, match="an Event, Item, Offer or User can be published, not dict"):
        await publisher.many([{"user_id": "ada"}])  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (KafkaConnectionError("no route"), Unavailable),
        (KafkaError("any other"), Unavailable),
        (OSError("no such host"), Unavailable),
        (MessageSizeTooLargeError("9 MiB"), InvalidRequest),
        (TopicAuthorizationFailedError("clicks"), FreshetError),
    ],
)
async def test_kafkas_errors_come_in_the_same_tree(
    publisher: Publisher, kafka: KafkaDouble, error: Exception, kind: type[FreshetError]
) -> None:
    for publish in (publisher.event(CLICK), publisher.many([CLICK])):
        kafka.errors = [error]
        with pytest.raises(FreshetError) as raised:
            await publish
        assert type(raised.value) is kind
        assert raised.value.__cause__ is error
    await publisher.event(CLICK)  # and the next record is written


async def test_a_record_that_is_not_acknowledged_in_time_may_be_published_all_the_same(
    publisher: Publisher, kafka: KafkaDouble
) -> None:
    kafka.holding = True

    with pytest.raises(DeadlineExceeded, match="may be published all the same"):
        await publisher.event(CLICK, timeout=0.01)
    assert len(kafka.sent) == 1


async def test_kafka_that_is_not_there_is_said_by_the_first_call_not_by_the_block() -> None:
    async with Publisher("127.0.0.1:1", timeout=30) as publisher:
        with pytest.raises(Unavailable, match="Kafka at 127.0.0.1:1: "):
            await publisher.event(CLICK)


def clicks(count: int) -> list[Event]:
    return [
        Event(user_id="ada" if n % 2 else "grace", item_id=f"{n}", type="click")
        for n in range(count)
    ]


async def test_many_records_keep_their_order_and_events_yield_tokens(
    publisher: Publisher, kafka: KafkaDouble
) -> None:
    tokens: list[str] = []

    published = await publisher.many([MUG, *clicks(5), DEAL], on_token=tokens.append)

    assert published == Published(count=7, positions=("5:2", "3:1"))
    assert tokens == ["5:0", "3:0", "5:1", "3:1", "5:2"]
    topics = [record.topic for record in kafka.sent]
    assert topics == ["items", "clicks", "clicks", "clicks", "clicks", "clicks", "offers"]


async def test_many_records_may_come_from_anywhere(
    publisher: Publisher, kafka: KafkaDouble
) -> None:
    async def stream() -> AsyncIterator[Event]:
        for click in clicks(3):
            await asyncio.sleep(0)
            yield click

    assert (await publisher.many(stream())).count == 3
    assert (await publisher.many(click for click in clicks(3))).count == 3
    assert (await publisher.many([])) == Published(0, ())
    assert [record.key for record in kafka.sent] == [b"grace", b"ada", b"grace"] * 2


async def test_a_backfill_of_many_lets_live_items_overtake(
    publisher: Publisher, kafka: KafkaDouble
) -> None:
    await publisher.many([MUG], backfill=True)

    assert kafka.sent[0].topic == "items-backfill"


async def test_many_are_in_flight_and_no_more_than_the_window_allows(
    publisher: Publisher, kafka: KafkaDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(send_window, "IN_FLIGHT_RECORDS", 4)
    kafka.holding = True

    publishing = asyncio.create_task(publisher.many(clicks(10)))
    for expected in (4, 8, 10):
        for _ in range(100):
            await asyncio.sleep(0)  # turns enough to send more than it may
        assert len(kafka.sent) == expected
        kafka.release()

    assert (await publishing).count == 10


async def test_the_window_counts_bytes_too(
    publisher: Publisher, kafka: KafkaDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(send_window, "IN_FLIGHT_BYTES", 2_500)
    kafka.holding = True
    items = [Item(item_id=f"{n}", description="x" * 1_000) for n in range(4)]

    publishing = asyncio.create_task(publisher.many(items))
    for _ in range(100):
        await asyncio.sleep(0)
    assert len(kafka.sent) == 2

    kafka.holding = False
    kafka.release()
    assert (await publishing).count == 4


@pytest.mark.parametrize(
    ("bad", "error"),
    [(Item(item_id=""), InvalidRequest), ({"item_id": "mug"}, TypeError)],
    ids=["out of bounds", "of another type"],
)
async def test_a_bad_one_of_many_is_named_by_its_number(
    publisher: Publisher, bad: Any, error: type[Exception]
) -> None:
    with pytest.raises(error, match=r"\(record 2, from 0\)") as raised:
        await publisher.many([MUG, CLICK, bad])

    if isinstance(raised.value, InvalidRequest):
        assert raised.value.field == "item_id"


async def test_who_is_cancelled_can_still_wait_for_what_is_on_its_way(
    publisher: Publisher, kafka: KafkaDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(send_window, "IN_FLIGHT_RECORDS", 1)
    kafka.holding = True
    heard: list[str] = []
    publishing = asyncio.create_task(publisher.many(clicks(3), on_token=heard.append))
    for _ in range(100):
        await asyncio.sleep(0)  # turns enough to send one

    publishing.cancel()
    await asyncio.sleep(0)
    kafka.release()
    with pytest.raises(asyncio.CancelledError):
        await publishing

    assert len(heard) == len(kafka.sent) == 1


async def test_what_was_handed_over_before_an_error_is_published_all_the_same(
    publisher: Publisher, kafka: KafkaDouble
) -> None:
    def source() -> Iterator[Event]:
        yield from clicks(2)
        raise LookupError("the source broke")

    with pytest.raises(LookupError):
        await publisher.many(source())
    assert len(kafka.sent) == 2


async def test_the_blocking_publisher_does_the_same(kafka: KafkaDouble) -> None:
    tokens: list[str] = []
    callers: set[str] = set()

    def source() -> Iterator[Event]:
        for click in clicks(40):
            callers.add(threading.current_thread().name)
            yield click

    def on_token(token: str) -> None:
        callers.add(threading.current_thread().name)
        tokens.append(token)

    def publish() -> Published:
        callers.add(threading.current_thread().name)
        with sync.Publisher("kafka:9092", timeout=30) as publisher:
            assert publisher.event(CLICK) == "3:0"
            publisher.item(MUG, backfill=True)
            publisher.offer(DEAL)
            publisher.delete("mug")
            publisher.delete_offer("mug")
            publisher.user(ANA)
            publisher.delete_user("ana")
            with pytest.raises(InvalidRequest):
                publisher.many([Event(user_id="", item_id="mug", type="click")])
            return publisher.many(source(), on_token=on_token)

    published = await asyncio.to_thread(publish)

    assert published == Published(count=40, positions=("5:19", "3:20"))
    assert tokens == [f"{5 if n % 2 == 0 else 3}:{n // 2 + n % 2}" for n in range(40)]
    assert len(callers) == 1  # what belongs to the caller's thread stays in it
    assert kafka.running == 0


def test_an_item_shows_what_is_set_and_a_picture_by_its_size() -> None:
    item = Item(item_id="mug", title="Blue mug", tags=("blue",), image_bytes=b"x" * 90_000)

    assert repr(item) == (
        "Item(item_id='mug', title='Blue mug', tags=('blue',), image_bytes=<90000 bytes>)"
    )
