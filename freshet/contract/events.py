"""Decode and encode events: something a user did with an item, in JSON or protobuf alike."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from freshet.contract import bounds, forms
from freshet.contract.bounds import Id, Time
from freshet.contract.records import JSON, UNDECODABLE, BadRecord
from freshet.v1 import event_pb2

FORGET: Final = "forget"
TYPES: Final = (
    *("view", "click", "like", "share", "cart", "purchase", "rate", "dislike", "hide", "remove"),
    *("unhide", "undislike", "refund"),
    FORGET,
)
SEGMENT: Final = "segment"  # the entry of a context that opens a trending scope
TYPE_BYTES: Final = 64
POSITION_AT_MOST: Final = 2**31 - 1
EVENT_BYTES: Final = 256 * 1024  # a full context with every byte escaped takes under 100 KiB

# The bounds as JSON Schema shows them; `check` is what enforces them, for both encodings.
_Type = Annotated[
    str,
    Meta(
        description=f"{', '.join(TYPES)}, or a type of one's own. Case and blanks around it do not"
        " count. A like undoes a dislike; unhide, undislike and refund undo hide, dislike and"
        " purchase.",
        extra_json_schema={"minLength": 1, "maxLength": TYPE_BYTES},
    ),
]
_Entry = Annotated[str, Meta(extra_json_schema={"maxLength": bounds.CONTEXT_BYTES})]


class Event(forms.Message, frozen=True, kw_only=True):
    """Something a user did with an item. Lengths count UTF-8 bytes."""

    user_id: Id
    item_id: Annotated[str, Meta(extra_json_schema={"maxLength": bounds.ID_BYTES})] = ""
    type: _Type
    time_ms: Time | None = None
    session_id: Id | None = None
    request_id: Id | None = None
    event_id: Id | None = None
    position: (
        Annotated[int, Meta(extra_json_schema={"minimum": 0, "maximum": POSITION_AT_MOST})] | None
    ) = None
    value: float | None = None
    context: Annotated[
        dict[str, _Entry], Meta(extra_json_schema={"maxProperties": bounds.CONTEXT_ENTRIES})
    ] = {}

    def __post_init__(self) -> None:
        """Spell the type in one way, whoever made the event: `Like ` is a like."""
        if isinstance(self.type, str) and self.type != (spelt := self.type.strip(" ").lower()):
            msgspec.structs.force_setattr(self, "type", spelt)


_strict = msgspec.json.Decoder(Event)
_to_json = msgspec.json.Encoder(order="deterministic").encode


def decode_event(value: bytes | None, content_type: str) -> Event:
    """Decode and check a record of `clicks`.

    content_type: records.JSON or records.PROTOBUF, as `records.content_type` returns it.
    Raises BadRecord, and nothing else, whatever the bytes are.
    """
    if value is None:
        raise BadRecord(UNDECODABLE, "an event must not be null")
    bounds.check_size("an event", value, EVENT_BYTES)
    event = forms.decode(_strict, _from_protobuf, value, content_type)
    check(event)
    return event


def encode_event(event: Event, content_type: str = JSON) -> bytes:
    """Encode an event, the same bytes for equal events. Raises BadRecord if it is out of bounds."""
    check(event)
    if content_type == JSON:
        return _to_json(event)
    present = {
        name: value
        for name in Event.__struct_fields__
        if (value := getattr(event, name)) is not None
    }
    return event_pb2.Event(**present).SerializeToString(deterministic=True)


def check(event: Event) -> None:
    """Check every bound of an event (docs/architecture.md: contracts). Raises BadRecord."""
    plain = bounds.plain  # nearly every id is; a call of check_id for each would double the time
    if not plain(event.user_id):
        bounds.check_id("user_id", event.user_id)
    if not plain(event.item_id) and (event.item_id or event.type != FORGET):
        bounds.check_id("item_id", event.item_id)
    if not plain(event.type, TYPE_BYTES):
        bounds.check_id("type", event.type, TYPE_BYTES)
    bounds.check_time("time_ms", event.time_ms)
    if event.session_id is not None and not plain(event.session_id):
        bounds.check_id("session_id", event.session_id)
    if event.request_id is not None and not plain(event.request_id):
        bounds.check_id("request_id", event.request_id)
    if event.event_id is not None and not plain(event.event_id):
        bounds.check_id("event_id", event.event_id)
    if event.position is not None and not 0 <= event.position <= POSITION_AT_MOST:
        bounds.refuse("position", "between 0 and 2^31-1", bounds.shorten_number(event.position))
    if event.value is not None:
        bounds.check_finite("value", event.value)
    if event.context:
        bounds.check_context(event.context)


def _from_protobuf(value: bytes) -> Event:
    message = event_pb2.Event.FromString(value)
    has = message.HasField
    context = message.context
    return Event(
        user_id=message.user_id,
        item_id=message.item_id,
        type=message.type,
        time_ms=message.time_ms if has("time_ms") else None,
        session_id=message.session_id if has("session_id") else None,
        request_id=message.request_id if has("request_id") else None,
        event_id=message.event_id if has("event_id") else None,
        position=message.position if has("position") else None,
        value=message.value if has("value") else None,
        context={name: context[name] for name in context},  # twice as fast as dict(context)
    )
