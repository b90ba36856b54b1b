"""A split hands out no event that comes later than what it is used for."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.training.data.dataset import Dataset
from services.training.data.histories import grouped
from services.training.data.splits import leave_last_out

logs = st.lists(st.lists(st.integers(0, 9), max_size=7), min_size=1, max_size=6)


def dataset(log: list[list[int]]) -> Dataset:
    users = np.repeat(np.arange(len(log)), [len(items) for items in log]).astype(np.int64)
    items = np.array([item for items in log for item in items], np.int64)
    names = tuple(map(str, range(10)))
    return Dataset("log", names, names[: len(log)], grouped(users, items, len(log)))


@given(logs)
def test_leave_last_out_learns_all_but_the_last_two_events_of_those_it_asks(
    log: list[list[int]],
) -> None:
    split = leave_last_out(dataset(log))

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
