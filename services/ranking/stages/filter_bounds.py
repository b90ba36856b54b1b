"""The bounds of Filters, wherever they stand in a request. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Final

from freshet.contract import bounds
from freshet.contract.bounds import check_id, check_text, refuse
from freshet.v1 import recommender_pb2 as pb

NAMES_AT_MOST: Final = 64  # categories, tags or values of one filter
ATTRIBUTES_AT_MOST: Final = 16
ATTRIBUTE_VALUE_BYTES: Final = 1024
CURRENCY_BYTES: Final = 3


def _check_names(field: str, names: Sequence[str]) -> None:
    if len(names) > NAMES_AT_MOST:
        refuse(field, f"at most {NAMES_AT_MOST}", str(len(names)))
    for name in names:
        check_text(f"an entry of {field}", name, bounds.ID_BYTES)


def _check_range(field: str, wanted: pb.Range) -> None:
    low = wanted.min if wanted.HasField("min") else None
    high = wanted.max if wanted.HasField("max") else None
    for end, number in (("min", low), ("max", high)):
        if number is not None and not isfinite(number):
            refuse(f"{field}.{end}", "a finite number", repr(number))
    if low is not None and high is not None and low > high:
        refuse(f"{field}.min", f"at most {field}.max ({high:g})", f"{low:g}")


def check_filters(field: str, filters: pb.Filters) -> None:
    """Check filters; field: where they stand. Raises BadRecord."""
    _check_names(f"{field}.categories_any", filters.categories_any)
    _check_names(f"{field}.categories_none", filters.categories_none)
    _check_names(f"{field}.tags_any", filters.tags_any)
    _check_range(f"{field}.price", filters.price)
    check_text(f"{field}.currency", filters.currency, CURRENCY_BYTES)
    if len(filters.attributes) > ATTRIBUTES_AT_MOST:
        refuse(f"{field}.attributes", f"at most {ATTRIBUTES_AT_MOST}", str(len(filters.attributes)))
    for n, wanted in enumerate(filters.attributes):
        where = f"{field}.attributes[{n}]"
        check_id(f"{where}.name", wanted.name)
        if len(wanted.any_of) > NAMES_AT_MOST:
            refuse(f"{where}.any_of", f"at most {NAMES_AT_MOST}", str(len(wanted.any_of)))
        for value in wanted.any_of:
            check_text(f"an entry of {where}.any_of", value.text, ATTRIBUTE_VALUE_BYTES)
            if not isfinite(value.number):
                refuse(f"an entry of {where}.any_of", "a finite number", repr(value.number))
        _check_range(f"{where}.range", wanted.range)
