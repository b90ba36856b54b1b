"""Say which items a list may hold: values for callers, bounds for both sides.

Blanks around categories, tags, attributes and the currency do not count; letters do, except a
currency's.

Bounds are checked on messages, so that client and server refuse in the same words. Lengths of
text are UTF-8 bytes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from freshet.contract import bounds
from freshet.contract.bounds import check_finite, check_id, check_text, refuse
from freshet.contract.items import ATTRIBUTE_BYTES, Attribute, attribute_message
from freshet.contract.records import shorten
from freshet.v1 import recommender_pb2 as pb

NAMES_AT_MOST: Final = 64  # categories, tags or values of one filter
ATTRIBUTES_AT_MOST: Final = 16
CONDITION_COST: Final = 10  # of looking at a category list, an attribute, a price …
VALUE_COST: Final = 1  # of each name or value that is looked for
_CURRENCY: Final = re.compile(r"\s*[A-Za-z]{3}\s*", re.ASCII)


Names = Annotated[tuple[str, ...], Meta(extra_json_schema={"maxItems": NAMES_AT_MOST})]


class Range(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """A range of numbers, both ends included; an absent end is open."""

    min: float | None = None
    max: float | None = None


class AttributeFilter(
    msgspec.Struct, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=True
):
    """An attribute that items must have: at all, with one of these values, within a range."""

    name: bounds.Id
    any_of: Annotated[
        tuple[Attribute, ...], Meta(extra_json_schema={"maxItems": NAMES_AT_MOST})
    ] = ()
    range: Range | None = None


class Filters(
    msgspec.Struct,
    frozen=True,
    gc=False,
    kw_only=True,
    omit_defaults=True,
    forbid_unknown_fields=True,
):
    """Which items are allowed; everything that is set must hold."""

    categories_any: Names = ()
    categories_none: Names = ()
    tags_any: Names = ()
    price: Range | None = None  # an item without a price is outside every range
    currency: str = ""  # of the price, in either case; empty: a range means the commonest one
    attributes: Annotated[
        tuple[AttributeFilter, ...], Meta(extra_json_schema={"maxItems": ATTRIBUTES_AT_MOST})
    ] = ()
    include_out_of_stock: bool = False
    include_unavailable: bool = False  # outside their availability window


def filters_message(filters: Filters | None) -> pb.Filters | None:
    """Return filters as their message. Raises BadRecord for fields of other types, no more."""
    if filters is None:
        return None
    bounds.check_type("filters", filters, Filters)
    bounds.check_types(filters)
    for each in filters.attributes:
        bounds.check_types(each)
    return pb.Filters(
        categories_any=filters.categories_any,
        categories_none=filters.categories_none,
        tags_any=filters.tags_any,
        price=_range_message(filters.price),
        currency=filters.currency,
        attributes=[
            pb.AttributeFilter(
                name=each.name,
                any_of=[attribute_message(value) for value in each.any_of],
                range=_range_message(each.range),
            )
            for each in filters.attributes
        ],
        include_out_of_stock=filters.include_out_of_stock,
        include_unavailable=filters.include_unavailable,
    )


def check_filters(field: str, filters: pb.Filters) -> None:
    """Check filters; field: where they stand. Raises BadRecord."""
    check_names(f"{field}.categories_any", filters.categories_any)
    check_names(f"{field}.categories_none", filters.categories_none)
    check_names(f"{field}.tags_any", filters.tags_any)
    _check_range(f"{field}.price", filters.price)
    if filters.currency and not _CURRENCY.fullmatch(filters.currency):
        refuse(f"{field}.currency", "three letters (ISO 4217)", shorten(filters.currency))
    _check_count(f"{field}.attributes", filters.attributes, ATTRIBUTES_AT_MOST)
    for n, each in enumerate(filters.attributes):
        where = f"{field}.attributes[{n}]"
        check_id(f"{where}.name", each.name)
        _check_count(f"{where}.any_of", each.any_of, NAMES_AT_MOST)
        for value in each.any_of:
            check_text(f"an entry of {where}.any_of", value.text, ATTRIBUTE_BYTES)
            check_finite(f"an entry of {where}.any_of", value.number)
        _check_range(f"{where}.range", each.range)


def filters_cost(filters: pb.Filters) -> int:
    """Return what it costs to look at items with filters, in units of about a microsecond.

    What is beyond the bounds costs nothing: it is refused for its number.
    """
    if not filters.ByteSize():  # as of most lists
        return 0
    lists = (filters.categories_any, filters.categories_none, filters.tags_any)
    named = [len(names) for names in lists if names]
    named += [len(each.any_of) for each in filters.attributes[:ATTRIBUTES_AT_MOST]]
    conditions = len(named) + filters.HasField("price") + bool(filters.currency)
    values = sum(min(names, NAMES_AT_MOST) for names in named)
    return CONDITION_COST * conditions + VALUE_COST * values


def _range_message(range: Range | None) -> pb.Range | None:
    return None if range is None else pb.Range(min=range.min, max=range.max)


def check_names(field: str, names: Sequence[str]) -> None:
    """Check names of which one must be had. Raises BadRecord."""
    _check_count(field, names, NAMES_AT_MOST)
    for name in names:
        check_text(f"an entry of {field}", name, bounds.ID_BYTES)


def _check_count(field: str, entries: Sequence[object], at_most: int) -> None:
    if len(entries) > at_most:
        refuse(field, f"at most {at_most}", str(len(entries)))


def _check_range(field: str, range: pb.Range) -> None:
    low = range.min if range.HasField("min") else None
    high = range.max if range.HasField("max") else None
    for end, number in (("min", low), ("max", high)):
        if number is not None:
            check_finite(f"{field}.{end}", number)
    if low is not None and high is not None and low > high:
        refuse(f"{field}.min", f"at most {field}.max ({high:g})", f"{low:g}")
