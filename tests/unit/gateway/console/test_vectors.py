"""What lies near a vector, and where items lie on a map."""

from __future__ import annotations

import numpy as np
import pytest

from services.gateway.console.vectors import common_label, nearest, principal_axes


def test_the_nearest_items_come_first() -> None:
    vectors = np.eye(4, dtype=np.float32)
    query = np.array([0.1, 0.9, 0.3, 0.0], np.float32)

    assert nearest(vectors, query, 3) == [1, 2, 0]


def test_a_catalogue_may_hold_fewer_items_than_are_asked_for() -> None:
    assert nearest(np.eye(2, dtype=np.float32), np.array([0, 1], np.float32), 6) == [1, 0]


@pytest.mark.parametrize(
    ("labels", "shown"),
    [
        ([("Living", "Lamp", "Retro"), ("Living", "Lamp", "Noir")], "Living · Lamp"),
        ([("Living", "Lamp"), ("Living", "Lamp"), ("Garden", "Cactus")], "Living · Lamp"),
        ([("a",), ("b",), ("c",)], ""),
        ([], ""),
    ],
)
def test_a_label_is_what_most_of_the_items_share(labels: list[tuple[str, ...]], shown: str) -> None:
    assert common_label(labels) == shown


def test_a_map_keeps_the_two_directions_in_which_items_differ_most() -> None:
    rng = np.random.default_rng(1)
    spread = np.array([1, 9, 0.1, 4], np.float32)
    vectors = (rng.normal(size=(500, 4)) * spread).astype(np.float32)

    mean, axes = principal_axes(vectors)

    assert np.abs(axes[:, 0]).argmax() == 1
    assert np.abs(axes[:, 1]).argmax() == 3
    assert mean == pytest.approx(vectors.mean(axis=0))
    again = principal_axes(vectors[::-1])[1]
    assert axes == pytest.approx(again, abs=1e-4)  # a map keeps its sides
