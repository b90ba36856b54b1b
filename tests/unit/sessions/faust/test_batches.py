"""What of a record becomes an event, and what a dead letter."""

from __future__ import annotations

import pytest

from freshet.contract import records
from freshet.contract.events import Event, decode_event, encode_event
from services.sessions.faust import batches
from services.sessions.faust.batches import decode
from tests.unit.sessions.kit import NOW_MS, Record, click, poison

PROTOBUF = [(records.CONTENT_TYPE, records.PROTOBUF.encode())]


def origin(where: bytes, time_ms: int) -> list[tuple[str, bytes]]:
    return [(records.ORIGIN, where), (records.ORIGIN_TIME_MS, str(time_ms).encode())]


def test_events_keep_their_offset_and_their_records_time() -> None:
    events, rejected = decode([click(4), click(5, "bob", partition=0)])
    assert not rejected
    assert [(e.partition, e.offset, e.record_time_ms) for e in events] == [
        (0, 4, NOW_MS + 4000),
        (0, 5, NOW_MS + 5000),
    ]
    assert [e.event.user_id for e in events] == ["ann", "bob"]


def test_both_encodings_give_the_same_event() -> None:
    event = Event(user_id="ann", item_id="item-1", type="like", time_ms=NOW_MS, value=1.5)
    json = Record(0, encode_event(event), b"ann")
    protobuf = Record(1, encode_event(event, records.PROTOBUF), b"ann", PROTOBUF)
    events, rejected = decode([json, protobuf])
    assert not rejected
    assert events[0].event == events[1].event == event


@pytest.mark.parametrize(
    ("record", "error_class"),
    [
        (poison(0), records.UNDECODABLE),
        (Record(0, None, b"ann"), records.UNDECODABLE),
        (Record(0, b'{"user_id":"ann","item_id":"i","type":""}', b"ann"), records.OUT_OF_BOUNDS),
        (Record(0, b'{"user_id":"ann","item_id":"i","type":"view"}', b"bob"), records.WRONG_KEY),
        (Record(0, b'{"user_id":"ann","item_id":"i","type":"view"}', None), records.WRONG_KEY),
        (
            Record(0, b"<a/>", b"ann", [(records.CONTENT_TYPE, b"text/xml")]),
            records.UNKNOWN_ENCODING,
        ),
    ],
)
def test_what_is_no_event_is_rejected_and_the_rest_is_read(
    record: Record, error_class: str
) -> None:
    events, rejected = decode([click(1), record, click(2)])
    assert [event.offset for event in events] == [1, 2]
    assert [(bad.record, bad.error.error_class) for bad in rejected] == [(record, error_class)]


def test_a_replayed_letter_counts_as_of_its_origin() -> None:
    """At its own offset for the guard, at its origin's time for the rest."""
    replayed = click(90, headers=origin(b"clicks:2:17", NOW_MS - 500))
    (event,), _ = decode([replayed])
    assert (event.offset, event.record_time_ms) == (90, NOW_MS - 500)
    assert event.event.event_id == "clicks:2:17"


def test_a_replayed_letter_keeps_its_own_event_id() -> None:
    value = b'{"user_id":"ann","item_id":"i","type":"view","event_id":"mine"}'
    record = Record(90, value, b"ann", origin(b"clicks:2:17", NOW_MS - 500))
    (event,), _ = decode([record])
    assert event.event.event_id == "mine"


def test_headers_of_others_change_nothing() -> None:
    plain, traced = click(3), click(3, headers=[("traceparent", b"00-1-1-00")])
    assert decode([plain]) == decode([traced])


def test_a_bug_in_decoding_costs_one_record_and_not_the_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def decode_odd(value: bytes, content_type: str) -> Event:
        if value == b"odd":
            raise ZeroDivisionError("a bug")
        return decode_event(value, content_type)

    monkeypatch.setattr(batches, "decode_event", decode_odd)
    events, (bad,) = decode([click(1), Record(2, b"odd", b"ann"), click(3)])
    assert [event.offset for event in events] == [1, 3]
    assert (bad.record.offset, bad.error.error_class) == (2, records.UNPROCESSABLE)
