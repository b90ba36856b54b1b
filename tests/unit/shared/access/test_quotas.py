"""Quotas by caller: a bucket each, filled at a rate, in a table of a size."""

from __future__ import annotations

import pytest

from freshet.errors import Overloaded
from shared.access.quotas import Quotas


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def taken(quotas: Quotas, caller: str) -> int:
    """Return how many calls in a row are let in."""
    for count in range(1000):
        try:
            quotas.take(caller)
        except Overloaded:
            return count
    raise AssertionError("no quota")


def test_a_caller_has_a_second_s_worth_at_once_and_then_what_the_rate_gives() -> None:
    clock = Clock()
    quotas = Quotas(10, clock=clock)

    assert taken(quotas, "shop") == 10
    clock.now_s += 0.5
    assert taken(quotas, "shop") == 5
    clock.now_s += 3600
    assert taken(quotas, "shop") == 10


def test_a_refusal_says_when_the_next_call_is_let_in() -> None:
    clock = Clock()
    quotas = Quotas(4, clock=clock)
    taken(quotas, "shop")

    with pytest.raises(Overloaded, match="at most 4 calls a second of one caller") as refused:
        quotas.take("shop")

    assert refused.value.retry_after == pytest.approx(0.25)
    clock.now_s += refused.value.retry_after
    quotas.take("shop")


def test_one_caller_s_calls_take_nothing_from_another() -> None:
    quotas = Quotas(3, clock=Clock())

    assert taken(quotas, "crawler") == 3
    assert taken(quotas, "shop") == 3


def test_less_than_one_call_a_second_is_a_rate_too() -> None:
    clock = Clock()
    quotas = Quotas(0.1, clock=clock)

    assert taken(quotas, "shop") == 1
    clock.now_s += 9
    assert taken(quotas, "shop") == 0
    clock.now_s += 1.5
    assert taken(quotas, "shop") == 1


def test_callers_without_end_take_memory_with_one() -> None:
    quotas = Quotas(3, callers_at_most=50, clock=Clock())
    taken(quotas, "shop")

    for number in range(1000):
        quotas.take(f"ipv4:10.0.{number // 256}.{number % 256}")
        with pytest.raises(Overloaded):  # whoever goes on calling is not forgotten
            quotas.take("shop")

    assert len(quotas) == 50
