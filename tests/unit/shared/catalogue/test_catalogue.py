"""What a catalogue holds after any records, in any order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from freshet.contract.items import Item
from shared.catalogue import catalogue as module
from shared.catalogue.catalogue import REUSE_AFTER_MS, Applied, Catalogue, Change, KeyCollision
from shared.users.keys import item_key
from tests.unit.shared.catalogue.makers import (
    DIM,
    EMPTY,
    SPACE,
    catalogue_of,
    contents,
    delete,
    put,
    unit,
)


def keys_of(*item_ids: str) -> NDArray[np.uint64]:
    return np.array([item_key(item_id) for item_id in item_ids], np.uint64)


def test_item_is_found_by_its_key_and_by_its_id() -> None:
    catalogue = catalogue_of(put("a", title="A lamp"), put("b"))
    row = catalogue.row("a")
    assert catalogue.rows(keys_of("a", "b")).tolist() == [row, catalogue.row("b")]
    assert catalogue.titles[row] == "A lamp"
    assert catalogue.living == 2


def test_keys_of_any_shape_are_looked_up_and_unknown_ones_are_minus_one() -> None:
    catalogue = catalogue_of(put("a"))
    found = catalogue.rows(np.tile(keys_of("a", "nobody"), (3, 1)))
    assert found.tolist() == [[0, -1]] * 3
    assert catalogue.rows(np.empty((0, 50), np.uint64)).shape == (0, 50)
    assert catalogue.row("nobody") == -1


def test_item_comes_back_as_published_without_description_and_picture() -> None:
    published = Item(
        item_id="a",
        title="A lamp",
        description="long",
        categories=("lamps", "home"),
        tags=("sale",),
        attributes={"colour": "red", "height": 31.5, "led": True},
        price=19.99,
        currency="EUR",
        in_stock=False,
        available_from_ms=5,
        available_until_ms=9,
        image_uri="https://example.org/a.jpg",
    )
    fields = {name: getattr(published, name) for name in Item.__struct_fields__}
    del fields["item_id"]
    catalogue = catalogue_of(put("a", **fields))
    fields |= {"description": "", "image_uri": None}
    assert catalogue.item(0) == Item(item_id="a", **fields)


def test_item_without_terms_comes_back_without_terms() -> None:
    assert catalogue_of(put("a")).item(0) == Item(item_id="a")


def test_other_metadata_keeps_the_row() -> None:
    catalogue = catalogue_of(put("a", 1, title="old"))
    applied = catalogue.apply([put("a", 2, title="new", price=3.0)])
    assert (applied.added, applied.died, applied.changed) == ([], [], [0])
    assert catalogue.titles[0] == "new"
    assert catalogue.item(0).price == 3.0
    assert catalogue.versions.tolist() == [2]


def test_another_vector_gets_a_new_row_and_the_old_one_dies_unchanged() -> None:
    catalogue = catalogue_of(put("a", 1, unit(1)))
    applied = catalogue.apply([put("a", 2, unit(2))])
    assert (applied.added, applied.died, applied.changed) == ([1], [0], [])
    assert catalogue.alive.tolist() == [False, True]
    assert catalogue.rows(keys_of("a")).tolist() == [1]
    assert np.array_equal(catalogue.vectors, [unit(1), unit(2)])
    assert catalogue.living == 1


def test_lower_version_changes_nothing() -> None:
    catalogue = catalogue_of(put("a", 5, title="newest"))
    applied = catalogue.apply([put("a", 4, unit(9), title="old"), delete("a", 3)])
    assert applied == Applied(stale=2)
    assert catalogue.titles[catalogue.row("a")] == "newest"
    assert catalogue.stale == 2


def test_of_equal_versions_the_later_record_stands() -> None:
    catalogue = catalogue_of(put("a", 5, title="first"), put("a", 5, title="second"))
    assert catalogue.titles[catalogue.row("a")] == "second"
    catalogue.apply([delete("a", 5)])
    assert catalogue.row("a") == -1


def test_deleted_item_is_gone_and_an_older_record_does_not_bring_it_back() -> None:
    catalogue = catalogue_of(put("a", 1), delete("a", 5))
    assert catalogue.row("a") == -1
    assert catalogue.rows(keys_of("a")).tolist() == [-1]
    assert catalogue.living == 0
    assert catalogue.apply([put("a", 4)]).stale == 1
    assert catalogue.row("a") == -1
    catalogue.apply([put("a", 6)])
    assert catalogue.living == 1


def test_delete_that_comes_before_its_item_keeps_the_item_away() -> None:
    catalogue = catalogue_of(delete("a", 5))
    assert catalogue.apply([put("a", 4)]).stale == 1


def test_only_the_newest_tombstones_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TOMBSTONES_AT_MOST", 2)
    catalogue = catalogue_of(delete("a", 5), delete("b", 5), delete("c", 5))
    applied = catalogue.apply([put("a", 1), put("b", 1), put("c", 1)])
    assert applied.stale == 2
    assert catalogue.row("a") >= 0


def test_second_id_with_the_same_key_is_refused_and_the_first_stays() -> None:
    catalogue = Catalogue(SPACE, DIM, key_of=lambda item_id: 7)
    catalogue.apply([put("a", 1)])
    applied = catalogue.apply([put("b", 9), delete("b", 9)])
    assert [item_id for item_id, _ in applied.refused] == ["b", "b"]
    assert "same 8-byte key as 'a'" in applied.refused[0][1]
    assert catalogue.ids == ["a"]
    assert catalogue.row("b") == -1
    with pytest.raises(KeyCollision, match="'b' has the same 8-byte key as 'a'"):
        catalogue.check_key("b")
    catalogue.check_key("a")


@pytest.mark.parametrize(
    ("vector", "space", "why"),
    [
        (np.full(DIM, np.nan, np.float16), SPACE, "must have unit length, had nan"),
        (np.full(DIM, np.inf, np.float16), SPACE, "must have unit length, had inf"),
        (np.zeros(DIM, np.float16), SPACE, "must have unit length, had 0"),
        (np.full(DIM, 1e-4, np.float16), SPACE, "must have unit length"),
        (np.full(DIM, 60_000, np.float16), SPACE, "must have unit length"),
        (unit(1, DIM + 1), SPACE, f"must have {DIM} numbers, had {DIM + 1}"),
        (EMPTY, SPACE, f"must have {DIM} numbers, had 0"),
        (unit(1), "another", "must be of space 'test', was of 'another'"),
    ],
)
def test_vector_that_cannot_be_searched_is_refused_and_what_was_held_stays(
    vector: NDArray[np.float16], space: str, why: str
) -> None:
    catalogue = catalogue_of(put("a", 1, title="held"))
    applied = catalogue.apply([put("a", 2, vector, space=space), put("b", 1)])
    assert [item_id for item_id, _ in applied.refused] == ["a"]
    assert why in applied.refused[0][1]
    assert catalogue.titles[catalogue.row("a")] == "held"
    assert catalogue.row("b") >= 0
    assert catalogue.refused == 1


def test_own_vectors_are_zero_where_an_item_has_none() -> None:
    catalogue = catalogue_of(put("a"))
    assert catalogue.image_vectors is None
    catalogue.apply(
        [put("b", image=unit(1, 3)), put("c", text=unit(2, 4)), put("d", image=unit(1))]
    )
    assert catalogue.image_vectors is not None
    assert catalogue.text_vectors is not None
    assert np.array_equal(catalogue.image_vectors[1], unit(1, 3))
    assert not catalogue.image_vectors[[0, 2, 3]].any(), "d's is of another size than the first"
    assert np.array_equal(catalogue.text_vectors[2], unit(2, 4))
    catalogue.apply([put("b", 2)])
    assert not catalogue.image_vectors[1].any()


def test_another_tower_vector_gets_a_new_row_too_as_an_index_is_made_of_them() -> None:
    catalogue = catalogue_of(put("a"), put("b", tower=unit(1, 4)))
    before = catalogue.row("a"), catalogue.row("b")
    again = catalogue.apply([put("a", 2), put("b", 2, tower=unit(1, 4))])
    assert not again.added
    assert again.changed == [*before]

    moved = catalogue.apply([put("a", 3, tower=unit(2, 4)), put("b", 3)])
    assert moved.died == [*before]
    towers = catalogue.tower_vectors
    assert towers is not None
    assert towers[catalogue.row("a")].tobytes() == unit(2, 4).tobytes()
    assert not towers[catalogue.row("b")].any()
    assert towers[before[1]].tobytes() == unit(1, 4).tobytes(), "a dead row keeps its values"


def test_tower_vector_of_another_width_is_left_out_and_does_not_move_its_item() -> None:
    catalogue = catalogue_of(put("a", tower=unit(1, 4)), put("b", tower=unit(1, 6)))
    assert catalogue.tower_vectors is not None
    assert not catalogue.tower_vectors[catalogue.row("b")].any()
    assert not catalogue.apply([put("b", 2, tower=unit(1, 6))]).added


def test_picture_is_missing_until_it_comes() -> None:
    catalogue = catalogue_of(put("a", 1, picture_missing="bad-picture: cut off"))
    row = catalogue.row("a")
    assert catalogue.pictures_missing[row] == "bad-picture: cut off"
    catalogue.apply([put("a", 1)])  # the same vector, so the same row
    assert catalogue.pictures_missing == {}


def test_dead_row_is_used_again_only_after_a_while_and_keeps_nothing() -> None:
    catalogue = Catalogue(SPACE, DIM)
    held = put("a", 1, image=unit(3), categories=("x",), attributes={"n": 1.0}, price=2.0)
    catalogue.apply([held], now_ms=1_000)
    catalogue.apply([delete("a", 2)], now_ms=1_000)
    catalogue.apply([put("b")], now_ms=1_000 + REUSE_AFTER_MS - 1)
    assert catalogue.row("b") == 1
    catalogue.apply([put("c")], now_ms=1_000 + REUSE_AFTER_MS)
    assert catalogue.row("c") == 0
    assert catalogue.item(0) == Item(item_id="c")
    assert catalogue.image_vectors is not None
    assert not catalogue.image_vectors[0].any()
    assert catalogue.attributes.entries().carriers("n", float)[0].tolist() == []
    assert not catalogue.category_sets.any_of(["x"]).any()
    assert len(catalogue) == 2


def test_without_a_clock_no_row_is_used_again() -> None:
    catalogue = catalogue_of(put("a"), delete("a", 2), put("b"), put("c"))
    assert len(catalogue) == 3


def test_listener_hears_what_changed_and_nothing_else() -> None:
    catalogue = Catalogue(SPACE, DIM)
    heard: list[Applied] = []
    catalogue.listen(heard.append)
    catalogue.apply([put("a", 1, unit(1)), put("a", 2, unit(2)), put("b", 1)])
    catalogue.apply([put("a", 1), delete("nobody", 1)])
    assert [(each.added, each.died, each.changed) for each in heard] == [([0, 1, 2], [0], [])]


IDS = ("a", "b", "c", "d")
LABELS = st.lists(st.sampled_from(("x", "y", "z")), max_size=3).map(tuple)
FIELDS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "title": st.sampled_from(("", "one", "two")),
        "categories": LABELS,
        "tags": LABELS,
        "attributes": st.dictionaries(
            st.sampled_from(("m", "n")), st.sampled_from(("t", "u", 0.0, -0.0, 2.5, True, False))
        ),
        "price": st.sampled_from((None, 0.0, 9.5)),
        "currency": st.sampled_from((None, "EUR", "USD")),
        "in_stock": st.sampled_from((None, True, False)),
        "available_until_ms": st.sampled_from((None, 10)),
    }
)


@st.composite
def histories(draw: st.DrawFn) -> list[Change]:
    """Draw records whose versions all differ."""
    count = draw(st.integers(0, 12))
    changes = []
    for version in draw(st.permutations(range(1, count + 1))):
        item_id = draw(st.sampled_from(IDS))
        if draw(st.integers(0, 3)) == 0:
            changes.append(delete(item_id, version))
        else:
            vector = unit(draw(st.integers(0, 2)))
            changes.append(put(item_id, version, vector, **draw(FIELDS)))
    return changes


def highest(changes: list[Change]) -> dict[str, Change]:
    """Return the naive model: each item's record of the highest version, deletes left out."""
    last: dict[str, Change] = {}
    for change in changes:
        if change.item_id not in last or change.version >= last[change.item_id].version:
            last[change.item_id] = change
    return {item_id: change for item_id, change in last.items() if change.item is not None}


@given(histories().flatmap(lambda made: st.tuples(st.just(made), st.permutations(made))))
def test_any_order_of_records_gives_the_same_catalogue(
    orders: tuple[list[Change], list[Change]],
) -> None:
    one, other = catalogue_of(*orders[0]), Catalogue(SPACE, DIM)
    for change in orders[1]:
        other.apply([change])
    assert contents(one) == contents(other)


@given(st.lists(st.tuples(histories(), st.sampled_from((0, 1, REUSE_AFTER_MS))), max_size=4))
def test_catalogue_holds_the_highest_version_of_each_item(
    batches: list[tuple[list[Change], int]],
) -> None:
    catalogue, now_ms, all_changes = Catalogue(SPACE, DIM), 0, []
    for changes, later_ms in batches:
        now_ms += later_ms
        all_changes += changes
        catalogue.apply(changes, now_ms=now_ms)
    wanted = highest(all_changes)
    assert set(contents(catalogue)) == set(wanted)
    for item_id, change in wanted.items():
        row = catalogue.row(item_id)
        assert change.item is not None
        assert catalogue.versions[row] == change.version
        assert np.array_equal(catalogue.vectors[row], change.item.vector)
        assert catalogue.attributes.of(row) == change.item.item.attributes
    for label in ("x", "y", "z"):
        sets = catalogue.category_sets
        carrying = sets.any_of([label])[sets.ids[: len(catalogue)]] & catalogue.alive
        assert {catalogue.ids[row] for row in np.flatnonzero(carrying).tolist()} == {
            item_id
            for item_id, change in wanted.items()
            if change.item is not None and label in change.item.item.categories
        }
