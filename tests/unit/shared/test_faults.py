"""Poison goes to dead letters; what befalls unrelated records, or no record can cause, stops."""

from __future__ import annotations

import pytest

from shared.faults import UNRELATED_AT_MOST, FaultDetector, SystemFault


def raised(kind: type[Exception] = ZeroDivisionError, text: str = "a bug") -> Exception:
    try:
        raise kind(text)
    except Exception as error:
        return error


def key(number: int) -> bytes:
    return b"user-%d" % number


def test_the_same_error_of_unrelated_records_in_a_row_is_a_fault() -> None:
    detector = FaultDetector()
    for number in range(UNRELATED_AT_MOST - 1):
        detector.failed(key(number), raised(text=f"differs {number}"))
    with pytest.raises(SystemFault, match="5 unrelated records in a row fail alike: .*'a bug'"):
        detector.failed(key(9), raised())


def test_many_records_of_one_user_are_related() -> None:
    detector = FaultDetector()
    for _ in range(10 * UNRELATED_AT_MOST):
        detector.failed(b"ann", raised())


def test_a_success_in_between_says_that_the_records_are_to_blame() -> None:
    detector = FaultDetector()
    for number in range(10 * UNRELATED_AT_MOST):
        detector.failed(key(number), raised())
        if number % (UNRELATED_AT_MOST - 1) == 0:
            detector.succeeded()


def test_errors_of_other_places_begin_another_row() -> None:
    detector = FaultDetector()
    for number in range(10 * UNRELATED_AT_MOST):
        elsewhere = raised(KeyError) if number % 2 else raised()
        detector.failed(key(number), elsewhere)


@pytest.mark.parametrize("kind", [MemoryError, OSError, SystemFault, BufferError])
def test_what_no_record_can_cause_is_a_fault_at_once_unless_it_may_pass(
    kind: type[Exception],
) -> None:
    detector = FaultDetector(BufferError)
    detector.failed(b"ann", raised(kind), may_pass=True)
    with pytest.raises(SystemFault, match="a bug"):
        detector.failed(b"ann", raised(kind))
