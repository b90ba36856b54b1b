"""Name every Kafka topic: key, cleanup, partitions, limits and who writes it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

DAY_MS: Final = 86_400_000
# A picture of 4 MiB in base64 and its text; also the clients' limit.
MESSAGE_MAX_BYTES: Final = 8 * 1024 * 1024
DEAD_LETTER_MAX_BYTES: Final = 9 * 1024 * 1024  # the original and its headers


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic and its settings; `partitions` is the local default, production makes them itself."""

    name: str
    partitions: int
    config: dict[str, str] = field(default_factory=dict)


def _compacted(name: str, max_bytes: int = 1024 * 1024) -> Topic:
    return Topic(
        name,
        2,
        {
            "cleanup.policy": "compact",
            "delete.retention.ms": str(7 * DAY_MS),
            "message.timestamp.type": "LogAppendTime",
            "max.message.bytes": str(max_bytes),
        },
    )


# key user_id; written by apps and, for forget, by ranking
CLICKS: Final = Topic(
    "clicks", 4, {"retention.ms": str(7 * DAY_MS), "message.timestamp.type": "LogAppendTime"}
)
# key item_id; written by apps; a null value deletes
ITEMS: Final = _compacted("items", MESSAGE_MAX_BYTES)
ITEMS_BACKFILL: Final = _compacted("items-backfill", MESSAGE_MAX_BYTES)
# key item_id; written by apps, read by ranking itself
OFFERS: Final = _compacted("offers")
# key user_id; written by ranking
IMPRESSIONS: Final = Topic("impressions", 2, {"retention.ms": str(3 * DAY_MS)})
# key origin `topic:partition:offset`; written by every service
DEAD_LETTERS: Final = Topic(
    "dead-letters",
    1,
    {"retention.ms": str(30 * DAY_MS), "max.message.bytes": str(DEAD_LETTER_MAX_BYTES)},
)


def item_vectors(space: str) -> Topic:
    """Return the topic of one space's encoded items, key item_id; written by embedding only."""
    return _compacted(f"item-vectors.{space}")


def embedding_group(space: str) -> str:
    """Return the consumer group that encodes the items of a space."""
    return f"freshet-embedding.{space}"


FIXED: Final = (CLICKS, ITEMS, ITEMS_BACKFILL, OFFERS, IMPRESSIONS, DEAD_LETTERS)
