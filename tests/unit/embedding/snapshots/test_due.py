"""When a snapshot is worth making."""

from __future__ import annotations

import pytest

from services.embedding.settings import SnapshotSettings
from services.embedding.snapshots.due import RENEW_MS, is_due
from tests.unit.embedding.snapshots.snapshot_kit import NOW, manifest

SETTINGS = SnapshotSettings()
HOUR_MS = 3_600_000


@pytest.mark.parametrize(
    ("changes", "age_ms", "due"),
    [
        (0, HOUR_MS, False),  # nothing changed
        (1, HOUR_MS - 1, False),
        (1, HOUR_MS, True),
        (999, 0, False),  # not worth it before the time
        (1_999, 0, False),  # under a fifth of 10,000
        (2_000, 0, True),
        (0, RENEW_MS, True),  # before it grows too old to be used
    ],
)
def test_due_by_changes_or_by_age(changes: int, age_ms: int, due: bool) -> None:
    last = manifest(count=10_000)
    positions = {0: last.offsets[0] + changes, 1: last.offsets[1]}
    assert is_due(last, positions, NOW + age_ms, NOW, SETTINGS) is due


@pytest.mark.parametrize(
    ("changes", "age_ms", "due"),
    [(0, RENEW_MS, False), (999, 0, False), (1_000, 0, True), (1, HOUR_MS, True)],
)
def test_first_one_is_due_with_enough_items_or_time(changes: int, age_ms: int, due: bool) -> None:
    assert is_due(None, {0: changes}, NOW + age_ms, NOW, SETTINGS) is due


def test_topic_that_was_made_anew_counts_as_no_change() -> None:
    assert not is_due(manifest(), {0: 0, 1: 0}, NOW + HOUR_MS, NOW, SETTINGS)
