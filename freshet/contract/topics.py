"""Name every Kafka topic: key, cleanup, partitions, limits and who writes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from freshet.prefix import PREFIX

DAY_MS: Final = 86_400_000
# A picture of 4 MiB in base64 and its text; also the clients' limit.
MESSAGE_MAX_BYTES: Final = 8 * 1024 * 1024
DEAD_LETTER_MAX_BYTES: Final = 9 * 1024 * 1024  # the original and its headers
WITHOUT_END: Final = "-1"  # as Kafka writes it


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic and how it must be set up: a number in `config` is the least, a word the only one."""

    name: str  # as Kafka has it, with this process's prefix
    partitions: int  # the local default
    config: dict[str, str] = field(default_factory=dict)
    advised: frozenset[str] = frozenset()  # of `config`: another value breaks no promise

    def config_at(self, replicas: int) -> dict[str, str]:
        """Return how the topic must be set up where each partition has so many replicas.

        With three, what is acknowledged stands on two: one broker may be lost, and one be away.
        """
        least = "2" if replicas >= 3 else "1"
        return {"cleanup.policy": "delete", **self.config, "min.insync.replicas": least}

    def misfits(self, found: Mapping[str, str], replicas: int) -> list[Misfit]:
        """Return what is not as it must be in a config; what Kafka does not tell of it is well."""
        needed = self.config_at(replicas) | {"unclean.leader.election.enable": "false"}
        return [
            Misfit(name, found[name], value, name not in self.advised)
            for name, value in needed.items()
            if name in found and not _fits(found[name], value)
        ]


class Misfit(NamedTuple):
    """A topic's config with another value than it must have."""

    config: str
    found: str
    needed: str
    breaks: bool  # a promise; else it is only not as advised

    def __str__(self) -> str:
        """Say what is and what must be."""
        least = "at least " if self.needed.isdecimal() else ""
        return f"{self.config} is {self.found}, must be {least}{self.needed}"


def _fits(found: str, needed: str) -> bool:
    if needed.isdecimal():
        return found == WITHOUT_END or int(found) >= int(needed)
    return found == needed


def _topic(name: str, partitions: int, config: dict[str, str], *advised: str) -> Topic:
    return Topic(PREFIX + name, partitions, config, frozenset(advised))


def _compacted(name: str, max_bytes: int = 1024 * 1024) -> Topic:
    return _topic(
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
CLICKS: Final = _topic(
    "clicks", 4, {"retention.ms": str(7 * DAY_MS), "message.timestamp.type": "LogAppendTime"}
)
# key item_id; written by apps; a null value deletes
ITEMS: Final = _compacted("items", MESSAGE_MAX_BYTES)
ITEMS_BACKFILL: Final = _compacted("items-backfill", MESSAGE_MAX_BYTES)
# key item_id; written by apps, read by ranking itself
OFFERS: Final = _compacted("offers")
# key user_id; written by apps and, for what was forgotten, by sessions; a null value deletes
USERS: Final = _compacted("users")
# key user_id; written by ranking
IMPRESSIONS: Final = _topic("impressions", 2, {"retention.ms": str(3 * DAY_MS)}, "retention.ms")
# key origin `topic:partition:offset`; written by every service
DEAD_LETTERS: Final = _topic(
    "dead-letters",
    1,
    {"retention.ms": str(30 * DAY_MS), "max.message.bytes": str(DEAD_LETTER_MAX_BYTES)},
    "retention.ms",
    "max.message.bytes",
)


def item_vectors(space: str) -> Topic:
    """Return the topic of one space's encoded items, key item_id; written by embedding only."""
    return _compacted(f"item-vectors.{space}")


def embedding_group(space: str) -> str:
    """Return the consumer group that encodes the items of a space."""
    return f"{PREFIX}freshet-embedding.{space}"


FIXED: Final = (CLICKS, ITEMS, ITEMS_BACKFILL, OFFERS, USERS, IMPRESSIONS, DEAD_LETTERS)
