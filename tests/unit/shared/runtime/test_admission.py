from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NamedTuple

import pytest

from freshet.errors import Overloaded
from shared.runtime.call_guard import Admission
from shared.runtime.deadline import Costs, Deadline, Place
from tests.unit.shared.runtime.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


def fifty_ms(clock: Clock) -> Deadline:
    return Deadline(clock.now_s + 0.05, clock, Costs(clock))


def test_calls_over_the_limit_are_refused_and_leave_no_trace(clock: Clock) -> None:
    admission = Admission(2, clock=clock)
    with admission.entered(1.0, fifty_ms(clock)), admission.entered(1.0, fifty_ms(clock)):
        with pytest.raises(Overloaded, match="2 calls in flight, at most 2 may be"):
            admission.entered(1.0, fifty_ms(clock)).__enter__()
        assert admission.in_flight == 2
    assert admission.in_flight == 0


def test_a_call_that_could_not_be_done_in_time_is_refused_at_once(clock: Clock) -> None:
    admission = Admission(100, clock=clock)
    for _ in range(200):  # it learns that a call is 10 ms of work
        with admission.entered(1.0, fifty_ms(clock)):
            clock.now_s += 0.01
    with admission.entered(1.0, fifty_ms(clock)), admission.entered(1.0, fifty_ms(clock)):
        with pytest.raises(Overloaded, match="about 20 ms of work, with 15 ms left"):
            admission.entered(0.015, fifty_ms(clock)).__enter__()
        with admission.entered(0.03, fifty_ms(clock)):
            assert admission.in_flight == 3


def test_an_idle_service_lets_every_call_try(clock: Clock) -> None:
    with Admission(1, clock=clock).entered(0.0001, fifty_ms(clock)):
        pass


def test_a_call_that_fails_gives_its_place_back(clock: Clock) -> None:
    admission = Admission(1, clock=clock)
    with pytest.raises(ValueError, match="broken"), admission.entered(1.0, fifty_ms(clock)):
        raise ValueError("broken")
    assert admission.in_flight == 0


def test_a_call_that_fails_at_once_says_nothing_of_how_long_one_takes(clock: Clock) -> None:
    admission = Admission(4, first_guess_s=1.0, clock=clock)
    for _ in range(100):
        with (
            pytest.raises(ValueError, match="out of bounds"),
            admission.entered(0.5, fifty_ms(clock)),
        ):
            raise ValueError("out of bounds")
    with (
        admission.entered(0.5, fifty_ms(clock)),
        pytest.raises(Overloaded, match="about 1000 ms of work, with 500 ms left"),
        admission.entered(0.5, fifty_ms(clock)),
    ):
        pass


async def test_time_spent_waiting_is_told_from_work(clock: Clock) -> None:
    admission = Admission(100, first_guess_s=0.0, clock=clock)

    async def reply() -> None:
        await asyncio.sleep(0)
        clock.now_s += 10.0

    for _ in range(200):
        deadline = fifty_ms(clock)
        with admission.entered(1.0, deadline):
            clock.now_s += 0.001
            await deadline.waiting(reply())
            clock.now_s += 0.001
    with (
        admission.entered(1.0, fifty_ms(clock)),
        pytest.raises(Overloaded, match="about 2 ms of work, with 1 ms left"),
        admission.entered(0.001, fifty_ms(clock)),
    ):
        pass


def test_calls_that_wait_together_each_count_their_own_work(clock: Clock) -> None:
    admission = Admission(100, first_guess_s=0.0, clock=clock)
    for _ in range(50):
        calls = [Call.of(admission, clock) for _ in range(10)]
        for call in calls:
            call.place.rest()
        clock.now_s += 1.0  # all wait
        for call in calls:  # and go on one after another
            call.place.go_on()
            clock.now_s += 0.002
            call.done()
    with (
        admission.entered(1.0, fifty_ms(clock)),
        pytest.raises(Overloaded, match="about 2 ms of work, with 1 ms left"),
        admission.entered(0.001, fifty_ms(clock)),
    ):
        pass


def test_what_a_call_works_while_a_part_of_it_waits_is_its_work(clock: Clock) -> None:
    admission = Admission(100, first_guess_s=0.0, clock=clock)
    for _ in range(200):
        deadline = fifty_ms(clock)
        with admission.entered(1.0, deadline):
            assert deadline.place is not None
            deadline.place.rest()
            with deadline.working():
                clock.now_s += 0.002
            clock.now_s += 1.0  # it waits
            deadline.place.go_on()
    with (
        admission.entered(1.0, fifty_ms(clock)),
        pytest.raises(Overloaded, match="about 2 ms of work, with 1 ms left"),
        admission.entered(0.001, fifty_ms(clock)),
    ):
        pass


class Call(NamedTuple):
    """A call that was let in."""

    entered: AbstractContextManager[None]
    place: Place
    ends_s: float

    @classmethod
    def of(cls, admission: Admission, clock: Clock, within_s: float = 1.0) -> Call:
        deadline = Deadline(clock.now_s + within_s, clock, Costs(clock))
        entered = admission.entered(within_s, deadline)
        entered.__enter__()
        assert deadline.place
        return cls(entered, deadline.place, clock.now_s + within_s)

    def done(self) -> None:
        self.entered.__exit__(None, None, None)

    def expired(self) -> None:
        error = TimeoutError()
        assert not self.entered.__exit__(TimeoutError, error, None)


class Queue:
    """A server that works on one call after another, each taking 50 ms, within 2 s or in vain."""

    EACH_S = 0.05

    def __init__(self, admission: Admission, clock: Clock) -> None:
        self._admission = admission
        self._clock = clock
        self._waiting: deque[Call] = deque()

    def run(self, seconds: float, arrivals_each: Callable[[], int]) -> int:
        """Work for a while; arrivals_each: calls that come in 50 ms. Returns how many it did."""
        answered = 0
        until_s = self._clock.now_s + seconds
        while self._clock.now_s < until_s:
            for _ in range(arrivals_each()):
                try:
                    self._waiting.append(Call.of(self._admission, self._clock, 2.0))
                except Overloaded:
                    continue
            self._clock.now_s += self.EACH_S
            if self._waiting:
                call = self._waiting.popleft()
                late = self._clock.now_s > call.ends_s
                call.expired() if late else call.done()
                answered += not late
            while self._waiting and self._waiting[0].ends_s <= self._clock.now_s:
                self._waiting.popleft().expired()
        return answered


def test_overload_does_not_make_all_calls_fail(clock: Clock) -> None:
    admission = Admission(256, first_guess_s=0.001, clock=clock)  # far too hopeful
    queue = Queue(admission, clock)
    queue.run(10, lambda: 5)  # learns
    assert queue.run(60, lambda: 5) > 0.8 * 60 / Queue.EACH_S  # of what it can do


def test_after_an_overload_all_calls_are_answered_again(clock: Clock) -> None:
    admission = Admission(256, first_guess_s=10.0, clock=clock)  # as an overload may have taught
    queue = Queue(admission, clock)
    arrivals = iter([1, 0] * 10_000)  # half of what it can do
    queue.run(10, lambda: next(arrivals))
    assert queue.run(60, lambda: next(arrivals)) >= 0.98 * 30 / Queue.EACH_S


def test_a_call_that_waits_outside_leaves_its_place_to_others(clock: Clock) -> None:
    admission = Admission(1, outside_at_most=1, clock=clock)
    deadline = fifty_ms(clock)
    with admission.entered(1.0, deadline):
        with deadline.outside(), admission.entered(1.0, fifty_ms(clock)):
            assert (admission.in_flight, admission.outside) == (1, 1)
        assert (admission.in_flight, admission.outside) == (1, 0)
    assert (admission.in_flight, admission.outside) == (0, 0)


def test_calls_outside_are_bounded_too(clock: Clock) -> None:
    admission = Admission(4, outside_at_most=1, clock=clock)
    first, second = fifty_ms(clock), fifty_ms(clock)
    with admission.entered(1.0, first), first.outside():
        with (
            pytest.raises(Overloaded, match="1 calls wait already, at most 1 may"),
            admission.entered(1.0, second),
            second.outside(),
        ):
            pass
        assert (admission.in_flight, admission.outside) == (0, 1)
    assert (admission.in_flight, admission.outside) == (0, 0)


def test_who_comes_back_where_all_places_are_taken_is_refused(clock: Clock) -> None:
    admission = Admission(1, outside_at_most=1, clock=clock)
    deadline = fifty_ms(clock)
    other = admission.entered(1.0, fifty_ms(clock))
    with (
        pytest.raises(Overloaded, match="1 calls in flight, at most 1 may be"),
        admission.entered(1.0, deadline),
        deadline.outside(),
    ):
        other.__enter__()
    assert (admission.in_flight, admission.outside) == (1, 0)
    other.__exit__(None, None, None)
    assert admission.in_flight == 0
