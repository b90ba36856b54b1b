"""Which record of an item counts."""

from __future__ import annotations

from freshet.contract.records import Origin, origin_headers
from services.embedding.items.versions import Stated, deleted_unseen, headers, read_stated
from shared.catalogue.versions import BEGINNING, UNSTATED, LogPlace, RecordVersion, record_version

LIVE = Origin("items", 0, 7, 1_000)
BACKFILL = Origin("items-backfill", 0, 7, 1_000)


def later(origin: Origin, by_ms: int = 1) -> Origin:
    return origin._replace(offset=origin.offset + 1, time_ms=origin.time_ms + by_ms)


def counts(updated_ms: int | None, origin: Origin, latest: RecordVersion) -> bool:
    """Say whether a record counts over what counted before."""
    return not record_version(updated_ms, origin, latest).is_behind(latest)


def test_among_records_that_state_updated_ms_the_highest_counts_whatever_the_log_says() -> None:
    stands = record_version(900, LIVE, None)
    assert not counts(899, later(LIVE), stands)
    assert counts(901, later(LIVE), stands)
    assert counts(950, BACKFILL._replace(time_ms=990), stands)


def test_updated_ms_counts_as_never_later_than_the_record() -> None:
    stands = record_version(5_000, LIVE, None)
    assert stands.updated_ms == 1_000
    assert counts(1_001, later(LIVE, 500), stands)


def test_whatever_follows_a_record_without_updated_ms_counts() -> None:
    for what in (None, 5):  # 5: long before, by the shop's clock
        stands = record_version(None, LIVE, None)
        assert counts(what, later(LIVE), stands)
        assert not counts(what, later(LIVE, -500), stands)


def test_a_record_without_updated_ms_counts_over_all_before_it_in_the_log() -> None:
    stands = record_version(999, LIVE, None)
    assert counts(None, later(LIVE), stands)
    assert not counts(None, later(LIVE, -500), stands)


def test_what_came_before_a_delete_stays_void_when_older_records_counted_since() -> None:
    """The delete is remembered, although another record stands."""
    deleted = record_version(None, LIVE, None)
    stands = record_version(5, later(LIVE), deleted)
    assert not stands.is_behind(deleted)
    assert not counts(900, later(LIVE, -500), stands)


def test_of_equal_times_items_count_before_backfill_then_the_later_offset() -> None:
    for updated_ms in (None, 900):
        earlier, backfilled_later, live = (
            record_version(updated_ms, origin, None)
            for origin in (BACKFILL, BACKFILL._replace(offset=99), LIVE)
        )
        assert live > backfilled_later > earlier


def test_records_of_one_batch_have_one_time_and_count_by_offset() -> None:
    deleted = record_version(None, LIVE, None)
    again = record_version(5, later(LIVE, 0), deleted)
    last = record_version(None, later(later(LIVE, 0), 0), again)
    assert deleted < again < last
    assert not again.is_behind(deleted)
    assert not last.is_behind(again)


def test_version_survives_the_headers() -> None:
    deleted = record_version(None, LIVE, None)
    for origin, updated_ms, latest in (
        (LIVE, None, None),
        (BACKFILL, None, None),
        (LIVE, 900, None),
        (later(LIVE), 5, deleted),
    ):
        stated = Stated(record_version(updated_ms, origin, latest), 4_000)
        assert read_stated(headers(stated, origin), updated_ms) == stated


def test_version_without_origin_is_behind_all_of_its_time() -> None:
    missed = Stated(deleted_unseen(999), 1_000)
    assert read_stated(headers(missed, None), None) == missed
    assert missed.version < record_version(None, BACKFILL, None)


def test_headers_that_state_no_version_have_none() -> None:
    assert read_stated([], None) is None
    for digits in (b"-1", b"1e3", b"9" * 19):
        assert read_stated([("version", digits)], None) is None


def test_record_of_an_earlier_release_is_read_as_what_it_was() -> None:
    place = LogPlace(1_000, True, 7)
    assert read_stated([("version", b"900"), *origin_headers(LIVE)], 900) == Stated(
        RecordVersion(BEGINNING, 900, place), 900
    )
    assert read_stated([("version", b"1000"), *origin_headers(LIVE)], None) == Stated(
        RecordVersion(place, UNSTATED, place), 1_000
    )


def test_damaged_headers_cost_only_the_place() -> None:
    alone = LogPlace(5, False, 0)
    assert read_stated([("version", b"5"), ("origin", b"items")], None) == Stated(
        RecordVersion(alone, UNSTATED, alone), 5
    )
    assert read_stated([("version", b"5"), ("since", b"1:2")], 3) == Stated(
        RecordVersion(BEGINNING, 3, alone), 5
    )
