"""Which record of an item counts."""

from __future__ import annotations

from freshet.contract.records import Origin
from services.embedding.items.versions import (
    RecordVersion,
    headers,
    published_version,
    record_version,
)

LIVE = Origin("items", 0, 7, 1_000)
BACKFILL = Origin("items-backfill", 0, 7, 1_000)


def test_version_is_updated_ms_but_never_later_than_the_record() -> None:
    assert record_version(900, LIVE).time_ms == 900
    assert record_version(5_000, LIVE).time_ms == 1_000
    assert record_version(None, LIVE).time_ms == 1_000


def test_equal_versions_go_to_items_before_backfill_then_to_the_later_offset() -> None:
    backfilled_later = record_version(None, BACKFILL._replace(offset=99))
    assert record_version(None, LIVE) > backfilled_later > record_version(None, BACKFILL)


def test_higher_version_wins_whatever_its_topic() -> None:
    assert record_version(None, BACKFILL._replace(time_ms=1_001)) > record_version(None, LIVE)


def test_version_survives_the_headers() -> None:
    for origin in (LIVE, BACKFILL):
        version = record_version(None, origin)
        assert published_version(headers(version.time_ms, origin)) == version


def test_version_without_origin_is_behind_all_of_its_time() -> None:
    stated = published_version(headers(1_000, None))
    assert stated == RecordVersion(1_000, False, 0)
    assert stated < record_version(None, BACKFILL)


def test_headers_that_state_no_version_have_none() -> None:
    assert published_version([]) is None
    assert published_version([("version", b"-1")]) is None
    assert published_version([("version", b"1e3")]) is None
    assert published_version([("version", b"9" * 19)]) is None


def test_damaged_origin_costs_only_the_tie() -> None:
    assert published_version([("version", b"5"), ("origin", b"items")]) == RecordVersion(
        5, False, 0
    )
