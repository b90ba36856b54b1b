"""What may be acknowledged of a partition."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.embedding.items.progress import BEHIND_MS, RENEW_MS, Commit, PartitionProgress

NOW = 100 * 86_400_000


def taken(*offsets: int, start: int = 0) -> PartitionProgress:
    progress = PartitionProgress(Commit(start, NOW), start)
    for offset in offsets:
        progress.take(offset, NOW + offset)
    return progress


def test_nothing_is_acknowledged_beyond_an_unfinished_record() -> None:
    progress = taken(0, 1, 2)
    progress.finish(1, NOW)
    progress.finish(2, NOW)
    assert progress.to_commit() is None
    progress.finish(0, NOW)
    assert progress.to_commit() == Commit(3, NOW + 2)


def test_gaps_of_a_compacted_log_do_not_hold_it_up() -> None:
    progress = taken(10, 500, 501, start=3)
    for offset in (500, 10, 501):
        progress.finish(offset, NOW)
    assert progress.done == 502


@given(st.lists(st.integers(0, 1_000), unique=True, min_size=1), st.randoms())
def test_in_any_order_of_finishing_the_prefix_is_right(offsets: list[int], order: object) -> None:
    offsets = sorted(offsets)
    progress = taken(*offsets)
    left = list(offsets)
    while left:
        progress.finish(left.pop(order.randrange(len(left))), NOW)  # type: ignore[attr-defined]
        assert progress.done == (
            next((o + 1 for o in reversed(offsets) if not left or o < min(left)), 0)
        )
        assert progress.in_flight == len(left)


def test_acknowledged_once_is_not_acknowledged_again() -> None:
    progress = taken(0)
    progress.finish(0, NOW)
    commit = progress.to_commit()
    assert commit is not None
    progress.committed(commit)
    assert progress.to_commit() is None


def test_partition_that_was_never_acknowledged_commits_where_it_begins() -> None:
    assert PartitionProgress(None, 5).to_commit() == Commit(5, 0)


def test_idle_partition_renews_its_commit_now_and_then() -> None:
    progress = PartitionProgress(Commit(5, NOW), 5)
    progress.seen_all(NOW + RENEW_MS, NOW + RENEW_MS)
    assert progress.to_commit() is None
    progress.seen_all(NOW + RENEW_MS + 1, NOW + RENEW_MS + 1)
    assert progress.to_commit() == Commit(5, NOW + RENEW_MS + 1)


def test_partition_away_for_six_days_stays_behind_until_reconciled() -> None:
    progress = PartitionProgress(Commit(5, NOW - BEHIND_MS), 5)
    assert progress.is_behind(NOW)
    progress.seen_all(NOW, NOW)
    assert progress.is_behind(NOW)
    progress.reconciled(NOW)
    assert not progress.is_behind(NOW)


def test_old_records_do_not_bring_a_partition_back_into_time() -> None:
    progress = taken(0)
    progress.take(1, 1)
    progress.finish(0, NOW)
    progress.finish(1, NOW)
    assert progress.complete_ms == NOW


def test_what_is_finished_meanwhile_does_not_hide_that_deletes_may_have_been_missed() -> None:
    progress = PartitionProgress(Commit(0, NOW - BEHIND_MS), 0)
    progress.take(0, NOW - BEHIND_MS // 2)  # within days of what was acknowledged last
    progress.finish(0, NOW)
    assert progress.is_behind(NOW)
    assert progress.to_commit() == Commit(1, NOW - BEHIND_MS)
