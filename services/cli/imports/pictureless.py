"""Find the items that took effect without their picture."""

from __future__ import annotations

from collections.abc import Container
from typing import NamedTuple

from freshet.contract.topics import item_vectors
from freshet.kafka_clients import KafkaSettings
from freshet.v1 import vector_pb2
from shared.kafka.records import Offsets, records_of


class Pictureless(NamedTuple):
    """An item that counts without the picture that it should have."""

    item_id: str
    reason: str


async def pictureless(
    settings: KafkaSettings, space: str, begin: Offsets, item_ids: Container[str]
) -> list[Pictureless]:
    """Return those of some items whose last record in a space says that their picture is missing.

    begin: offsets on `item-vectors` behind which all of theirs stand.
    """
    reasons: dict[str, str] = {}
    async for record in records_of(settings, item_vectors(space).name, begin=begin):
        item_id = record.key.decode()
        if item_id in item_ids:
            encoded = vector_pb2.ItemVector.FromString(record.value or b"")
            reasons[item_id] = encoded.picture_missing
    return [Pictureless(item_id, reason) for item_id, reason in reasons.items() if reason]
