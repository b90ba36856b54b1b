"""What counts for an item, and whether it stands last."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freshet.contract.records import BadRecord
from services.embedding.items.latest_versions import ITEM_KEY_COLLISION, UNCONFIRMED, LatestVersions
from services.embedding.items.versions import Stated
from shared.catalogue.versions import BEGINNING, LogPlace, RecordVersion


def stated(time_ms: int, live: bool = True, version_ms: int | None = None) -> Stated:
    """Return what a record states that has its time from both clocks."""
    place = LogPlace(time_ms, live, 0)
    version = RecordVersion(BEGINNING, time_ms, place)
    return Stated(version, time_ms if version_ms is None else version_ms)


OLD, NEW = stated(1), stated(2)


def test_unknown_item_has_no_version() -> None:
    assert LatestVersions().get("a") is None


def test_claim_counts_at_once_and_is_confirmed_by_its_offset() -> None:
    latest = LatestVersions()
    latest.claim("a", NEW, True, 77)
    claimed = latest.get("a")
    assert claimed is not None
    assert claimed.log_offset == UNCONFIRMED
    latest.confirm("a", NEW, 5)
    assert latest.get("a") == (*NEW, True, 77, 5)


def test_late_confirmation_of_a_lower_version_changes_nothing() -> None:
    latest = LatestVersions()
    latest.claim("a", OLD, True, 0)
    latest.claim("a", NEW, False, 0)
    latest.confirm("a", OLD, 3)
    assert latest.get("a") == (*NEW, False, 0, UNCONFIRMED)


def test_what_another_instance_wrote_counts_if_it_is_higher() -> None:
    latest = LatestVersions()
    latest.observe("a", NEW, True, 9, 4)
    assert latest.get("a") == (*NEW, True, 9, 4)
    assert latest.to_mend() == {}


def test_lower_version_that_stands_last_must_be_mended() -> None:
    latest = LatestVersions()
    latest.observe("a", NEW, True, 9, 4)
    latest.observe("a", OLD, True, 9, 5)
    assert latest.to_mend() == {"a": NEW}
    latest.confirm("a", NEW, 6)
    assert latest.to_mend() == {}


def test_lower_version_before_the_highest_is_history() -> None:
    latest = LatestVersions()
    latest.claim("a", NEW, True, 0)
    latest.confirm("a", NEW, 5)
    latest.observe("a", OLD, True, 0, 4)
    assert latest.to_mend() == {}


def test_lower_version_beside_an_unconfirmed_one_waits_for_where_that_lands() -> None:
    for landed, wrong in ((7, {}), (3, {"a": NEW})):
        latest = LatestVersions()
        latest.claim("a", NEW, True, 0)
        latest.observe("a", OLD, True, 0, 5)
        assert latest.to_mend() == {}
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
        latest.claim(str(number), stated(number), number % 3 > 0, 0)
    keys, versions = latest.living()
    assert len(keys) == 2_000
    assert set(versions.tolist()) == {n for n in range(3_000) if n % 3}
    assert len(latest) == 3_000


def test_lower_version_that_states_more_to_readers_must_be_mended_wherever_it_stands() -> None:
    late = stated(1, version_ms=9)
    for before in (False, True):
        latest = LatestVersions()
        topic = [late, NEW] if before else [NEW, late]
        for offset, its in enumerate(topic):
            latest.observe("a", its, True, 0, offset)
        raised = Stated(NEW.version, 9)
        assert latest.to_mend() == {"a": raised}
        latest.confirm("a", raised, 2)
        assert latest.to_mend() == {}


def test_what_is_stated_never_falls_below_what_stands() -> None:
    latest = LatestVersions()
    assert latest.stated("a", NEW.version) == NEW
    latest.observe("a", stated(7), True, 0, 0)
    assert latest.stated("a", NEW.version) == Stated(NEW.version, 7)


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 5), st.booleans(), st.integers(0, 5)),
        max_size=30,
    )
)
def test_the_highest_version_counts_and_is_mended_until_readers_hold_it(
    topic: list[tuple[int, int, bool, int]],
) -> None:
    latest = LatestVersions()
    written: dict[str, list[Stated]] = {}
    for offset, (item, time_ms, live, version_ms) in enumerate(topic):
        its = stated(time_ms, live, version_ms)
        latest.observe(str(item), its, True, 0, offset)
        written.setdefault(str(item), []).append(its)
    for offset, (item_id, its) in enumerate(latest.to_mend().items(), len(topic)):
        latest.confirm(item_id, its, offset)
        written[item_id].append(its)
    assert latest.to_mend() == {}
    for item_id, all_of_it in written.items():
        known = latest.get(item_id)
        highest = max(its.version for its in all_of_it)
        assert known is not None
        assert known.version == highest
        assert all_of_it[-1].version == highest, "what compaction keeps"
        held = all_of_it[0]
        for its in all_of_it:
            held = its if its.version_ms >= held.version_ms else held
        assert held.version == highest, "what readers hold"
