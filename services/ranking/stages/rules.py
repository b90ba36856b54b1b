"""Rules → checked values: boosts, pins, caps. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from freshet.contract import bounds
from freshet.contract.bounds import check_id, check_text, refuse
from freshet.v1 import recommender_pb2 as pb
from services.ranking.stages.filter_bounds import check_filters

RULES_AT_MOST: Final = 32  # of each kind
FACTOR_AT_MOST: Final = 100.0
NAME_BYTES: Final = 64
K_AT_MOST: Final = 500  # items of a list


class Boost(NamedTuple):
    """Multiply the score of items that match, in stock or not."""

    match: pb.Filters
    factor: float
    name: str


class Pin(NamedTuple):
    """Put an item on a position of the list, from 0."""

    item_id: str
    position: int


class Cap(NamedTuple):
    """At most so many items of a category; "" is each category."""

    category: str
    at_most: int


class Rules(NamedTuple):
    """What the caller wants of a list beyond the score."""

    boosts: tuple[Boost, ...] = ()
    pins: tuple[Pin, ...] = ()
    caps: tuple[Cap, ...] = ()


NO_RULES: Final = Rules()


def checked(rules: pb.Rules, k: int) -> Rules:
    """Check rules for a list of k items. Raises BadRecord."""
    for name in ("boosts", "pins", "caps"):
        if len(getattr(rules, name)) > RULES_AT_MOST:
            refuse(f"rules.{name}", f"at most {RULES_AT_MOST}", str(len(getattr(rules, name))))
    _check_pins(rules.pins, k)
    for n, cap in enumerate(rules.caps):
        check_text(f"rules.caps[{n}].category", cap.category, bounds.ID_BYTES)
        if not 1 <= cap.at_most <= K_AT_MOST:
            refuse(f"rules.caps[{n}].at_most", f"between 1 and {K_AT_MOST}", str(cap.at_most))
    return Rules(
        boosts=tuple(_boost(n, boost) for n, boost in enumerate(rules.boosts)),
        pins=tuple(Pin(pin.item_id, pin.position) for pin in rules.pins),
        caps=tuple(Cap(cap.category, cap.at_most) for cap in rules.caps),
    )


def _boost(n: int, boost: pb.BoostRule) -> Boost:
    where = f"rules.boosts[{n}]"
    check_filters(f"{where}.match", boost.match)
    if not 0 <= boost.factor <= FACTOR_AT_MOST:
        refuse(f"{where}.factor", f"between 0 and {FACTOR_AT_MOST:g}", f"{boost.factor:g}")
    check_text(f"{where}.name", boost.name, NAME_BYTES)
    match = pb.Filters(include_out_of_stock=True, include_unavailable=True)
    match.MergeFrom(boost.match)
    return Boost(match, boost.factor, boost.name or f"boost-{n}")


def _check_pins(pins: Sequence[pb.PinRule], k: int) -> None:
    taken: dict[int | str, int] = {}
    for n, pin in enumerate(pins):
        where = f"rules.pins[{n}]"
        check_id(f"{where}.item_id", pin.item_id)
        if not 0 <= pin.position < k:
            refuse(f"{where}.position", f"between 0 and k - 1 ({k - 1})", str(pin.position))
        for what, value in (("position", pin.position), ("item_id", pin.item_id)):
            if value in taken:
                refuse(f"{where}.{what}", f"other than rules.pins[{taken[value]}]'s", "the same")
            taken[value] = n
