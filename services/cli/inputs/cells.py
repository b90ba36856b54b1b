"""Read the values of cells, whatever wrote them: text, JSON or Parquet's types (pure).

Each function takes the column's name, for messages, and a value that is not None; it raises
BadInput naming the column, what the value must be, and what it was. docs/importing.md has the
rules in words.
"""

from __future__ import annotations

import base64
import datetime
import json
import math
import re
from decimal import Decimal, InvalidOperation
from typing import Any, Final, NoReturn

from freshet.contract.records import shorten
from services.cli.inputs.refusals import BadInput

# Milliseconds of a unit of time.
TIME_UNITS: Final = {
    "s": Decimal(1000),
    "ms": Decimal(1),
    "us": Decimal("1e-3"),
    "ns": Decimal("1e-6"),
}
# A number without a unit is a time in the one unit that puts it here, from 1973 to 5138: then it
# can be in no other.
TIME_AT_LEAST_MS: Final = 10**11
TIME_BELOW_MS: Final = 10**14
_EXPONENT_AT_MOST: Final = 100  # far beyond any time, far within what Decimal multiplies
_TIMES: Final = "a time: ISO 8601 such as 2026-01-31T18:30:00Z, or a number since 1970"
_SEPARATORS: Final = "|;,"  # of lists, the first that a text holds
_YES_OR_NO: Final = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_FLAGS: Final = {"true": True, "false": False}
# What is a number beyond doubt: codes (`00123`, `1e5`, 16 digits and more) stay text.
_PLAIN_NUMBER: Final = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?", re.ASCII)
_EXACT_DIGITS: Final = 15  # of decimal digits a float keeps that many


def text(column: str, value: Any) -> str:
    """Read a text or an id; whole numbers, also those that a table holds as floats, are digits."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        _refuse(column, "text", value)
    if not math.isfinite(value):
        _refuse(column, "text", value)
    return str(int(value)) if value == int(value) else str(value)


def texts(column: str, value: Any) -> tuple[str, ...]:
    """Read a list: of values, as JSON where it begins with `[`, else split at `|`, `;` or `,`.

    The first of these three that a text holds is the one that separates.
    """
    if isinstance(value, str):
        value = _json(column, value, list) if value.lstrip().startswith("[") else _split(value)
    if not isinstance(value, (list, tuple)):
        _refuse(column, 'a list such as a|b or ["a", "b"]', value)
    return tuple(text(f"an entry of {column}", each) for each in value if each is not None)


def number(column: str, value: Any) -> int | float:
    """Read a number, written with a decimal point."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float, Decimal)):
        _refuse(column, "a number", value)
    try:
        read = float(value)
    except (ValueError, OverflowError):
        _refuse(column, "a number such as 12.50", value)
    return int(read) if read.is_integer() else read


def whole_number(column: str, value: Any) -> int:
    """Read a whole number."""
    read = number(column, value)
    if not isinstance(read, int):
        _refuse(column, "a whole number", value)
    return read


def base64_bytes(column: str, value: Any) -> bytes:
    """Read bytes, or a text that is bytes in base64."""
    if isinstance(value, bytes):
        return value
    try:
        return base64.b64decode(value, validate=True)
    except (ValueError, TypeError):
        _refuse(column, "bytes in base64", value)


def flag(column: str, value: Any) -> bool:
    """Read true or false, yes or no, 1 or 0."""
    known = _YES_OR_NO.get(str(value).lower()) if isinstance(value, (str, int)) else None
    if known is None:
        _refuse(column, "true or false", value)
    return known


def time_ms(column: str, value: Any, unit: str | None) -> int:
    """Read a time in ms since 1970 UTC: a date-time, ISO 8601 (UTC where it names no zone), a date
    (its beginning, also as 20260131), or a number.

    unit: of numbers, a key of TIME_UNITS; None: the one that gives a time between 1973 and 5138.
    """
    if isinstance(value, (str, int, float, Decimal)) and not isinstance(value, bool):
        digits = _decimal(value)
        is_date = unit is None and re.fullmatch(r"\d{8}", str(value), re.ASCII)
        if digits is not None and not is_date:
            return _since_1970(column, digits, unit)
        try:
            value = datetime.datetime.fromisoformat(str(value).removesuffix(" UTC"))
        except ValueError:
            _refuse(column, _TIMES, value)
    if not isinstance(value, datetime.date):
        _refuse(column, _TIMES, value)
    moment = datetime.datetime.combine(value, datetime.time())
    if isinstance(value, datetime.datetime):
        moment = value
    zoned = moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)
    return round(zoned.timestamp() * 1000)


def mapping(column: str, value: Any) -> dict[str, Any]:
    """Read names and values: an object, or a text that is one in JSON. Nulls are absent."""
    if isinstance(value, str):
        value = _json(column, value, dict)
    if not isinstance(value, dict):
        _refuse(column, 'an object such as {"colour": "red"}', value)
    return {str(name): each for name, each in value.items() if each is not None}


def attribute(column: str, value: Any) -> str | float | bool:
    """Read an attribute."""
    if isinstance(value, (str, bool)):
        return value
    if isinstance(value, (int, float, Decimal)):
        return float(number(column, value))
    if isinstance(value, datetime.date):
        return value.isoformat()
    _refuse(column, "text, a number or true/false (a list: --map it to tags)", value)


def entry(column: str, value: Any) -> str:
    """Read an entry of a context, which is text."""
    if isinstance(value, bool):
        return str(value).lower()
    return value.isoformat() if isinstance(value, datetime.date) else text(column, value)


def guessed(value: Any) -> Any:
    """Give a cell that is all text its type, where that is beyond doubt."""
    if not isinstance(value, str):
        return value
    if _PLAIN_NUMBER.fullmatch(value) and sum(map(str.isdigit, value)) <= _EXACT_DIGITS:
        return float(value)
    return _FLAGS.get(value.lower(), value)


def _decimal(value: str | float | Decimal) -> Decimal | None:
    try:
        found = Decimal(value)
    except InvalidOperation:
        return None
    return found if found.is_finite() and abs(found.adjusted()) < _EXPONENT_AT_MOST else None


def _since_1970(column: str, digits: Decimal, unit: str | None) -> int:
    fitting = {
        name: round(digits * factor)
        for name, factor in TIME_UNITS.items()
        if TIME_AT_LEAST_MS <= digits * factor < TIME_BELOW_MS
    }
    if unit in fitting:
        return fitting[unit]
    if unit is None and fitting:
        return next(iter(fitting.values()))
    as_unit = f" in {unit}" if unit else ""
    remedy = "".join(f" (--time-unit {name} would fit)" for name in fitting)
    raise BadInput(f"{column} must be {_TIMES}{as_unit}, was {digits}{remedy}")


def _split(value: str) -> list[str]:
    separator = next((each for each in _SEPARATORS if each in value), "|")
    return [part.strip() for part in value.split(separator) if part.strip()]


def _json(column: str, value: str, kind: type) -> Any:
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        _refuse(column, f"JSON, {'a list' if kind is list else 'an object'}", value)


def _refuse(column: str, right: str, value: Any) -> NoReturn:
    if isinstance(value, str):
        shown = shorten(value)
    elif isinstance(value, (bool, int, float, Decimal)):
        shown = f"{value!s:.20}"
    else:
        shown = type(value).__name__
    raise BadInput(f"{column} must be {right}, was {shown}")
