"""Read what only cells of files need, before the contract's forms read it on (pure).

Lists and JSON in a cell, times in any unit, numbers of files that know text alone. Each function
takes the column's name, for messages, and a value that is not None; it raises BadInput naming the
column, what the value must be, and what it was. docs/importing.md has the rules in words.
"""

from __future__ import annotations

import datetime
import json
import re
from decimal import Decimal, InvalidOperation
from typing import Any, Final, NoReturn

from freshet.contract import forms
from freshet.contract.records import shorten
from shared.inputs.refusals import BadInput

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
_DATE: Final = re.compile(r"\d{8}", re.ASCII)
_SEPARATORS: Final = "|;,"  # of lists, the first that a text holds
_FLAGS: Final = {"true": True, "false": False}
# What is a number beyond doubt: codes (`00123`, `1e5`, 16 digits and more) stay text.
_PLAIN_NUMBER: Final = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?", re.ASCII)
_DECIMAL_COMMA: Final = re.compile(r"(-?\d+),(\d{1,2}|\d{4,})", re.ASCII)
_EXACT_DIGITS: Final = 15  # of decimal digits a float keeps that many


def split(column: str, value: Any) -> Any:
    """Split the text of a list: JSON where it begins with `[`, else at `|`, `;` or `,`.

    The first of these three that a text holds is the one that separates. What is no text is left.
    """
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        return _json(column, value, 'a list such as a|b or ["a", "b"]')
    separator = next((each for each in _SEPARATORS if each in value), "|")
    return [part.strip() for part in value.split(separator) if part.strip()]


def time_ms(column: str, value: Any, unit: str | None) -> int:
    """Read a time in ms since 1970 UTC: as the contract does, a date also as 20260131, or a number.

    unit: of numbers, a key of TIME_UNITS; None: the one that gives a time between 1973 and 5138.
    """
    if isinstance(value, str):
        value = value.removesuffix(" UTC")  # as databases write it; ISO 8601 has Z
    if unit is None and _DATE.fullmatch(str(value)):
        try:
            value = datetime.date.fromisoformat(str(value))
        except ValueError:
            _refuse(column, "a date such as 20260131, or a time", value)
    number = _decimal(value)
    if number is None:
        return forms.read_time(column, value)
    return _since_1970(column, number, unit) if number else 0  # 0 is no time in every unit


def mapping(column: str, value: Any) -> dict[str, Any]:
    """Read names and values: an object, or a text that is one in JSON."""
    right = 'an object such as {"colour": "red"}'
    if isinstance(value, str):
        value = _json(column, value, right)
    if not isinstance(value, dict):
        _refuse(column, right, value)
    return {str(name): each for name, each in value.items()}


def with_point(value: Any) -> Any:
    """Write a decimal comma as a point, unless it could stand for thousands: 1,250 is left."""
    if isinstance(value, str) and (parts := _DECIMAL_COMMA.fullmatch(value)):
        return f"{parts[1]}.{parts[2]}"
    return value


def guessed(value: Any) -> Any:
    """Give a cell that is all text its type, where that is beyond doubt."""
    if not isinstance(value, str):
        return value
    if _PLAIN_NUMBER.fullmatch(value) and sum(map(str.isdigit, value)) <= _EXACT_DIGITS:
        return float(value)
    return _FLAGS.get(value.lower(), value)


def _decimal(value: Any) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, (str, int, float, Decimal)):
        return None
    try:
        found = Decimal(value)
    except InvalidOperation:
        return None
    return found if found.is_finite() and abs(found.adjusted()) < _EXPONENT_AT_MOST else None


def _since_1970(column: str, number: Decimal, unit: str | None) -> int:
    fitting = {
        name: round(number * factor)
        for name, factor in TIME_UNITS.items()
        if TIME_AT_LEAST_MS <= number * factor < TIME_BELOW_MS
    }
    if unit in fitting:
        return fitting[unit]
    if unit is None and fitting:
        return next(iter(fitting.values()))
    right = f"{unit or 'a time'} since 1970, or ISO 8601 such as 2026-01-31T18:30:00Z"
    remedy = "".join(f" (--time-unit {name} would fit)" for name in fitting)
    raise BadInput(f"{column} must be {right}, was {number}{remedy}")


def _json(column: str, value: str, right: str) -> Any:
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        _refuse(column, f"{right} in JSON", value)


def _refuse(column: str, right: str, value: Any) -> NoReturn:
    shown = shorten(str(value)) if isinstance(value, (str, int)) else type(value).__name__
    raise BadInput(f"{column} must be {right}, was {shown}")
