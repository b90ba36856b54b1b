"""Read and write what every record on a topic has: headers, encoding, origin, refusal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Final, NamedTuple, Protocol

JSON: Final = "application/json"
PROTOBUF: Final = "application/protobuf"

# Header names; values are ASCII bytes, numbers in decimal.
CONTENT_TYPE: Final = "content-type"
VERSION: Final = "version"  # of an item, on item-vectors, nulls too
SINCE: Final = "since"  # on item-vectors: where the last record without `updated_ms` stands
WHOLE: Final = "whole"  # on offers: the versions of all that stands, published as one record
COUNTS: Final = "counts"  # on users: the version of what counts, published again
SOURCE: Final = "source"  # `file:line` that it was published from, where somebody said so
# On dead letters, and on what is replayed from them:
ORIGIN: Final = "origin"  # `topic:partition:offset` where the record that failed was read
ORIGIN_TIME_MS: Final = "origin-time-ms"  # that record's time
# On dead letters alone, from which they are what the service wrote, never what the record had:
FIRST_ORIGIN: Final = "first-origin"  # of a replay that failed again: the origin that it stated
FIRST_ORIGIN_TIME_MS: Final = "first-origin-time-ms"
ORIGIN_KEY: Final = "origin-key"  # that record's key; absent: it had none
ERROR_CLASS: Final = "error-class"
ERROR_TEXT: Final = "error-text"
SERVICE: Final = "service"
FAILED_MS: Final = "failed-ms"
VALUE_BYTES: Final = "value-bytes"  # of a value that was too large to be kept; it stands at ORIGIN
VALUE_SHA256: Final = "value-sha256"  # the same value's hash, in hex

PROTOBUF_HEADERS: Final[Sequence[tuple[str, bytes]]] = [(CONTENT_TYPE, PROTOBUF.encode())]

# Values of BadRecord.error_class.
UNDECODABLE: Final = "undecodable"  # not the JSON or protobuf of this message
OUT_OF_BOUNDS: Final = "out-of-bounds"  # decoded, but a field has a value that the contract forbids
TOO_LARGE: Final = "too-large"
WRONG_KEY: Final = "wrong-key"
UNKNOWN_ENCODING: Final = "unknown-encoding"  # a content-type that nobody here reads
UNPROCESSABLE: Final = "unprocessable"  # within the contract, yet a bug or a damaged state stops it

ERROR_TEXT_BYTES: Final = 1024
CUT_BYTES: Final = 1024  # of a key, or a header's value, that a cut dead letter keeps
_DEAD_LETTER: Final = frozenset(
    {
        ORIGIN,
        ORIGIN_TIME_MS,
        FIRST_ORIGIN,
        FIRST_ORIGIN_TIME_MS,
        ORIGIN_KEY,
        ERROR_CLASS,
        ERROR_TEXT,
        SERVICE,
        FAILED_MS,
        VALUE_BYTES,
        VALUE_SHA256,
    }
)

Headers = Iterable[tuple[str, bytes]]


class BadRecord(ValueError):
    """A record that the contract forbids: it goes to dead-letters, no retry can mend it.

    The text names field, bound and the value, shortened; never the whole record.
    """

    def __init__(self, error_class: str, text: str) -> None:
        super().__init__(text)
        self.error_class = error_class


class ConsumedRecord(Protocol):
    """What is read of a consumed record (aiokafka's ConsumerRecord)."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes]]: ...


class Origin(NamedTuple):
    """Where a record first stood in the log, and its record time there."""

    topic: str
    partition: int
    offset: int
    time_ms: int

    def __str__(self) -> str:
        """Write `topic:partition:offset`, the key of its dead letter."""
        return f"{self.topic}:{self.partition}:{self.offset}"


def header(headers: Headers, name: str) -> bytes | None:
    """Return a header's value, the last one where it stands several times, as Kafka does."""
    last = None
    for key, value in headers:
        if key == name:
            last = value
    return last


def content_type(headers: Headers) -> str:
    """Return the record's encoding, JSON or PROTOBUF; JSON where the header is absent.

    Letter case and parameters (`; charset=utf-8`) do not matter. Raises BadRecord for any other.
    """
    raw = header(headers, CONTENT_TYPE) if headers else None
    if raw is None:
        return JSON
    essence = raw.split(b";", 1)[0].strip().lower()
    if essence == b"application/json":
        return JSON
    if essence == b"application/protobuf":
        return PROTOBUF
    shown = shorten(raw.decode("utf-8", "replace"))
    raise BadRecord(
        UNKNOWN_ENCODING, f"header {CONTENT_TYPE} must be {JSON} or {PROTOBUF}, was {shown}"
    )


def place_of(record: ConsumedRecord) -> Origin:
    """Return where a record stands, whatever its headers say."""
    return Origin(record.topic, record.partition, record.offset, record.timestamp)


def origin_of(record: ConsumedRecord) -> Origin:
    """Return the origin in a replayed dead letter's headers, else the record itself. Never raises.

    Whoever writes the record writes the headers: good for what it counts as, for nothing else.
    Those that do not read as an origin count for nothing, and an origin is never later than its
    replay, so that nobody can date an event ahead.
    """
    own = place_of(record)
    stated = _read_origin(record.headers) if record.headers else None
    return own if stated is None else stated._replace(time_ms=min(stated.time_ms, own.time_ms))


def origin_headers(origin: Origin) -> list[tuple[str, bytes]]:
    """Return the headers from which `origin_of` reads this origin again."""
    return [(ORIGIN, str(origin).encode()), (ORIGIN_TIME_MS, b"%d" % origin.time_ms)]


def dead_letter_headers(
    record: ConsumedRecord, error: BadRecord, service: str, failed_ms: int, *, cut: bool = False
) -> list[tuple[str, bytes]]:
    """Return a dead letter's headers: the record's own, then where it was read and why it failed.

    cut: a few hundred bytes of them, for a letter without the value, of which they give size and
    hash.
    """
    key, headers = record.key, [pair for pair in record.headers if pair[0] not in _DEAD_LETTER]
    described = origin_headers(place_of(record))
    stated = origin_of(record)
    if stated.topic == record.topic and stated != place_of(record):
        described += [
            (FIRST_ORIGIN, str(stated).encode()),
            (FIRST_ORIGIN_TIME_MS, b"%d" % stated.time_ms),
        ]
    if cut:
        key = None if key is None else key[:CUT_BYTES]
        headers = [(name, header(headers, name) or b"") for name in (CONTENT_TYPE, SOURCE)]
        headers = [(name, value[:CUT_BYTES]) for name, value in headers if value]
        value = record.value or b""
        described += [
            (VALUE_BYTES, b"%d" % len(value)),
            (VALUE_SHA256, sha256(value).hexdigest().encode()),
        ]
    if key is not None:
        described.append((ORIGIN_KEY, key))
    return [
        *headers,
        *described,
        (ERROR_CLASS, error.error_class.encode()),
        (ERROR_TEXT, _cut(str(error), ERROR_TEXT_BYTES)),
        (SERVICE, service.encode()),
        (FAILED_MS, b"%d" % failed_ms),
    ]


def replay_of(headers: Headers) -> tuple[str, bytes | None, list[tuple[str, bytes]]]:
    """Return topic, key and headers with which a dead letter is published again.

    The headers keep the first origin, so that the replay counts as of then. Raises BadRecord for a
    record that is no dead letter.
    """
    headers = list(headers)
    origin = _read_origin(headers)
    if origin is None:
        raise BadRecord(
            UNDECODABLE, f"a dead letter must have the headers {ORIGIN}, {ORIGIN_TIME_MS}"
        )
    first = _read_origin(headers, FIRST_ORIGIN, FIRST_ORIGIN_TIME_MS) or origin
    own = [(name, value) for name, value in headers if name not in _DEAD_LETTER]
    return origin.topic, header(headers, ORIGIN_KEY), [*own, *origin_headers(first)]


def check_key(key: bytes | None, user_id: str) -> None:
    """Raise BadRecord unless a record's key is its user's (or item's) id.

    Another key puts a user's events on several partitions, where their order is lost.
    """
    if key != user_id.encode():
        shown = "absent" if key is None else shorten(key.decode("utf-8", "replace"))
        raise BadRecord(
            WRONG_KEY, f"the record's key must be the id {shorten(user_id)} in it, was {shown}"
        )


def shorten(text: str) -> str:
    """Show at most the first 12 characters of a value, escaped, and say how long it was."""
    if len(text) <= 12:
        return repr(text)
    return f"{text[:12]!r}… ({len(text)} characters)"


def _read_origin(
    headers: Headers, where_name: str = ORIGIN, when_name: str = ORIGIN_TIME_MS
) -> Origin | None:
    where = header(headers, where_name)
    when = header(headers, when_name)
    if where is None or when is None:
        return None
    try:
        topic, partition, offset = where.decode("ascii").rsplit(":", 2)
        if not topic:
            return None
        return Origin(topic, _natural(partition), _natural(offset), _natural(when.decode("ascii")))
    except ValueError:
        return None


def _cut(text: str, at_most: int) -> bytes:
    """Encode the beginning of a text, whole characters of at most so many bytes."""
    return text.encode("utf-8", "replace")[:at_most].decode("utf-8", "ignore").encode()


def _natural(text: str) -> int:
    """Read ASCII digits as an int64. Raises ValueError."""
    if not text.isdecimal() or len(text) > 18:
        raise ValueError(text)
    return int(text)
