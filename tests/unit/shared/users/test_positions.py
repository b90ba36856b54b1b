from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.users import positions
from shared.users.positions import UNKNOWN_TIME_MS, Position

INT64 = st.integers(-(2**63), 2**63 - 1)


@given(st.builds(Position, INT64, INT64, st.binary(min_size=16, max_size=16)))
def test_a_position_reads_back_as_it_was_written(position: Position) -> None:
    assert positions.unpack(position.pack()) == position


def test_the_layout_is_fixed() -> None:
    packed = Position(258, UNKNOWN_TIME_MS, b"0123456789abcdef").pack()
    assert packed == bytes.fromhex("0000000000000102ffffffffffffffff") + b"0123456789abcdef"


@pytest.mark.parametrize("value", [b"", b"12", bytes(33)])
def test_other_values_are_refused(value: bytes) -> None:
    with pytest.raises(ValueError, match="a position has 32 bytes"):
        positions.unpack(value)
