"""A split hands out no event that comes later than what it is used for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.training.data.cold import KNOWN_EVENTS, new_items, new_users
from services.training.data.dataset import Dataset
from services.training.data.over_time import earliest, global_time
from services.training.data.protocols import SPLITS, split_of
from services.training.data.splits import Asked, leave_last_out
from shared.inputs.refusals import BadInput
from tests.unit.training.logs import dataset

ITEMS = 10
logs = st.lists(st.lists(st.integers(0, ITEMS - 1), max_size=7), min_size=1, max_size=6)
long_logs = st.lists(
    st.lists(st.integers(0, 29), min_size=5, max_size=25), min_size=20, max_size=30
)
lengths = st.lists(st.integers(0, 25), min_size=10, max_size=30)
seeds = st.integers(0, 3)


def of_different_items(lengths: list[int], seed: int) -> Dataset:
    """Return events of which each has an item and a moment of its own: an item tells its event."""
    ends = np.cumsum(lengths)
    items = np.split(np.arange(ends[-1]), ends[:-1])
    moments = np.random.default_rng(seed).permutation(ends[-1])
    times = [np.sort(part).tolist() for part in np.split(moments, ends[:-1])]
    return dataset([part.tolist() for part in items], max(1, int(ends[-1])), times)


def check_nothing_later_is_known(data: Dataset, asked: Asked) -> None:
    """Check that histories hold only what stands before the target; an item tells its event."""
    for row, user in enumerate(asked.histories.users):
        assert asked.targets[row] in data.events.of(user)
        assert all(item < asked.targets[row] for item in asked.histories.of(row))


@pytest.mark.parametrize("name", SPLITS)
@given(lengths=lengths, seed=seeds)
def test_no_split_lets_a_later_event_out(name: str, lengths: list[int], seed: int) -> None:
    if not sum(lengths):
        return
    data = of_different_items(lengths, seed)
    split = SPLITS[name](data, seed)

    tests = [split.test, *split.parts.values()]
    for asked in (split.validation, *tests):
        check_nothing_later_is_known(data, asked)
    learnt = set(split.train.events.items.tolist())
    targets_of_test = {target for asked in tests for target in asked.targets.tolist()}
    known_in_validation = set(split.validation.histories.items.tolist())
    known_in_validation |= set(split.validation.targets.tolist())
    assert not targets_of_test & (learnt | known_in_validation)
    assert not set(split.validation.targets.tolist()) & learnt
    for asked in (split.validation, split.test):
        for row, user in enumerate(asked.histories.users):
            assert all(item < asked.targets[row] for item in split.train.events.of(user))


@pytest.mark.parametrize("name", SPLITS)
@given(lengths=lengths, seed=seeds)
def test_a_split_is_the_same_by_the_same_seed(name: str, lengths: list[int], seed: int) -> None:
    if not sum(lengths):
        return
    data = of_different_items(lengths, seed)

    first, second = (SPLITS[name](data, seed) for _ in range(2))

    assert first.train.events.items.tolist() == second.train.events.items.tolist()
    assert first.test.targets.tolist() == second.test.targets.tolist()
    assert first.validation.targets.tolist() == second.validation.targets.tolist()


@given(logs)
def test_leave_last_out_learns_all_but_the_last_two_events_of_those_it_asks(
    log: list[list[int]],
) -> None:
    split = leave_last_out(dataset(log, ITEMS))

    for user, items in enumerate(log):
        learnt = items[:-2] if len(items) >= 3 else items
        assert split.train.events.of(user).tolist() == learnt
    asked = [user for user, items in enumerate(log) if len(items) >= 3]
    assert split.test.histories.users.tolist() == asked
    for row, user in enumerate(asked):
        assert split.validation.histories.of(row).tolist() == log[user][:-2]
        assert split.validation.targets[row] == log[user][-2]
        assert split.test.histories.of(row).tolist() == log[user][:-1]
        assert split.test.targets[row] == log[user][-1]


@given(lengths=lengths, seed=seeds)
def test_what_is_learnt_until_a_moment_is_older_than_any_target(
    lengths: list[int], seed: int
) -> None:
    if not sum(lengths):
        return
    data = of_different_items(lengths, seed)
    times = data.events.times_s
    assert times is not None
    split = global_time(data)

    until_s = split.train.events.times_s
    assert until_s is not None
    of_validation, of_test = times[split.validation.targets], times[split.test.targets]
    assert all(until_s.max(initial=-1) < of_validation)
    assert all(of_validation.max(initial=-1) < of_test)
    known_s = split.test.histories.times_s
    assert known_s is not None
    assert all(known_s.max(initial=-1) < of_test)


def test_a_moment_asks_for_what_each_user_did_first_after_it() -> None:
    data = dataset([[0, 1, 2], [3, 4], [5, 6, 7, 8, 9]], 10, [[0, 1, 9], [2, 3], [4, 5, 6, 7, 8]])

    split = global_time(data)

    assert split.train.events.items.tolist() == [0, 1, 3, 4, 5, 6, 7, 8]  # until moment 7
    assert split.validation.targets.tolist() == [9]
    assert split.test.targets.tolist() == [2]
    assert split.test.histories.of(0).tolist() == [0, 1]


@given(lengths=lengths, seed=seeds, share=st.floats(0, 1))
def test_the_earliest_of_a_log_are_what_happened_first_of_all(
    lengths: list[int], seed: int, share: float
) -> None:
    data = of_different_items(lengths, seed)
    times = data.events.times_s
    assert times is not None

    learnt = earliest(data, share).events

    assert learnt.times_s is not None
    count = int(share * len(times))
    assert sorted(learnt.times_s) == sorted(times)[:count]
    assert len(learnt) == len(lengths), "users stay, if without events"


def test_of_a_moment_that_parts_a_log_nothing_is_learnt() -> None:
    data = dataset([[0, 1, 2], [3, 4, 5]], 6, [[0, 7, 7], [1, 7, 9]])

    assert earliest(data, 0.5).events.items.tolist() == [0, 3]
    assert earliest(data, 1).events.items.tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("parted", [global_time, lambda data: earliest(data, 0.5)])
def test_a_split_by_time_needs_times(parted: Callable[[Dataset], object]) -> None:
    with pytest.raises(BadInput, match="log: a split by time needs events with times"):
        parted(dataset([[0, 1, 2]], 3))


@given(long_logs, seeds)
def test_new_items_are_never_learnt_and_a_tenth_of_all(log: list[list[int]], seed: int) -> None:
    split = new_items(dataset(log, 30), seed)

    among = split.parts["among-new"].among
    assert among is not None
    assert among.sum() == 3
    new = np.flatnonzero(among)
    learnt = split.train.events.items
    assert not set(new.tolist()) & set(learnt.tolist())
    assert not set(split.validation.targets.tolist()) & set(learnt.tolist())
    assert set(split.test.targets.tolist()) <= set(new.tolist())
    assert not set(split.validation.targets.tolist()) & set(new.tolist())


@given(long_logs, seeds)
def test_of_new_users_only_the_first_events_are_known(log: list[list[int]], seed: int) -> None:
    split = new_users(dataset(log, 30), seed)

    for count in KNOWN_EVENTS:
        asked = split.parts[f"after-{count}"]
        for row, user in enumerate(asked.histories.users):
            assert asked.histories.of(row).tolist() == log[user][:count]
            assert asked.targets[row] == log[user][count]
            assert not len(split.train.events.of(user))
    others = set(range(len(log))) - set(split.test.histories.users.tolist())
    others -= set(split.validation.histories.users.tolist())
    assert all(split.train.events.of(user).tolist() == log[user] for user in others)


def test_a_split_that_asks_nobody_is_refused() -> None:
    with pytest.raises(BadInput, match="log: leave-last-out must have users to ask, has none"):
        split_of("leave-last-out", dataset([[0, 1]], 2), 0)


def test_a_split_that_is_not_known_is_refused_with_those_that_are() -> None:
    with pytest.raises(BadInput, match="one of leave-last-out, .*k-fold, was random"):
        split_of("random", dataset([[0, 1, 2]], 3), 0)


def test_the_given_split_is_of_a_folder() -> None:
    with pytest.raises(BadInput, match="the split given is of a folder, --data"):
        split_of("given", dataset([[0, 1, 2]], 3), 0)
