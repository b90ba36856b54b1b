"""What of a user's guard holds in another log."""

from __future__ import annotations

import pytest

from services.cli.adopt.plan import AdoptedPartition, Plan
from shared.users.positions import Position

ADOPTED = AdoptedPartition(1, Position(99, 5, b"s" * 16), "it ends", 0, 50, 40, 3)


def plan(noted: str | None, *adopted: AdoptedPartition) -> Plan:
    return Plan(noted, "mine", list(adopted), [0], [])


@pytest.mark.parametrize(
    ("noted", "guard", "then"),
    [
        ("mine", {1: 99}, {1: 39}),  # what is applied from 40 on is not covered
        ("mine", {1: 20}, {1: 20}),
        ("mine", {0: 70, 1: 99, 2: 5}, {0: 70, 1: 39, 2: 5}),
        ("other", {0: 70, 1: 99, 2: 5}, {0: 70, 1: 39}),  # of 2 nothing is known here
        ("other", {2: 5}, {}),
    ],
)
def test_a_guard_covers_nothing_that_will_be_applied(
    noted: str, guard: dict[int, int], then: dict[int, int]
) -> None:
    assert plan(noted, ADOPTED).guard(guard) == then


def test_a_partition_that_begins_with_its_first_record_is_covered_by_nothing() -> None:
    assert plan("mine", ADOPTED._replace(first=0)).guard({1: 99}) == {}


@pytest.mark.parametrize(
    ("noted", "adopted", "nothing"),
    [
        (None, [], True),  # a Redis without states
        ("mine", [], True),
        ("mine", [ADOPTED], False),
        ("other", [], False),  # the cluster must be noted
    ],
)
def test_there_is_nothing_to_do_where_redis_belongs_to_the_log(
    noted: str | None, adopted: list[AdoptedPartition], nothing: bool
) -> None:
    assert plan(noted, *adopted).changes_nothing is nothing
