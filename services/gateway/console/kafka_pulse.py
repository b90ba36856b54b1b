"""Tell whether Kafka answers, by one connection that is kept."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from freshet import kafka_clients
from freshet.kafka_clients import KafkaSettings

ANSWER_WITHIN_S: Final = 2.0


class KafkaPulse:
    """Asks Kafka for what it is made of; connects anew after a failure."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._client: AIOKafkaAdminClient | None = None

    async def answers(self) -> bool:
        """Say whether Kafka answers in time."""
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                if self._client is None:
                    self._client = await kafka_clients.admin(self._settings)
                await self._client.describe_cluster()
        except (KafkaError, OSError, TimeoutError):
            await self.stop()
            return False
        return True

    async def stop(self) -> None:
        """Close the connection."""
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(KafkaError, OSError):
                await client.close()
