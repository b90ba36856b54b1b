"""What was published again is known after any selection, as far as a commit has room for it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shared.dead_letters.published import METADATA_AT_MOST, PublishedOffsets


@given(st.sets(st.integers(0, 300)), st.integers(0, 50))
def test_a_commit_tells_what_was_published(offsets: set[int], begin: int) -> None:
    known = PublishedOffsets()
    for offset in offsets:
        known.add(offset)
    read = PublishedOffsets.read(*known.commit(), begin, 400)
    assert {each for each in range(400) if each in read} == offsets | set(range(begin))
    assert read.before not in offsets


def test_without_room_what_stands_last_is_published_once_more() -> None:
    known = PublishedOffsets()
    for offset in range(1, 4_000, 2):
        known.add(offset)
    before, metadata = known.commit()
    read = PublishedOffsets.read(before, metadata, 0, 4_000)
    assert len(metadata) <= METADATA_AT_MOST
    told = [offset for offset in range(4_000) if offset in read]
    assert told == list(range(1, 4_000, 2))[: len(told)]
    assert len(told) > 300


def test_what_earlier_versions_committed_has_no_further_offsets() -> None:
    read = PublishedOffsets.read(7, "", 3, 10)
    assert [offset for offset in range(10) if offset in read] == list(range(7))


def test_metadata_of_others_counts_for_nothing() -> None:
    assert PublishedOffsets.read(2, "x,5-,-7,9-8,4", 0, 9).commit() == (2, "4-5")
    assert PublishedOffsets.read(2, "4-99999999999999999999", 0, 9).commit() == (2, "4-8")
