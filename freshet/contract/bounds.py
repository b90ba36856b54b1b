"""Check the bounds that messages share, on decoded values, whatever encoding they came in.

Every function raises BadRecord naming field, bound and the value, shortened. Lengths of text are
UTF-8 bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from math import isfinite
from typing import Annotated, Final, NoReturn
from unicodedata import category

import msgspec
from msgspec import Meta

from freshet.contract.records import OUT_OF_BOUNDS, TOO_LARGE, BadRecord, shorten

ID_BYTES: Final = 128
INT64_MAX: Final = 2**63 - 1
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
EARLIEST_MS: Final = 946_684_800_000  # 2000-01-01
LATEST_MS: Final = 4_102_444_800_000  # 2100-01-01
CONTEXT_ENTRIES: Final = 32
CONTEXT_BYTES: Final = 256  # of a name, and of a value
IMAGE_BYTES: Final = 4 * 1024 * 1024
QUERY_TEXT_BYTES: Final = 1024
# What makes milliseconds of another unit: multiplied by, divided by.
_UNITS: Final = {"seconds": (1000, 1), "microseconds": (1, 1000), "nanoseconds": (1, 1_000_000)}
# What msgspec says of a value of another type.
_TYPES: Final = re.compile(r"Expected `(?P<right>.+)`, got `(?P<was>.+)` - at `\$\.(?P<field>.+)`")

# Bounds as JSON Schema shows them; what checks them are the functions below.
Id = Annotated[str, Meta(extra_json_schema={"minLength": 1, "maxLength": ID_BYTES})]
Time = Annotated[int, Meta(extra_json_schema={"minimum": EARLIEST_MS, "maximum": LATEST_MS})]


def refuse(field: str, bound: str, shown: str) -> NoReturn:
    """Raise the BadRecord that says what a field must be and what it was."""
    raise BadRecord(OUT_OF_BOUNDS, f"{field} must be {bound}, was {shown}")


def plain(text: str, at_most: int = ID_BYTES) -> bool:
    """Say whether a text is certainly a good id: the quick answer for the usual case.

    Printable ASCII has one byte a character and no control characters; anything else needs
    `check_id`.
    """
    return 0 < len(text) <= at_most and text.isascii() and text.isprintable()


def check_id(field: str, text: str, at_most: int = ID_BYTES) -> None:
    """Check an id: 1 to `at_most` bytes of UTF-8 without control characters."""
    if plain(text, at_most):
        return
    size = utf8_bytes(field, text)
    if not 0 < size <= at_most or any(category(c) == "Cc" for c in text):
        refuse(field, f"1-{at_most} bytes of UTF-8 without control characters", shorten(text))


def check_type(field: str, value: object, right: type) -> None:
    """Check that a value has a type: protobuf would refuse another without naming the field."""
    if not isinstance(value, right):
        refuse(field, f"of type {right.__name__}", type(value).__name__)


def check_int32(field: str, number: int, at_least: int, at_most: int) -> None:
    """Check a whole number that protobuf could not hold: it would refuse it without its field."""
    if not -(2**31) <= number < 2**31:
        refuse(field, f"between {at_least} and {at_most}", shorten_number(number))


def check_types(value: msgspec.Struct) -> None:
    """Check that a value's fields have their types, which Python itself lets pass.

    A text where several are meant would go out letter by letter. Nested values are not looked into.
    """
    try:
        msgspec.convert(msgspec.structs.asdict(value), type(value))
    except msgspec.ValidationError as error:
        told = _TYPES.fullmatch(str(error))
        if told is None:
            raise BadRecord(OUT_OF_BOUNDS, str(error)) from None
        refuse(told["field"], f"of type {told['right']}", told["was"])


def check_ids(field: str, texts: Sequence[str], count: int) -> None:
    """Check a list of at most `count` ids."""
    if len(texts) > count:
        refuse(field, f"at most {count}", f"{len(texts)}")
    for text in texts:
        check_id(f"an entry of {field}", text)


def check_text(field: str, text: str, at_most: int) -> None:
    """Check that a text has at most so many bytes."""
    if len(text) * 4 > at_most and (size := utf8_bytes(field, text)) > at_most:
        refuse(field, f"at most {at_most} bytes", f"{size}")


def check_time(field: str, time_ms: int | None) -> None:
    """Check a time that a client states, in ms since 1970: from 2000 to 2100.

    Others are seconds, or zeros and nines that stand for none, and would count as what they are.
    """
    if time_ms is not None and not EARLIEST_MS <= time_ms <= LATEST_MS:
        refuse(field, "milliseconds since 1970, of 2000 to 2100", _implausible(time_ms))


def check_stored_time(field: str, time_ms: int) -> None:
    """Check a time that a service wrote, in ms since 1970: 0 or more, within int64."""
    if not 0 <= time_ms <= INT64_MAX:
        refuse(field, "between 0 and 2^63-1 ms", shorten_number(time_ms))


def check_finite(field: str, number: float) -> None:
    """Check that a number is neither NaN nor infinite."""
    if not isfinite(number):
        refuse(field, "a finite number", repr(number))


def check_size(what: str, value: bytes, at_most: int) -> None:
    """Check a whole record's size in bytes."""
    if len(value) > at_most:
        raise BadRecord(TOO_LARGE, f"{what} must be at most {at_most} bytes, was {len(value)}")


def shorten_number(number: int) -> str:
    """Show an integer of any size in at most a line."""
    return str(number) if abs(number) <= 2**64 else f"an integer of {number.bit_length()} bits"


def _implausible(time_ms: int) -> str:
    """Show a time, the date that it is, and what it would be in the unit that was meant."""
    shown = shorten_number(time_ms)
    try:
        when = EPOCH + timedelta(milliseconds=time_ms)
    except OverflowError:
        pass
    else:
        shown += f", which is {when:%Y-%m-%dT%H:%M:%SZ}"
    for unit, (times, over) in _UNITS.items():
        if EARLIEST_MS <= (meant := time_ms * times // over) <= LATEST_MS:
            return f"{shown}; if these are {unit}, give {meant}"
    return shown


def utf8_bytes(field: str, text: str) -> int:
    """Count a text's UTF-8 bytes; a lone surrogate, which has none, is refused."""
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        refuse(field, "UTF-8", shorten(text))


def check_context(context: Mapping[str, str]) -> None:
    """Check the context of an event or a request."""
    if len(context) > CONTEXT_ENTRIES:
        refuse("context", f"at most {CONTEXT_ENTRIES} entries", f"{len(context)}")
    for name, text in context.items():
        check_text("a name in context", name, CONTEXT_BYTES)
        check_text(f"context.{name}", text, CONTEXT_BYTES)


def check_query_image(image: bytes) -> None:
    """Check a picture to search with."""
    if not 1 <= len(image) <= IMAGE_BYTES:
        refuse("image", f"1-{IMAGE_BYTES} bytes", f"{len(image)} bytes")


def check_query_text(text: str) -> None:
    """Check a text to search with."""
    size = utf8_bytes("text", text)
    if not 1 <= size <= QUERY_TEXT_BYTES:
        refuse("text", f"1-{QUERY_TEXT_BYTES} bytes", str(size))
    if not text.strip():
        refuse("text", f"1-{QUERY_TEXT_BYTES} bytes, not only spaces", f"{size} bytes")
