"""Types that nobody weighs are told by name, and nobody's names make the metric grow."""

from __future__ import annotations

from services.sessions.effect.unknown_types import NAMES_AT_MOST, UnknownTypes
from shared.runtime import metrics


def counted(name: str) -> float:
    return float(metrics.UNKNOWN_TYPES.labels(name)._value.get())


def test_unknown_types_are_counted_by_name_the_latest_first() -> None:
    before = counted("swipe-a")
    types = UnknownTypes({"click", "listen"})
    types.count(["click", "swipe-a", "zoom-a", "swipe-a", "listen"])
    types.count(["zoom-a"])
    types.count(["swipe-a"])
    assert list(types.seen().items()) == [("swipe-a", 3), ("zoom-a", 2)]
    assert counted("swipe-a") - before == 3


def test_beyond_the_first_names_the_metric_counts_others() -> None:
    before = counted("other")
    types = UnknownTypes(())
    types.count(f"made-up-{n}" for n in range(NAMES_AT_MOST))
    types.count(["made-up-0", "one-more", "and-another", "one-more"])
    assert counted("other") - before == 3
    assert counted("made-up-0") >= 2


def test_the_names_seen_last_are_shown() -> None:
    types = UnknownTypes(())
    types.count(f"made-up-{n}" for n in range(500))
    assert list(types.seen()) == [f"made-up-{n}" for n in range(499, 499 - NAMES_AT_MOST, -1)]
    types.count([f"made-up-{500 - NAMES_AT_MOST}"])
    assert next(iter(types.seen())) == f"made-up-{500 - NAMES_AT_MOST}"
