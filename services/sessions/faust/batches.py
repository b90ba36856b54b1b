"""Decode batches of records into events, and name what cannot be decoded. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from freshet.contract import records
from freshet.contract.events import decode_event
from services.sessions.fold.fold import FoldEvent


class Batch(NamedTuple):
    """One partition's records of one fetch, oldest first, at least one."""

    topic: str
    partition: int
    epoch: int  # names the reading that it belongs to, see consumer.py
    start: int  # where reading stood: the log shows nothing from here to the first record
    records: Sequence[Any]  # aiokafka's ConsumerRecord

    @property
    def end(self) -> int:
        """Return the last record's offset."""
        return int(self.records[-1].offset)


class Rejected(NamedTuple):
    """A record that goes to dead-letters, and why."""

    record: Any
    error: records.BadRecord


def decode(batch: Iterable[Any]) -> tuple[list[FoldEvent], list[Rejected]]:
    """Decode records into events, and name those that cannot be."""
    events: list[FoldEvent] = []
    rejected: list[Rejected] = []
    for record in batch:
        try:
            events.append(_event(record))
        except records.BadRecord as error:
            rejected.append(Rejected(record, error))
        except Exception as error:
            rejected.append(unprocessable(record, error))
    return events, rejected


def unprocessable(record: Any, error: Exception) -> Rejected:
    """Reject a record that the contract allows: a bug, or a damaged state, is in its way."""
    refused = records.BadRecord(records.UNPROCESSABLE, f"{type(error).__name__}: {error}")
    refused.__cause__ = error
    return Rejected(record, refused)


def _event(record: Any) -> FoldEvent:
    if not record.headers:
        event = decode_event(record.value, records.JSON)
        records.check_key(record.key, event.user_id)
        return FoldEvent(event, record.partition, record.offset, record.timestamp)
    event = decode_event(record.value, records.content_type(record.headers))
    records.check_key(record.key, event.user_id)
    origin = records.origin_of(record)
    replayed = (origin.partition, origin.offset) != (record.partition, record.offset)
    if replayed and event.event_id is None:  # so that a letter replayed twice counts once
        event = msgspec.structs.replace(event, event_id=str(origin))
    return FoldEvent(event, record.partition, record.offset, origin.time_ms)
