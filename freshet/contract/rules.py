"""Say what a list shall hold beyond the score: values for callers, bounds for both sides."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from freshet.contract import bounds
from freshet.contract.bounds import (
    check_id,
    check_int32,
    check_text,
    check_type,
    check_types,
    refuse,
)
from freshet.contract.filters import Filters, Names, check_filters, check_names, filters_message
from freshet.v1 import recommender_pb2 as pb

K_AT_MOST: Final = 500  # items of a list
RULES_AT_MOST: Final = 32  # of each kind
FACTOR_AT_MOST: Final = 100.0
NAME_BYTES: Final = 64
OF_RULES: Final = Meta(extra_json_schema={"maxItems": RULES_AT_MOST})


class Boost(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """Multiply the score of items that match, in stock or not: above 1 boosts, below 1 buries."""

    match: Filters
    factor: Annotated[float, Meta(extra_json_schema={"minimum": 0, "maximum": FACTOR_AT_MOST})]
    # Shown among the contributions as `rule:NAME`.
    name: Annotated[str, Meta(extra_json_schema={"maxLength": NAME_BYTES})] = ""
    segments_any: Names = ()  # only in lists of these segments; empty: in all


class Pin(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """Put an item on a position of the list, from 0, whatever its score."""

    item_id: bounds.Id
    position: Annotated[int, Meta(extra_json_schema={"minimum": 0, "maximum": K_AT_MOST - 1})]


class Cap(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """Let a list hold at most so many items of a category; the empty one is each category."""

    at_most: Annotated[int, Meta(extra_json_schema={"minimum": 1, "maximum": K_AT_MOST})]
    category: Annotated[str, Meta(extra_json_schema={"maxLength": bounds.ID_BYTES})] = ""


class Rules(
    msgspec.Struct,
    frozen=True,
    gc=False,
    kw_only=True,
    omit_defaults=True,
    forbid_unknown_fields=True,
):
    """What the caller wants of a list beyond the score; at most 32 of each kind."""

    boosts: Annotated[tuple[Boost, ...], OF_RULES] = ()
    pins: Annotated[tuple[Pin, ...], OF_RULES] = ()
    caps: Annotated[tuple[Cap, ...], OF_RULES] = ()


def rules_message(rules: Rules | None) -> pb.Rules | None:
    """Return rules as their message. Raises BadRecord for fields of other types, no more."""
    if rules is None:
        return None
    check_type("rules", rules, Rules)
    for value in (rules, *rules.boosts, *rules.pins, *rules.caps):
        check_types(value)
    for n, pin in enumerate(rules.pins):
        check_int32(f"rules.pins[{n}].position", pin.position, 0, K_AT_MOST - 1)
    for n, cap in enumerate(rules.caps):
        check_int32(f"rules.caps[{n}].at_most", cap.at_most, 1, K_AT_MOST)
    return pb.Rules(
        boosts=[
            pb.BoostRule(
                match=filters_message(each.match),
                factor=each.factor,
                name=each.name,
                segments_any=each.segments_any,
            )
            for each in rules.boosts
        ],
        pins=[pb.PinRule(item_id=each.item_id, position=each.position) for each in rules.pins],
        caps=[pb.CategoryCap(category=each.category, at_most=each.at_most) for each in rules.caps],
    )


def check_rules(rules: pb.Rules, k: int) -> None:
    """Check rules for a list of k items. Raises BadRecord."""
    for name in ("boosts", "pins", "caps"):
        count = len(getattr(rules, name))
        if count > RULES_AT_MOST:
            refuse(f"rules.{name}", f"at most {RULES_AT_MOST}", str(count))
    _check_pins(rules.pins, k)
    for n, cap in enumerate(rules.caps):
        check_text(f"rules.caps[{n}].category", cap.category, bounds.ID_BYTES)
        if not 1 <= cap.at_most <= K_AT_MOST:
            refuse(f"rules.caps[{n}].at_most", f"between 1 and {K_AT_MOST}", str(cap.at_most))
    for n, boost in enumerate(rules.boosts):
        where = f"rules.boosts[{n}]"
        check_filters(f"{where}.match", boost.match)
        if not 0 <= boost.factor <= FACTOR_AT_MOST:
            refuse(f"{where}.factor", f"between 0 and {FACTOR_AT_MOST:g}", f"{boost.factor:g}")
        check_text(f"{where}.name", boost.name, NAME_BYTES)
        check_names(f"{where}.segments_any", boost.segments_any)


def _check_pins(pins: Iterable[pb.PinRule], k: int) -> None:
    first: dict[int | str, int] = {}
    for n, pin in enumerate(pins):
        where = f"rules.pins[{n}]"
        check_id(f"{where}.item_id", pin.item_id)
        if not 0 <= pin.position < k:
            refuse(f"{where}.position", f"between 0 and k - 1 ({k - 1})", str(pin.position))
        for what, value in (("position", pin.position), ("item_id", pin.item_id)):
            if value in first:
                refuse(f"{where}.{what}", f"other than rules.pins[{first[value]}]'s", "the same")
            first[value] = n
