"""A replay asks before it tells, leaves out what a user has had, and counts by hand's figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from freshet.contract.events import Event
from services.cli.replay.replay import Question, by_worth, replay
from services.cli.replay.scores import Scores


@dataclass
class Recording:
    """A system that notes what it is told and asked, and lists the same each time."""

    listed: Sequence[str]
    told: list[str] = field(default_factory=list)
    asked: list[tuple[Question, int]] = field(default_factory=list)  # with how many were told

    async def tell(self, events: Sequence[Event]) -> None:
        self.told += [event.item_id or "" for event in events]

    async def ask(self, question: Question) -> Mapping[str, Sequence[str]]:
        self.asked.append((question, len(self.told)))
        return {"list": self.listed}


def events(*pairs: str) -> list[Event]:
    """Return events of `user item`, a second apart."""
    return [
        Event(user_id=user, item_id=item, type="click", time_ms=1_800_000_000_000 + 1000 * n)
        for n, (user, item) in enumerate(pair.split() for pair in pairs)
    ]


async def test_everything_before_an_event_is_told_before_it_is_asked_about_and_nothing_later() -> (
    None
):
    log = events("ann a", "bob b", "ann c", "ann a", "bob d")
    system = Recording(["c"])
    scores = await replay(log, 4, system)
    assert [told for _, told in system.asked] == [0, 1, 2, 4], "a repeat is no question"
    assert [question.exclude for question, _ in system.asked] == [(), (), ("a",), ("b",)]
    assert [question.at_ms for question, _ in system.asked][1] == log[1].time_ms
    assert [(one.at, one.known, one.place) for one in scores.asked["list"]] == [
        *((0, 0, None), (1, 0, None), (2, 1, 0)),
        (4, 1, None),
    ]


async def test_every_nth_event_is_asked_about_beginning_where_the_seed_says() -> None:
    log = events(*(f"ann i{n}" for n in range(10)))
    for seed, asked in ((0, [0, 3, 6, 9]), (1, [1, 4, 7]), (4, [1, 4, 7])):
        system = Recording([])
        await replay(log, 10, system, every=3, seed=seed)
        assert [told for _, told in system.asked] == asked


async def test_at_half_time_the_first_half_is_told_and_nothing_of_the_second_is_asked() -> None:
    log = events(*(f"ann i{n}" for n in range(10)))
    system, halves = Recording([]), list[tuple[int, int]]()

    async def at_half() -> None:
        halves.append((len(system.told), len(system.asked)))

    await replay(log, 10, system, every=3, seed=2, at_half=at_half)

    assert [told for _, told in system.asked] == [2, 5, 8]
    assert halves == [(5, 1)]


def test_figures_are_those_of_a_count_by_hand() -> None:
    scores = Scores(events=20, items=8, asked={})
    scores.add("list", at=0, known=0, listed=["a", "b"], target="a")  # place 0: gain 1
    scores.add("list", at=9, known=4, listed=["b", "c"], target="c")  # place 1: gain 1 / log2(3)
    scores.add("list", at=10, known=3, listed=["a"], target="x")
    eleven = [f"i{n}" for n in range(11)]
    scores.add("list", at=19, known=100, listed=eleven, target="i10")  # the eleventh place
    figures = scores.result()["list"]
    assert (figures["asked"], figures["hr@10"]) == (4, 0.5)
    assert figures["ndcg@10"] == pytest.approx((1 + 1 / math.log2(3)) / 4, abs=1e-4)
    assert figures["coverage@10"] == pytest.approx(13 / 8)  # a, b, c and ten more
    assert [(part["events"], part["asked"]) for part in figures["over_time"]] == [
        *((2, 1), (10, 1), (12, 1), (20, 1)),
    ]
    assert {known: part["asked"] for known, part in figures["by_known"].items()} == {
        "0": 1,
        "3-4": 2,
        "100+": 1,
    }
    assert figures["by_known"]["3-4"]["hr@10"] == 0.5
    late = figures["second_half"]
    assert (late["asked"], late["hr@10"], late["ndcg@10"]) == (2, 0, 0)
    assert late["coverage@10"] == pytest.approx(11 / 8)
    assert {known: part["asked"] for known, part in late["by_known"].items()} == {
        "3-4": 1,
        "100+": 1,
    }


def test_a_list_of_the_first_half_alone_has_no_figures_of_the_second() -> None:
    scores = Scores(events=20, items=8, asked={})
    scores.add("list", at=9, known=0, listed=["a"], target="a")
    assert scores.result()["list"]["second_half"] == {}


def test_one_part_alone_orders_what_it_speaks_for() -> None:
    listed = [("a", 0.5), ("b", 0.0), ("c", 2.0), ("d", 0.5), ("e", -1.0)]
    assert by_worth(listed) == ["c", "a", "d"]
