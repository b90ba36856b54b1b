from __future__ import annotations

import asyncio

import pytest

from services.ranking.stages import degraded
from shared.runtime.deadline import COLD, FADE_S, Cost, Costs, Deadline
from tests.unit.shared.runtime.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


def fifty_ms(clock: Clock, costs: Costs | None = None) -> Deadline:
    return Deadline(clock.now_s + 0.05, clock, costs or Costs())


def test_reads_have_5_and_10_of_the_default_50_ms(clock: Clock) -> None:
    deadline = fifty_ms(clock)
    assert deadline.share_s(degraded.STATE_SHARE) == pytest.approx(0.005)
    assert deadline.share_s(degraded.SIGNALS_SHARE) == pytest.approx(0.010)


def test_late_in_a_call_a_read_has_half_of_what_is_left(clock: Clock) -> None:
    deadline = fifty_ms(clock)
    clock.now_s += 0.044
    assert deadline.share_s(degraded.SIGNALS_SHARE) == pytest.approx(0.002)


def measured(clock: Clock, took_s: float, times: int = COLD) -> Cost:
    cost = Cost(clock)
    for _ in range(times):
        cost.note(took_s)
    return cost


def test_work_that_took_longer_than_what_is_left_is_left_out_and_named(clock: Clock) -> None:
    ranker, diversity = measured(clock, 0.04), Cost(clock)
    deadline = fifty_ms(clock)
    assert not deadline.affords(ranker, degraded.RANKER_SKIPPED)
    assert deadline.affords(diversity, degraded.DIVERSITY_SKIPPED)  # never done: no cost is known
    assert not deadline.affords(ranker, degraded.RANKER_SKIPPED)
    assert deadline.degraded == [degraded.RANKER_SKIPPED]


def test_beyond_the_deadline_nothing_fits(clock: Clock) -> None:
    deadline = fifty_ms(clock)
    clock.now_s += 0.05
    assert not deadline.affords(Cost(clock), degraded.NEAREST_SKIPPED)


def test_costs_follow_the_measurements_slowly(clock: Clock) -> None:
    cost = Cost(clock)
    for _ in range(100):
        with fifty_ms(clock).measuring(cost):
            clock.now_s += 0.003
    assert cost.recent_s == pytest.approx(0.003)
    cost.note(1.0)
    assert 0.05 < cost.recent_s < 0.2


async def test_long_work_lets_others_go_on_between_its_pieces(clock: Clock) -> None:
    deadline, turns = fifty_ms(clock), 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    others = asyncio.create_task(other())
    for _ in range(8):
        clock.now_s += 0.001
        await deadline.turn()
    assert turns == 1, "a millisecond is no reason to wait for others"
    for _ in range(4):
        clock.now_s += 0.006
        await deadline.turn()
    assert turns == 5
    others.cancel()


async def test_long_work_ends_where_nobody_waits_for_it_any_more(clock: Clock) -> None:
    deadline = fifty_ms(clock)
    clock.now_s += 0.049
    await deadline.turn()
    clock.now_s += 0.006
    with pytest.raises(TimeoutError):
        await deadline.turn()


def test_a_first_measurement_is_no_truth(clock: Clock) -> None:
    cost = Cost(clock)
    cost.note(2.0)  # cold
    assert cost.fits(0.03)
    cost.note(0.001)
    cost.note(0.001)
    assert cost.recent_s == pytest.approx(0.001)


def test_what_nobody_measures_is_tried_again_by_one_caller_at_a_time(clock: Clock) -> None:
    cost = measured(clock, 0.034)
    assert not cost.fits(0.03)
    clock.now_s += FADE_S
    assert [cost.fits(0.03) for _ in range(100)] == [True] + 99 * [False]


def test_a_trial_that_takes_as_long_as_before_leaves_all_as_it_was(clock: Clock) -> None:
    cost = measured(clock, 0.034)
    trials = 0
    for _ in range(1000):  # ten calls a second
        clock.now_s += 0.1
        if cost.fits(0.015):
            trials += 1
            cost.note(0.034)
    assert cost.recent_s == pytest.approx(0.034)
    assert 5 <= trials <= 100 / FADE_S  # in 100 s


def test_a_trial_that_is_never_measured_is_not_the_last(clock: Clock) -> None:
    cost = measured(clock, 0.034)
    for _ in range(3):
        assert not cost.fits(0.03)
        clock.now_s += FADE_S
        assert cost.fits(0.03)


def test_work_that_became_cheap_is_done_again_after_one_trial(clock: Clock) -> None:
    cost = measured(clock, 10.0, times=50)
    while not cost.fits(0.03):
        clock.now_s += 1
    cost.note(0.001)
    assert clock.now_s < 100 + 10 * FADE_S
    assert all(cost.fits(0.03) for _ in range(100))
