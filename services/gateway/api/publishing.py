"""Publish what callers send: events, items, offers, users."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import Meta

from freshet.contract import forms
from freshet.contract.bounds import Id, check_id, refuse
from freshet.contract.events import EVENT_BYTES, Event, decode_event
from freshet.contract.forms import Message, read_flag, read_text
from freshet.contract.items import Item
from freshet.contract.offers import OFFER_BYTES, Offer
from freshet.contract.records import JSON as JSON_RECORD
from freshet.contract.users import USER_BYTES, User
from freshet.errors import DeadlineExceeded, InvalidRequest, as_invalid_request
from freshet.publisher import TIMEOUT_S, Publisher
from services.gateway.access.callers import KEY, SIGNATURE
from services.gateway.api import decoding
from services.gateway.api.endpoint import (
    JSON,
    NDJSON,
    TEXT,
    TIMEOUT,
    Answer,
    Call,
    Endpoint,
    ExampleCall,
    Parameter,
    Timeout,
)
from shared.access.tokens import Scope

BATCH_AT_MOST: Final = 1_000
BATCH_BYTES: Final = 1024 * 1024
# A picture of 4 MiB in base64, and 600 KiB of text.
ITEM_BYTES: Final = 6 * 1024 * 1024
EventList = Annotated[
    list[Event], Meta(extra_json_schema={"minItems": 1, "maxItems": BATCH_AT_MOST})
]
EVENT_BODIES: Final = {JSON: Event | EventList, TEXT: str, NDJSON: str}

TIME: Final = Parameter(TIMEOUT, "query", Timeout, "Within how many ms it must be published.", 5000)

M = TypeVar("M", bound=Message)


class EventsPublished(msgspec.Struct, frozen=True):
    """Events that all replicas of Kafka have."""

    count: int
    # Position tokens: of each event, in order; of a stream, of the last event of each partition.
    positions: tuple[str, ...]


class ItemPublished(msgspec.Struct, frozen=True):
    """A record of an item that all replicas of Kafka have."""

    item_id: str


class UserPublished(msgspec.Struct, frozen=True):
    """A record of a user that all replicas of Kafka have."""

    user_id: str


class Publishing:
    """Answers the calls that publish."""

    def __init__(self, publisher: Publisher, stream_bytes: int) -> None:
        self._publisher = publisher
        self._stream_bytes = stream_bytes

    async def events(self, call: Call) -> Answer:
        """Publish one event, a list of them, or a stream of lines."""
        if call.check_media_type(EVENT_BODIES) == NDJSON:
            return await self._stream(call)
        body = await call.body(BATCH_BYTES)
        events = list(_checked(call, _records(body)))
        positions: list[str] = []
        with timed() as timings:
            if len(events) == 1:
                positions.append(await self._publisher.event(events[0], timeout=call.timeout_s))
            else:
                async with _acknowledged_within(call.timeout_s or TIMEOUT_S):
                    await self._publisher.many(events, on_token=positions.append)
        return Answer(EventsPublished(len(events), tuple(positions)), timings)

    async def _stream(self, call: Call) -> Answer:
        """Publish lines as they come; what came before a bad one is published."""
        read = 0

        async def events() -> AsyncIterator[Event]:
            nonlocal read
            async for line in _lines(call.parts(self._stream_bytes)):
                if line.strip():
                    yield _event(call, line, read)
                    read += 1

        with timed() as timings:
            try:
                published = await self._publisher.many(events())
            except InvalidRequest as error:
                error.args = (f"{error}; those before it are published",)
                raise
        return Answer(EventsPublished(published.count, published.positions), timings)

    async def put_item(self, call: Call) -> Answer:
        """Publish a whole item."""
        item = await _message(call, Item, "item_id", ITEM_BYTES)
        with as_invalid_request():
            backfill = read_flag("backfill", call.request.query_params.get("backfill", "false"))
        with timed() as timings:
            await self._publisher.item(item, backfill=backfill, timeout=call.timeout_s)
        return Answer(ItemPublished(item.item_id), timings)

    async def delete_item(self, call: Call) -> Answer:
        """Delete an item."""
        item_id = _id(call, "item_id")
        with timed() as timings:
            await self._publisher.delete(item_id, timeout=call.timeout_s)
        return Answer(ItemPublished(item_id), timings)

    async def patch_offer(self, call: Call) -> Answer:
        """Publish what changed about an item's price, stock or window."""
        offer = await _message(call, Offer, "item_id", OFFER_BYTES)
        with timed() as timings:
            await self._publisher.offer(offer, timeout=call.timeout_s)
        return Answer(ItemPublished(offer.item_id), timings)

    async def delete_offer(self, call: Call) -> Answer:
        """Take an offer back."""
        item_id = _id(call, "item_id")
        with timed() as timings:
            await self._publisher.delete_offer(item_id, timeout=call.timeout_s)
        return Answer(ItemPublished(item_id), timings)

    async def put_user(self, call: Call) -> Answer:
        """Publish what the shop knows of a user."""
        user = await _message(call, User, "user_id", USER_BYTES)
        with timed() as timings:
            await self._publisher.user(user, timeout=call.timeout_s)
        return Answer(UserPublished(user.user_id), timings)


def endpoints(publishing: Publishing) -> tuple[Endpoint, ...]:
    """Return what publishes."""
    item_id = Parameter("item_id", "path", Id, "The item's id.", "mug-1")
    user_id = Parameter("user_id", "path", Id, "The user's id.", "ada")
    event = {"user_id": "ada", "item_id": "mug-1", "type": "click", "event_id": "c-17"}
    return (
        Endpoint(
            method="POST",
            path="/v1/events",
            answer=publishing.events,
            scope=Scope.PUBLISH,
            summary="Publish what users did: one event, or up to 1,000 in a list, or a stream.",
            what="All of a list is published, or nothing. Lines of a stream (application/x-ndjson)"
            " are published as they come, to the first that is refused. After 503 or 504 an event"
            " may be published all the same: give it an `event_id`, and publish it again. An event"
            " of type `forget` needs the scope people. text/plain is what sendBeacon sends.",
            parameters=(
                TIME,
                Parameter(KEY, "query", str, "A public key, of a web page."),
                Parameter(SIGNATURE, "query", str, "Of user_id, with a public key."),
            ),
            bodies=EVENT_BODIES,
            reply=EventsPublished,
            status=202,
            browsers=True,
            example=ExampleCall(body=event),
        ),
        Endpoint(
            method="PUT",
            path="/v1/items/{item_id:id}",
            answer=publishing.put_item,
            scope=Scope.PUBLISH,
            summary="Publish an item, the whole of it.",
            parameters=(
                item_id,
                TIME,
                Parameter("backfill", "query", bool, "Let live arrivals overtake it."),
            ),
            bodies={JSON: Item},
            reply=ItemPublished,
            status=202,
            example=ExampleCall(
                {"item_id": "mug-1"},
                {"title": "Blue stoneware mug", "price": 18.0, "currency": "EUR"},
            ),
        ),
        Endpoint(
            method="DELETE",
            path="/v1/items/{item_id:id}",
            answer=publishing.delete_item,
            scope=Scope.PUBLISH,
            summary="Delete an item: it is in no list any more.",
            parameters=(item_id, TIME),
            reply=ItemPublished,
            status=202,
            example=ExampleCall({"item_id": "mug-1"}),
        ),
        Endpoint(
            method="PATCH",
            path="/v1/offers/{item_id:id}",
            answer=publishing.patch_offer,
            scope=Scope.PUBLISH,
            summary="Publish what changed about an item's price, stock or window.",
            parameters=(item_id, TIME),
            bodies={JSON: Offer},
            reply=ItemPublished,
            status=202,
            example=ExampleCall({"item_id": "mug-1"}, {"price": 15.0, "currency": "EUR"}),
        ),
        Endpoint(
            method="DELETE",
            path="/v1/offers/{item_id:id}",
            answer=publishing.delete_offer,
            scope=Scope.PUBLISH,
            summary="Take an offer back: the item's own price, stock and window hold again.",
            parameters=(item_id, TIME),
            reply=ItemPublished,
            status=202,
            example=ExampleCall({"item_id": "mug-1"}),
        ),
        Endpoint(
            method="PUT",
            path="/v1/users/{user_id:id}",
            answer=publishing.put_user,
            scope=Scope.PUBLISH,
            summary="Publish what the shop knows of a user, the whole of it.",
            parameters=(user_id, TIME),
            bodies={JSON: User},
            reply=UserPublished,
            status=202,
            example=ExampleCall({"user_id": "ada"}, {"country": "CH", "segments": ["members"]}),
        ),
    )


@contextmanager
def timed() -> Iterator[dict[str, float]]:
    """Measure what Kafka takes, in ms, for Server-Timing."""
    timings: dict[str, float] = {}
    began_s = time.perf_counter()
    yield timings
    timings["kafka"] = (time.perf_counter() - began_s) * 1e3


@asynccontextmanager
async def _acknowledged_within(timeout_s: float) -> AsyncIterator[None]:
    """Bound how long Kafka may take. Raises DeadlineExceeded."""
    try:
        async with asyncio.timeout(timeout_s):
            yield
    except TimeoutError:
        late = "Kafka has not acknowledged in time; the events may be published all the same"
        raise DeadlineExceeded(late) from None


def _records(body: bytes) -> list[bytes]:
    """Return the events of a body, not yet decoded. Raises InvalidRequest."""
    if not body.lstrip(b" \t\r\n").startswith(b"["):
        return [body]
    try:
        records = msgspec.json.decode(body, type=list[msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"body must be JSON, was not: {error}") from None
    if not 1 <= len(records) <= BATCH_AT_MOST:
        raise InvalidRequest(f"body must be 1-{BATCH_AT_MOST} events, was {len(records)}")
    return [bytes(record) for record in records]


def _checked(call: Call, records: list[bytes]) -> Iterator[Event]:
    """Yield the events of a body. Raises InvalidRequest, NotLetIn."""
    single = len(records) == 1
    for number, record in enumerate(records):
        yield _event(call, record, None if single else number)


def _event(call: Call, record: bytes, number: int | None) -> Event:
    """Return an event that the caller may publish; number: which one a refusal names."""
    try:
        with as_invalid_request():
            event = decode_event(record, JSON_RECORD)
        call.caller.check_event(event)
    except InvalidRequest as error:
        if number is not None:
            error.args = (f"{error} (event {number}, from 0)",)
        raise
    return event


async def _lines(parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the lines of a stream. Raises InvalidRequest for one that no event can be."""
    rest = b""
    async for part in parts:
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            yield line
        if len(rest) > EVENT_BYTES:
            raise InvalidRequest(f"a line must be at most {EVENT_BYTES} bytes, was more")
    yield rest


async def _message(call: Call, kind: type[M], key: str, at_most: int) -> M:
    """Return the message in a body, whose id is that of the path. Raises InvalidRequest."""
    call.check_media_type({JSON: kind})
    path_id = _id(call, key)
    fields = decoding.read_object(await call.body(at_most))
    with as_invalid_request():
        for name in (key, key.replace("_id", "Id")):
            stated = fields.pop(name, None)
            if stated is not None and read_text(key, stated) != path_id:
                refuse(key, f"that of the path, {path_id!r}", repr(stated)[:40])
        return forms.read(kind, {key: path_id, **fields})


def _id(call: Call, name: str) -> str:
    """Return an id of the path. Raises InvalidRequest."""
    text: str = call.request.path_params[name]
    with as_invalid_request():
        check_id(name, text)
    return text
