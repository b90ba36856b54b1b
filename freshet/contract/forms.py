"""Read messages in every form in which people write them, by one rule for all (protos/README.md).

Records on Kafka, rows of files and values of the Python client are read here alike. What has its
exact form is decoded by msgspec alone; only what has not comes this longer way.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from difflib import get_close_matches
from functools import cache
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, Final, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
from google.protobuf.message import DecodeError

from freshet.contract.bounds import EPOCH, refuse, shorten_number
from freshet.contract.records import JSON, OUT_OF_BOUNDS, UNDECODABLE, BadRecord, shorten


class Message(
    msgspec.Struct, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=True
):
    """What a record says that apps publish: an event, an item, an offer, a user."""


M = TypeVar("M", bound=Message)

_EXACT: Final = 2**53  # a float tells whole numbers below it apart
_DIGITS: Final = re.compile(r"[+-]?[0-9]{1,20}", re.ASCII)
_NUMBER: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", re.ASCII)
_FLAGS: Final = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_URL_ALPHABET: Final = str.maketrans("-_", "+/")
_FURTHER: Final = ("attributes", "context")  # where a message keeps what has no field


def decode(
    strict: msgspec.json.Decoder[M],
    from_protobuf: Callable[[bytes], M],
    value: bytes,
    content_type: str,
) -> M:
    """Decode a message in either encoding. Raises BadRecord, and nothing else."""
    try:
        if content_type != JSON:
            return from_protobuf(value)
        try:
            return strict.decode(value)
        except msgspec.ValidationError:  # another form, or wrong
            return read(strict.type, _object(value))
    except BadRecord:
        raise
    except (ValueError, RecursionError, DecodeError) as error:
        what = f"{_name_of(strict.type)} in {content_type}"
        raise BadRecord(UNDECODABLE, f"not {what}: {error}") from None


def read(kind: type[M], fields: Mapping[str, Any]) -> M:
    """Return the message that fields make, its bounds unchecked; None is as absent.

    Raises BadRecord for a name that is no field's, a field that is given twice or not at all, and
    a value of another type.
    """
    form = _form_of(kind)
    values: dict[str, Any] = {}
    for name, value in fields.items():
        field = form.fields.get(name)
        if field is None:
            raise BadRecord(OUT_OF_BOUNDS, _unknown(kind, name))
        if value is None:
            continue
        if field in values:
            refuse(field, "given once", f"given as {field} and as {_camel(field)}")
        values[field] = form.reads[field](field, value)
    for field in form.required:
        if field not in values:
            refuse(field, "given", "absent")
    return kind(**values)


def read_field(kind: type[Message], field: str, value: Any, called: str) -> Any:
    """Read one field's value. called: what errors name it, such as a file's column."""
    return _form_of(kind).reads[field](called, value)


def tidied(message: M) -> M:
    """Return a message that Python made with each value as its field has it. Raises BadRecord."""
    return read(type(message), msgspec.structs.asdict(message))


def read_text(field: str, value: Any) -> str:
    """Read a text, such as an id; a whole number becomes its digits. Raises BadRecord."""
    if isinstance(value, str):
        return value
    whole = _whole(value)
    if whole is None:
        refuse(field, "a text", _shown(value))
    return str(whole)


def read_whole(field: str, value: Any) -> int:
    """Read a whole number, or the text of one. Raises BadRecord."""
    if isinstance(value, str) and _DIGITS.fullmatch(value.strip()):
        return int(value)
    whole = _whole(value)
    if whole is None:
        refuse(field, "a whole number", _shown(value))
    return whole


def read_time(field: str, value: Any) -> int:
    """Read ms since 1970: a whole number, ISO 8601 or Python's date; without a zone it is UTC.

    Raises BadRecord.
    """
    if isinstance(value, str) and not _DIGITS.fullmatch(value.strip()):
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            refuse(field, "milliseconds since 1970 or ISO 8601", shorten(value))
    if not isinstance(value, date):
        return read_whole(field, value)
    if not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day, tzinfo=UTC)
    zoned: datetime = value if value.tzinfo else value.replace(tzinfo=UTC)
    return (zoned - EPOCH) // timedelta(milliseconds=1)


def read_number(field: str, value: Any) -> float:
    """Read a number, or the text of one. Raises BadRecord."""
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        return float(value)
    if isinstance(value, bool) or not isinstance(value, Real | Decimal):
        refuse(field, "a number", _shown(value))
    try:
        return float(value)
    except OverflowError:
        refuse(field, "a finite number", _shown(value))


def read_flag(field: str, value: Any) -> bool:
    """Read true or false, 1 or 0, yes or no, in any letter case. Raises BadRecord."""
    if isinstance(value, bool):
        return value
    known = value.strip().lower() if isinstance(value, str) else str(_whole(value))
    if known not in _FLAGS:
        refuse(field, "true or false", _shown(value))
    return _FLAGS[known]


def read_bytes(field: str, value: Any) -> bytes:
    """Read bytes, or the base64 of them, padded or not. Raises BadRecord."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if not isinstance(value, str):
        refuse(field, "base64", _shown(value))
    padded = value.translate(_URL_ALPHABET).rstrip("=")
    try:
        return base64.b64decode(padded + "=" * (-len(padded) % 4), validate=True)
    except ValueError:
        refuse(field, "base64", shorten(value))


def read_texts(field: str, value: Any) -> tuple[str, ...]:
    """Read a list of texts. Raises BadRecord, for a single text too: where would it be split?"""
    if not isinstance(value, list | tuple):
        refuse(field, 'a list, such as ["a", "b"]', _shown(value))
    return tuple(read_text(f"an entry of {field}", each) for each in value if each is not None)


def read_context(field: str, value: Any) -> dict[str, str]:
    """Read a context; numbers and flags become the texts that JSON has. Raises BadRecord."""
    return _entries(field, value, _context_text)


def read_attributes(field: str, value: Any) -> dict[str, str | float | bool]:
    """Read the attributes of an item or a user. Raises BadRecord."""
    return _entries(field, value, read_attribute)


def read_attribute(field: str, value: Any) -> str | float | bool:
    """Read an attribute's value: a text, a number, true or false; a date is ISO's text of it.

    Raises BadRecord, for lists too.
    """
    match value:
        case str() | bool():
            return value
        case Real() | Decimal():
            return read_number(field, value)
        case date():
            return value.isoformat()
        case {"text": text, **rest} if not rest:  # as protobuf's JSON has it
            return read_text(field, text)
        case {"number": number, **rest} if not rest:
            return read_number(field, number)
        case {"flag": flag, **rest} if not rest:
            return read_flag(field, flag)
        case list() | tuple():
            refuse(
                field,
                "one text, number or flag (several values go under tags or segments)",
                "a list",
            )
    refuse(field, "a text, a number, true or false", _shown(value))


_READS: Final[dict[Any, Callable[[str, Any], Any]]] = {
    str: read_text,
    int: read_whole,
    float: read_number,
    bool: read_flag,
    bytes: read_bytes,
    tuple[str, ...]: read_texts,
    dict[str, str]: read_context,
    dict[str, str | float | bool]: read_attributes,
}


class _Form(NamedTuple):
    """How a kind of message is read."""

    fields: dict[str, str]  # by each name that they have; protobuf's JSON writes itemId for item_id
    reads: dict[str, Callable[[str, Any], Any]]  # by field
    required: tuple[str, ...]


@cache
def _form_of(kind: type[Message]) -> _Form:
    names = kind.__struct_fields__
    types = {name: _present(hint) for name, hint in get_type_hints(kind).items()}
    return _Form(
        {written: name for name in names for written in (name, _camel(name))},
        {name: read_time if name.endswith("_ms") else _READS[types[name]] for name in names},
        tuple(field.name for field in msgspec.structs.fields(kind) if field.required),
    )


def _present(hint: Any) -> Any:
    """Return the type that a field has where it is not None."""
    if get_origin(hint) not in (Union, UnionType):
        return hint
    (kind,) = (each for each in get_args(hint) if each is not NoneType)
    return kind


def _camel(name: str) -> str:
    return re.sub("_(.)", lambda match: match[1].upper(), name)


def _name_of(kind: type[Message]) -> str:
    name = kind.__name__.lower()
    return f"a {name}" if name == "user" else f"an {name}"


def _unknown(kind: type[Message], name: str) -> str:
    names = kind.__struct_fields__
    near = get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]}?" if near else f"its fields are {', '.join(names)}"
    further = "".join(f"; further data goes under {each}" for each in _FURTHER if each in names)
    return f"{name[:64]!r} is no field of {_name_of(kind)} ({hint}){further}"


def _object(value: bytes) -> Mapping[str, Any]:
    fields = msgspec.json.decode(value)
    if not isinstance(fields, dict):
        raise ValueError(f"one object is wanted, was {_shown(fields)}")
    return fields


def _entries(field: str, value: Any, read_entry: Callable[[str, Any], Any]) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        refuse(field, 'an object, such as {"name": "value"}', _shown(value))
    return {
        read_text(f"a name in {field}", name): read_entry(f"{field}.{str(name)[:64]}", each)
        for name, each in value.items()
        if each is not None
    }


def _context_text(field: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and not value.is_integer():
        return repr(float(value))
    return read_text(field, value)


def _whole(value: Any) -> int | None:
    """Return a whole number of any kind as an int, None for everything else."""
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return int(value)
    if isinstance(value, Decimal) and value == value.to_integral_value() and abs(value) < 2**64:
        return int(value)
    if isinstance(value, Integral) and not isinstance(value, bool) and abs(int(value)) < 2**64:
        return int(value)
    return None


def _shown(value: Any) -> str:
    """Show a value of a type that is not the field's, in few words."""
    match value:
        case str():
            return shorten(value)
        case bool():
            return str(value).lower()
        case int():
            return shorten_number(value)
        case float():
            return repr(value)
        case list() | tuple():
            return "a list"
        case Mapping():
            return "an object"
    return f"a {type(value).__name__}"
