"""The bytes of a user's state: whole, and damaged in every way."""

from __future__ import annotations

import contextlib
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from shared.users.event_types import CLICK
from shared.users.session_vectors import VectorSettings, session_vectors
from shared.users.states import (
    ENTRY,
    ENTRY_BYTES,
    ENTRY_STRUCT,
    HAS_VALUE,
    NewerFormat,
    UserState,
    UserVectors,
    empty,
    guard_of,
    pack,
    pack_guard,
    unpack,
    with_guard,
)
from tests.unit.sessions.kit import NOW_S, MemoryItems, key_of
from tests.unit.shared.users.makers import state_of

ITEMS = MemoryItems(np.eye(8))


def a_state(entries: int = 3, guard: dict[int, int] | None = None, version: int = 1) -> UserState:
    """A state that fits format 1, or one that needs format 2."""
    history = [(key_of(n), NOW_S + n, 7 + n, 2.5, CLICK, HAS_VALUE) for n in range(entries)]
    parts = state_of(history=history)
    (vectors,) = session_vectors([parts.history_bytes], ITEMS, VectorSettings())
    return state_of(
        guard=guard or {3: 12_345_678_901},
        forgotten_at_ms=1_700_000_000_123,
        history=history,
        hidden=(key_of(1), 2**64 - 1),
        disliked=(key_of(1), key_of(4)) if version == 2 else (),
        purchased=(key_of(2),),
        type_names=("listen", "wunschliste ❤") if version == 2 else (),
        vectors=vectors,
    )


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("guard", [{}, {7: 1}, {0: 5, 3: 9}])
def test_a_guard_is_replaced_and_nothing_else(version: int, guard: dict[int, int]) -> None:
    state = a_state(version=version)
    heard: list[dict[int, int]] = []

    def change(before: dict[int, int]) -> dict[int, int]:
        heard.append(before)
        return guard

    assert unpack(with_guard(pack(state), change)) == structs.replace(state, guard=guard)
    assert heard == [state.guard]


@pytest.mark.parametrize("version", [1, 2])
def test_a_state_is_read_as_it_was_packed(version: int) -> None:
    state = a_state(version=version)
    assert pack(state)[0] == version
    read = unpack(pack(state))
    assert read == state
    assert read.guard == {3: 12_345_678_901}
    assert read.forgotten_at_ms == 1_700_000_000_123
    assert read.history["item"].tolist() == [key_of(0), key_of(1), key_of(2)]
    assert read.history["value"].tolist() == [2.5, 2.5, 2.5]
    assert read.hidden == (key_of(1), 2**64 - 1)
    assert read.disliked == state.disliked
    assert read.excluded == (key_of(1), 2**64 - 1, *state.disliked[1:])
    assert read.type_names == state.type_names
    assert read.purchased == (key_of(2),)
    assert read.space == "test"
    assert read.session is not None
    assert read.session.dtype == np.float32
    assert np.linalg.norm(read.session) == pytest.approx(1, abs=0.01)
    assert read.long_term is not None
    assert read.interests.shape == (3, 8)


def test_the_state_of_nobody_is_read_as_it_was_packed() -> None:
    assert unpack(pack(empty())) == empty() == UserState()


def test_a_full_state_takes_what_the_design_counts() -> None:
    items = MemoryItems(np.random.default_rng(2).standard_normal((50, 64)))
    history = [(key_of(n), NOW_S, 0, 0, CLICK, 0) for n in range(50)]
    (vectors,) = session_vectors([state_of(history=history).history_bytes], items, VectorSettings())
    state = state_of(guard={0: 1}, history=history, vectors=vectors)
    head = 15 + 19 + len("test")
    assert len(pack(state)) == head + 50 * 20 + 5 * (64 + 4) < 1_400


def test_an_entry_takes_20_bytes_and_packs_like_its_struct() -> None:
    entry = (key_of(0), NOW_S, 99, 1.5, CLICK, HAS_VALUE)
    assert ENTRY.itemsize == ENTRY_BYTES == 20
    assert np.array([entry], ENTRY).tobytes() == ENTRY_STRUCT.pack(*entry)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("guard", [{0: 0}, {7: 2**62}, {0: 5, 4: 1, 47: 9}])
def test_the_guard_is_a_prefix_of_the_state(guard: dict[int, int], version: int) -> None:
    state = a_state(guard=guard, version=version)
    value = pack(state)
    assert guard_of(value) == pack_guard(state)
    assert value.startswith(guard_of(value))
    assert len(guard_of(value)) == 3 + 12 * len(guard)


def test_no_value_has_no_guard() -> None:
    assert guard_of(b"") == b""


def test_guards_with_the_same_partitions_pack_alike_in_any_order() -> None:
    assert pack_guard(a_state(guard={1: 2, 0: 3})) == pack_guard(a_state(guard={0: 3, 1: 2}))


def test_vectors_of_which_some_are_missing_are_told_apart() -> None:
    session = struct.pack("<f2b", 0.5, 2, -1)
    interest = struct.pack("<f2b", 0.25, 4, 0)
    found = UserVectors("s", 2, 0b0101, session + interest)
    assert found.session is not None
    assert found.session.tolist() == [1.0, -0.5]
    assert found.long_term is None
    assert found.interests.tolist() == [[1.0, 0.0]]
    long_term = UserVectors("s", 2, 0b0010, session)
    assert long_term.session is None
    assert long_term.long_term is not None
    assert long_term.interests.shape == (0, 2)


@pytest.mark.parametrize("version", [0, 3, 255])
def test_an_unknown_format_is_refused_by_name(version: int) -> None:
    value = bytes([version]) + pack(a_state())[1:]
    for read in (unpack, guard_of):
        with pytest.raises(
            ValueError, match=f"format {version}: this program reads formats 1 and 2"
        ) as refused:
            read(value)
        assert isinstance(refused.value, NewerFormat) == (version == 3)


@pytest.mark.parametrize(
    ("state", "version"),
    [
        (state_of(), 1),
        (state_of(hidden=tuple(range(200)), purchased=tuple(range(200))), 1),
        (state_of(hidden=tuple(range(201))), 2),
        (state_of(purchased=tuple(range(201))), 2),
        (state_of(disliked=(1,)), 2),
        (state_of(type_names=("listen",)), 2),
        (state_of(hidden=tuple(range(65_535)), disliked=tuple(range(65_535))), 2),
    ],
)
def test_a_state_takes_the_first_format_that_has_room_for_it(
    state: UserState, version: int
) -> None:
    value = pack(state)
    assert value[0] == version
    assert unpack(value) == state


def test_a_state_in_a_format_that_it_does_not_need_is_refused() -> None:
    # Else equal states had other bytes, and a guard would not compare with what is stored.
    small = pack(a_state())
    head = struct.unpack_from("<qIBBBBBH", small, 15)
    wide = struct.pack("<qIBHHHHBBH", *head[:3], head[3], 0, head[4], 0, *head[5:])
    with pytest.raises(ValueError, match="it fits format 1 and stands in format 2"):
        unpack(b"\2" + small[1:15] + wide + small[15 + 19 :])


def test_more_names_than_codes_are_refused() -> None:
    with pytest.raises(ValueError, match="it has 65 names of types"):
        unpack(pack(state_of(type_names=tuple(f"type-{n}" for n in range(65)))))


@pytest.mark.parametrize("version", [1, 2])
def test_every_truncation_is_refused(version: int) -> None:
    value = pack(a_state(version=version))
    for size in range(1, len(value)):
        with pytest.raises(ValueError, match=r"^damaged user state: \d+ bytes"):
            unpack(value[:size])


def test_bytes_too_many_are_refused() -> None:
    with pytest.raises(ValueError, match="bytes where its counts need"):
        unpack(pack(a_state()) + b"\0")


@pytest.mark.parametrize(
    ("at", "new", "words"),
    [
        (3 + 4, struct.pack("<q", -1), "guard says offset -1"),
        (15, struct.pack("<q", -1), "head is out of bounds"),
        (15 + 12, b"\x33", "bytes where its counts need"),
        (15 + 16, b"\x10", "bytes where its counts need"),
        (15 + 19 + 3 * 20 + 3 * 8, b"\xff", "space is not UTF-8"),
        (15 + 19 + 3 * 20 + 3 * 8 + 4, struct.pack("<f", np.nan), "scale of a vector"),
        (15 + 19 + 3 * 20 + 3 * 8 + 4, struct.pack("<f", 3e38), "scale of a vector"),
    ],
)
def test_damage_is_said_in_words(at: int, new: bytes, words: str) -> None:
    value = pack(a_state())
    with pytest.raises(ValueError, match=words):
        unpack(value[:at] + new + value[at + len(new) :])


def test_partitions_out_of_order_are_refused() -> None:
    value = pack(a_state(guard={0: 1, 5: 2}))
    swapped = value[:3] + value[15:27] + value[3:15] + value[27:]
    with pytest.raises(ValueError, match="guard says offset 1 of partition 0 after 5"):
        unpack(swapped)


def test_more_than_a_state_holds_is_refused() -> None:
    long = bytearray(pack(state_of(guard={0: 1})))
    long[15 + 12] = 201
    with pytest.raises(ValueError, match="head is out of bounds"):
        unpack(bytes(long) + bytes(201 * 20))
    with pytest.raises(ValueError, match="at most 200 entries, was 201"):
        state_of(history=[(1, 1, 0, 0, 1, 0)] * 201)
    listed = bytearray(pack(state_of(guard={0: 1})))
    listed[15 + 13] = 201
    with pytest.raises(ValueError, match="head is out of bounds"):
        unpack(bytes(listed) + bytes(201 * 8))


def read_or_refuse(value: bytes) -> UserState | None:
    """Any other error than ValueError fails the test."""
    with contextlib.suppress(ValueError):
        return unpack(value)
    return None


@settings(deadline=None)
@given(
    st.binary(max_size=200)
    | st.binary(max_size=200).map(lambda tail: b"\1\1\0" + tail)
    | st.binary(max_size=200).map(lambda tail: b"\2\1\0" + tail)
)
def test_any_bytes_are_a_state_or_a_value_error(value: bytes) -> None:
    state = read_or_refuse(value)
    assert state is None or pack(state) == value


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 255), st.sampled_from([1, 2]))
def test_a_flipped_byte_never_brings_the_reader_down(at: int, flip: int, version: int) -> None:
    value = bytearray(pack(a_state(version=version)))
    value[at % len(value)] ^= flip
    state = read_or_refuse(bytes(value))
    if state is not None:
        assert pack(state) == value
        assert state.interests.shape[1] == state.vectors.dim
