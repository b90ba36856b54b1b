"""What counts for an item, and whether it stands last."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freshet.contract.records import BadRecord
from services.embedding.items.latest_versions import ITEM_KEY_COLLISION, UNCONFIRMED, Standings
from services.embedding.items.versions import Rank

OLD, NEW = Rank(1, True, 1), Rank(2, True, 2)


def test_unknown_item_has_no_standing() -> None:
    assert Standings().get("a") is None


def test_claim_counts_at_once_and_is_confirmed_by_its_offset() -> None:
    standings = Standings()
    standings.claim("a", NEW, True, 77)
    claimed = standings.get("a")
    assert claimed is not None
    assert claimed.log_offset == UNCONFIRMED
    standings.confirm("a", NEW, 5)
    assert standings.get("a") == (NEW, True, 77, 5)


def test_late_confirmation_of_a_lower_rank_changes_nothing() -> None:
    standings = Standings()
    standings.claim("a", OLD, True, 0)
    standings.claim("a", NEW, False, 0)
    standings.confirm("a", OLD, 3)
    assert standings.get("a") == (NEW, False, 0, UNCONFIRMED)


def test_what_another_instance_wrote_counts_if_it_is_higher() -> None:
    standings = Standings()
    standings.observe("a", NEW, True, 9, 4)
    assert standings.get("a") == (NEW, True, 9, 4)
    assert standings.to_mend() == []


def test_lower_rank_that_stands_last_must_be_mended() -> None:
    standings = Standings()
    standings.observe("a", NEW, True, 9, 4)
    standings.observe("a", OLD, True, 9, 5)
    assert standings.to_mend() == ["a"]
    standings.confirm("a", NEW, 6)
    assert standings.to_mend() == []


def test_lower_rank_before_the_highest_is_history() -> None:
    standings = Standings()
    standings.claim("a", NEW, True, 0)
    standings.confirm("a", NEW, 5)
    standings.observe("a", OLD, True, 0, 4)
    assert standings.to_mend() == []


def test_lower_rank_beside_an_unconfirmed_one_waits_for_where_that_lands() -> None:
    for landed, wrong in ((7, []), (3, ["a"])):
        standings = Standings()
        standings.claim("a", NEW, True, 0)
        standings.observe("a", OLD, True, 0, 5)
        assert standings.to_mend() == []
        standings.confirm("a", NEW, landed)
        assert standings.to_mend() == wrong


def test_second_id_with_the_same_key_is_refused() -> None:
    standings = Standings(key_of=lambda _: 42)
    standings.claim("a", NEW, True, 0)
    with pytest.raises(BadRecord, match="same 8-byte key") as refused:
        standings.get("b")
    assert refused.value.error_class == ITEM_KEY_COLLISION


def test_living_leaves_deleted_items_out() -> None:
    standings = Standings()
    for number in range(3_000):
        standings.claim(str(number), Rank(number, True, 0), number % 3 > 0, 0)
    keys, versions = standings.living()
    assert len(keys) == 2_000
    assert set(versions.tolist()) == {n for n in range(3_000) if n % 3}
    assert len(standings) == 3_000


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5), st.booleans()), max_size=30))
def test_the_highest_rank_counts_and_only_a_lower_one_behind_it_is_wrong(
    topic: list[tuple[int, int, bool]],
) -> None:
    standings = Standings()
    last: dict[str, Rank] = {}
    best: dict[str, Rank] = {}
    for offset, (item, version, live) in enumerate(topic):
        item_id, its_rank = str(item), Rank(version, live, 0)
        standings.observe(item_id, its_rank, True, 0, offset)
        last[item_id] = its_rank
        best[item_id] = max(its_rank, best.get(item_id, its_rank))
    for item_id, highest in best.items():
        standing = standings.get(item_id)
        assert standing is not None
        assert standing.rank == highest
    assert sorted(standings.to_mend()) == sorted(i for i in best if last[i] < best[i])
