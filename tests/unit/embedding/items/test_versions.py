"""Which record of an item counts."""

from __future__ import annotations

from freshet.contract.records import Origin
from services.embedding.items.versions import Rank, headers, published_rank, rank

LIVE = Origin("items", 0, 7, 1_000)
BACKFILL = Origin("items-backfill", 0, 7, 1_000)


def test_version_is_updated_ms_but_never_later_than_the_record() -> None:
    assert rank(900, LIVE).version == 900
    assert rank(5_000, LIVE).version == 1_000
    assert rank(None, LIVE).version == 1_000


def test_equal_versions_go_to_items_before_backfill_then_to_the_later_offset() -> None:
    backfilled_later = rank(None, BACKFILL._replace(offset=99))
    assert rank(None, LIVE) > backfilled_later > rank(None, BACKFILL)


def test_higher_version_wins_whatever_its_topic() -> None:
    assert rank(None, BACKFILL._replace(time_ms=1_001)) > rank(None, LIVE)


def test_rank_survives_the_headers() -> None:
    for origin in (LIVE, BACKFILL):
        its_rank = rank(None, origin)
        assert published_rank(headers(its_rank.version, origin)) == its_rank


def test_rank_without_origin_is_behind_all_of_its_version() -> None:
    stated = published_rank(headers(1_000, None))
    assert stated == Rank(1_000, False, 0)
    assert stated < rank(None, BACKFILL)


def test_headers_that_state_no_version_have_no_rank() -> None:
    assert published_rank([]) is None
    assert published_rank([("version", b"-1")]) is None
    assert published_rank([("version", b"1e3")]) is None
    assert published_rank([("version", b"9" * 19)]) is None


def test_damaged_origin_costs_only_the_tie() -> None:
    assert published_rank([("version", b"5"), ("origin", b"items")]) == Rank(5, False, 0)
