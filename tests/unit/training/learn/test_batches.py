"""Batches hold each event as often as asked, and little that is padded."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.training.data.histories import Histories
from services.training.learn.batches import equal_in_events, equal_in_rows, windows

lengths_of_histories = st.lists(st.integers(0, 40), min_size=1, max_size=12)


def histories(lengths: list[int]) -> Histories:
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Histories(np.arange(len(lengths)), starts, np.arange(starts[-1]))


@given(lengths_of_histories, st.integers(2, 15), st.integers(0, 9))
def test_a_window_lies_within_one_history(lengths: list[int], length: int, seed: int) -> None:
    of = histories(lengths)
    found = windows(of, length, np.random.default_rng(seed))
    rows = np.searchsorted(of.starts, found.starts, side="right") - 1
    assert (found.lengths >= 2).all()
    assert (found.lengths <= length).all()
    assert (found.starts >= of.starts[rows]).all()
    assert (found.starts + found.lengths <= of.starts[rows + 1]).all()


@given(lengths_of_histories, st.integers(2, 15))
def test_the_newest_window_of_each_history_is_among_them(lengths: list[int], length: int) -> None:
    of = histories(lengths)
    found = windows(of, length, np.random.default_rng(0), earlier=0)
    ends = [int(end) for end, size in zip(of.starts[1:], lengths, strict=True) if size > 1]
    assert (found.starts + found.lengths).tolist() == ends
    assert found.lengths.tolist() == [min(size, length) for size in lengths if size > 1]


def test_long_histories_have_as_many_earlier_windows_as_they_are_long() -> None:
    found = windows(histories([210]), 10, np.random.default_rng(0))
    assert len(found) == 1 + 20
    assert len(set(found.starts.tolist())) > 10


@given(st.lists(st.integers(1, 50), max_size=30), st.integers(1, 120), st.integers(0, 9))
def test_each_row_is_in_one_batch_that_is_not_too_large(
    lengths: list[int], events: int, seed: int
) -> None:
    sizes = np.array(lengths, np.int64)
    batches = equal_in_events(sizes, events, np.random.default_rng(seed))
    rows = [int(row) for batch in batches for row in batch]
    assert sorted(rows) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or sizes[batch].max() * len(batch) <= events


def test_batches_of_equal_length_pad_little() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 200, 2000)
    batches = equal_in_events(lengths, 4000, rng)
    padded = sum(int(lengths[batch].max()) * len(batch) for batch in batches)
    assert padded < 1.15 * lengths.sum()


def test_batches_differ_from_epoch_to_epoch_and_by_nothing_but_the_seed() -> None:
    lengths = np.arange(1, 300)
    one, same, other = (
        [batch.tolist() for batch in equal_in_events(lengths, 900, np.random.default_rng(seed))]
        for seed in (0, 0, 1)
    )
    assert one == same
    assert sorted(one) != sorted(other)


@given(st.integers(0, 40), st.integers(1, 9))
def test_each_row_is_in_one_batch_of_a_size(rows: int, size: int) -> None:
    batches = equal_in_rows(rows, size, np.random.default_rng(0))
    assert sorted(int(row) for batch in batches for row in batch) == list(range(rows))
    assert all(len(batch) == size for batch in batches[:-1])
