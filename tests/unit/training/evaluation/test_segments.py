"""Segments hold those that their names say, each user in one of a kind."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from freshet.contract.items import Item
from services.training.data.splits import leave_last_out
from services.training.evaluation.segments import segments
from tests.unit.training.logs import dataset

DAY_S = 86_400


def test_histories_are_told_apart_by_their_length() -> None:
    split = leave_last_out(dataset([[0] * count for count in (4, 21, 22, 52, 300)], 1))

    found = segments(split.test, split.train)["history"]

    assert {name: rows.tolist() for name, rows in found.items()} == {
        "1-20": [0, 1],
        "21-50": [2],
        "51-100": [3],
        "over 200": [4],
    }


def test_targets_are_told_apart_by_how_often_they_were_learnt() -> None:
    log = [[item] * (2 * item + 1) + [5, item] for item in range(5)]
    split = leave_last_out(dataset(log, 6))

    found = segments(split.test, split.train)["item_popularity"]

    assert [rows.tolist() for rows in found.values()] == [[0], [1], [2], [3], [4]]
    assert list(found) == ["rarest fifth", "rare", "middle", "popular", "most popular fifth"]


def test_targets_are_told_apart_by_how_long_they_had_been_known() -> None:
    log = [[0, 1, 2], [3, 3, 0], [3, 1, 4], [3, 3, 3]]
    days = [[0, 50, 51], [100, 103, 104], [100, 101, 102], [110, 118, 119]]
    times_s = [[day * DAY_S for day in each] for each in days]
    split = leave_last_out(dataset(log, 5, times_s))

    found = segments(split.test, split.train)["item_age"]

    assert {name: rows.tolist() for name, rows in found.items()} == {
        "never learnt": [0, 2],
        "91-365": [1],
        "8-30": [3],
    }


def test_without_times_nothing_is_said_of_ages() -> None:
    split = leave_last_out(dataset([[0, 1, 2]], 3))
    assert segments(split.test, split.train).keys() == {"history", "item_popularity"}


def test_targets_are_told_apart_by_the_year_of_an_item() -> None:
    years: dict[str, str | float] = {"0": 1939.0, "1": 1995.0, "2": 2000.0, "3": "long ago"}
    items = {name: Item(item_id=name, attributes={"year": each}) for name, each in years.items()}
    data = replace(dataset([[9, 9, target] for target in range(5)], 10), items=items)
    split = leave_last_out(data)

    found = segments(split.test, split.train)["item_year"]

    assert {name: rows.tolist() for name, rows in found.items()} == {
        "until 1960": [0],
        "1991-1995": [1],
        "1996-2000": [2],
    }
    assert np.concatenate(list(found.values())).tolist() == [0, 1, 2]
