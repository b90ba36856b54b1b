from __future__ import annotations

import asyncio

import pytest
from aiokafka.errors import KafkaConnectionError
from aiokafka.structs import RecordMetadata, TopicPartition

from freshet.contract.events import decode_event
from freshet.contract.position_tokens import PositionToken
from freshet.errors import Unavailable
from freshet.producer import Headers, RenewedProducer
from services.ranking.live.forget import forget


class MemoryClicks(RenewedProducer):
    """A producer into a list; `error` makes it fail, `silent` never answer."""

    def __init__(self) -> None:
        self.written: list[tuple[bytes, bytes | None, Headers]] = []
        self.error: Exception | None = None
        self.silent = False

    async def send_and_wait(
        self,
        topic: str,
        *,
        key: bytes,
        value: bytes | None,
        headers: Headers = (),
        partition: int | None = None,
    ) -> RecordMetadata:
        if self.silent:
            await asyncio.sleep(60)
        if self.error:
            raise self.error
        self.written.append((key, value, headers))
        offset = len(self.written) - 1
        return RecordMetadata(topic, 2, TopicPartition(topic, 2), offset, 0, 0, 0)


async def test_the_event_carries_no_time_of_its_own() -> None:
    clicks = MemoryClicks()
    assert await forget("ann", clicks, 1.0) == PositionToken(2, 0)
    ((key, value, headers),) = clicks.written
    event = decode_event(value, dict(headers)["content-type"].decode())
    assert (key, event.user_id, event.type, event.time_ms) == (b"ann", "ann", "forget", None)


async def test_a_log_that_does_not_confirm_is_said() -> None:
    clicks = MemoryClicks()
    clicks.error = KafkaConnectionError()
    with pytest.raises(Unavailable, match="not confirmed the forget event"):
        await forget("ann", clicks, 1.0)
    clicks.silent = True
    with pytest.raises(Unavailable, match="call again"):
        await forget("ann", clicks, 0.01)
