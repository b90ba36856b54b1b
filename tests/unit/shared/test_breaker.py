from __future__ import annotations

from shared.breaker import Breaker


def test_one_late_answer_changes_nothing() -> None:
    breaker = Breaker()
    breaker.failed(1.0)
    breaker.failed(1.1)
    assert breaker.allows(1.2)
    breaker.succeeded()
    breaker.failed(1.3)
    assert not breaker.broken


def test_after_failures_in_a_row_one_caller_a_pause_tries() -> None:
    breaker = Breaker(failures_at_most=3, pause_s=0.5)
    for at in (1.0, 1.1, 1.2):
        breaker.failed(at)
    assert breaker.broken
    assert not breaker.allows(1.6)
    assert breaker.allows(1.71)
    assert not breaker.allows(1.72)


def test_a_refused_connection_breaks_at_once_and_an_answer_mends_it() -> None:
    breaker = Breaker()
    breaker.failed(1.0, certain=True)
    assert not breaker.allows(1.05)
    breaker.succeeded()
    assert breaker.allows(1.1)
