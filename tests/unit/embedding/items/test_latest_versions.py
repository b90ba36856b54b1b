"""What counts for an item, and whether it stands last."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freshet.contract.records import BadRecord
from services.embedding.items.latest_versions import ITEM_KEY_COLLISION, UNCONFIRMED, LatestVersions
from services.embedding.items.versions import RecordVersion

OLD, NEW = RecordVersion(1, True, 1), RecordVersion(2, True, 2)


def test_unknown_item_has_no_version() -> None:
    assert LatestVersions().get("a") is None


def test_claim_counts_at_once_and_is_confirmed_by_its_offset() -> None:
    latest = LatestVersions()
    latest.claim("a", NEW, True, 77)
    claimed = latest.get("a")
    assert claimed is not None
    assert claimed.log_offset == UNCONFIRMED
    latest.confirm("a", NEW, 5)
    assert latest.get("a") == (NEW, True, 77, 5)


def test_late_confirmation_of_a_lower_version_changes_nothing() -> None:
    latest = LatestVersions()
    latest.claim("a", OLD, True, 0)
    latest.claim("a", NEW, False, 0)
    latest.confirm("a", OLD, 3)
    assert latest.get("a") == (NEW, False, 0, UNCONFIRMED)


def test_what_another_instance_wrote_counts_if_it_is_higher() -> None:
    latest = LatestVersions()
    latest.observe("a", NEW, True, 9, 4)
    assert latest.get("a") == (NEW, True, 9, 4)
    assert latest.to_mend() == []


def test_lower_version_that_stands_last_must_be_mended() -> None:
    latest = LatestVersions()
    latest.observe("a", NEW, True, 9, 4)
    latest.observe("a", OLD, True, 9, 5)
    assert latest.to_mend() == ["a"]
    latest.confirm("a", NEW, 6)
    assert latest.to_mend() == []


def test_lower_version_before_the_highest_is_history() -> None:
    latest = LatestVersions()
    latest.claim("a", NEW, True, 0)
    latest.confirm("a", NEW, 5)
    latest.observe("a", OLD, True, 0, 4)
    assert latest.to_mend() == []


def test_lower_version_beside_an_unconfirmed_one_waits_for_where_that_lands() -> None:
    for landed, wrong in ((7, []), (3, ["a"])):
        latest = LatestVersions()
        latest.claim("a", NEW, True, 0)
        latest.observe("a", OLD, True, 0, 5)
        assert latest.to_mend() == []
        latest.confirm("a", NEW, landed)
        assert latest.to_mend() == wrong


def test_second_id_with_the_same_key_is_refused() -> None:
    latest = LatestVersions(key_of=lambda _: 42)
    latest.claim("a", NEW, True, 0)
    with pytest.raises(BadRecord, match="same 8-byte key") as refused:
        latest.get("b")
    assert refused.value.error_class == ITEM_KEY_COLLISION


def test_living_leaves_deleted_items_out() -> None:
    latest = LatestVersions()
    for number in range(3_000):
        latest.claim(str(number), RecordVersion(number, True, 0), number % 3 > 0, 0)
    keys, versions = latest.living()
    assert len(keys) == 2_000
    assert set(versions.tolist()) == {n for n in range(3_000) if n % 3}
    assert len(latest) == 3_000


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5), st.booleans()), max_size=30))
def test_the_highest_version_counts_and_only_a_lower_one_behind_it_is_wrong(
    topic: list[tuple[int, int, bool]],
) -> None:
    latest = LatestVersions()
    last: dict[str, RecordVersion] = {}
    best: dict[str, RecordVersion] = {}
    for offset, (item, time_ms, live) in enumerate(topic):
        item_id, its_version = str(item), RecordVersion(time_ms, live, 0)
        latest.observe(item_id, its_version, True, 0, offset)
        last[item_id] = its_version
        best[item_id] = max(its_version, best.get(item_id, its_version))
    for item_id, highest in best.items():
        known = latest.get(item_id)
        assert known is not None
        assert known.version == highest
    assert sorted(latest.to_mend()) == sorted(i for i in best if last[i] < best[i])
