"""Forget: appends a forget event to `clicks`; sessions empties the state when it comes to it."""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from aiokafka.errors import KafkaError
from aiokafka.structs import RecordMetadata

from freshet.contract.events import FORGET, Event, encode_event
from freshet.contract.position_tokens import PositionToken
from freshet.contract.records import CONTENT_TYPE, PROTOBUF
from freshet.contract.topics import CLICKS
from services.ranking.errors import Unanswerable

_HEADERS: Final = [(CONTENT_TYPE, PROTOBUF.encode())]


class Producer(Protocol):
    """The part of aiokafka's producer that is used here."""

    async def send_and_wait(
        self, topic: str, *, key: bytes, value: bytes, headers: list[tuple[str, bytes]]
    ) -> RecordMetadata: ...


async def forget(user_id: str, producer: Producer, within_s: float) -> PositionToken:
    """Append the event and return its position, once all replicas have it.

    The event carries no time: the record's is the moment that counts, whatever clocks say.
    Raises Unanswerable; the event may then stand in the log all the same, and forgetting twice
    does no harm.
    """
    event = Event(user_id=user_id, type=FORGET)
    try:
        async with asyncio.timeout(within_s):
            written = await producer.send_and_wait(
                CLICKS.name,
                key=user_id.encode(),
                value=encode_event(event, PROTOBUF),
                headers=_HEADERS,
            )
    except (KafkaError, TimeoutError) as error:
        raise Unanswerable(
            f"Kafka has not confirmed the forget event ({type(error).__name__}): call again"
        ) from None
    return PositionToken(written.partition, written.offset)
