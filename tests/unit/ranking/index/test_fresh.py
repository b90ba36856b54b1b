"""The fresh segment by itself."""

from __future__ import annotations

import numpy as np

from services.ranking.index.fresh import FreshSegment
from tests.unit.ranking.index.vectors import DIM, clustered

VECTORS = clustered(6_000)


def found(segment: FreshSegment, seed: int, k: int, rows: int = 6_000) -> list[int]:
    query = VECTORS[seed : seed + 1].astype(np.float32)
    hits: list[int] = segment.search(query, k, np.ones(rows, np.bool_))[0][0].tolist()
    return hits


def test_rows_are_found_until_they_are_removed() -> None:
    segment = FreshSegment(DIM)
    segment.add(np.arange(300), VECTORS[:300])
    assert found(segment, 5, 1) == [5]
    segment.remove(5)
    segment.remove(5)
    segment.remove(9_999)
    assert 5 not in found(segment, 5, 300)
    assert len(segment) == 299


def test_row_may_come_back_with_another_vector() -> None:
    segment = FreshSegment(DIM)
    segment.add(np.arange(10), VECTORS[:10])
    segment.remove(5)
    segment.add(np.array([5]), VECTORS[77:78])
    assert found(segment, 77, 1) == [5]
    assert len(set(found(segment, 5, 10))) == 10


def test_space_of_removed_rows_is_given_back_and_the_others_stay() -> None:
    segment = FreshSegment(DIM)
    segment.add(np.arange(6_000), VECTORS)
    for row in range(5_900):
        segment.remove(row)
    assert len(segment) == 100
    assert segment._published[2] < 2_500
    assert found(segment, 5_950, 1) == [5_950]
    segment.add(np.array([3]), VECTORS[3:4])
    assert found(segment, 3, 1) == [3]


def test_empty_segment_has_no_hits() -> None:
    rows, scores = FreshSegment(DIM).search(VECTORS[:2].astype(np.float32), 4, np.ones(1, np.bool_))
    assert rows.shape == scores.shape == (2, 0)
