"""Forget a user: append an event to `clicks`; sessions empties the state when it comes to it."""

from __future__ import annotations

import asyncio

from aiokafka.errors import KafkaError

from freshet.contract.events import FORGET, Event, encode_event
from freshet.contract.position_tokens import PositionToken
from freshet.contract.records import PROTOBUF, PROTOBUF_HEADERS
from freshet.contract.topics import CLICKS
from freshet.errors import Unavailable
from freshet.producer import RenewedProducer


async def forget(user_id: str, producer: RenewedProducer, within_s: float) -> PositionToken:
    """Append the event and return its position, once all replicas have it.

    The event carries no time: the record's is the moment that counts, whatever clocks say.
    Raises Unavailable; the event may then stand in the log all the same, and forgetting twice
    does no harm.
    """
    event = Event(user_id=user_id, type=FORGET)
    try:
        async with asyncio.timeout(within_s):
            written = await producer.send_and_wait(
                CLICKS.name,
                key=user_id.encode(),
                value=encode_event(event, PROTOBUF),
                headers=PROTOBUF_HEADERS,
            )
    except (KafkaError, TimeoutError) as error:
        raise Unavailable(
            f"Kafka has not confirmed the forget event ({type(error).__name__}): call again"
        ) from None
    return PositionToken(written.partition, written.offset)
