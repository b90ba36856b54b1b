"""Wait for what may come up after the service does."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from aiokafka.errors import KafkaError
from redis.exceptions import RedisError

log = logging.getLogger(__name__)

T = TypeVar("T")

# What Kafka and Redis raise while they are unavailable; a TimeoutError is an OSError.
TRANSIENT_ERRORS = (KafkaError, RedisError, OSError)


async def retry_until_available(
    what: str,
    attempt: Callable[[], Awaitable[T]],
    *,
    first_wait_s: float = 0.2,
    wait_at_most_s: float = 5.0,
) -> T:
    """Await `attempt()` until it succeeds, waiting longer each time and saying it in the log."""
    wait_s, started = first_wait_s, time.monotonic()
    while True:
        try:
            return await attempt()
        except TRANSIENT_ERRORS as error:
            waited_s = time.monotonic() - started
            log.warning(
                "waiting for %s for %.0f s: %s", what, waited_s, error or type(error).__name__
            )
        await asyncio.sleep(wait_s)
        wait_s = min(wait_s * 2, wait_at_most_s)
