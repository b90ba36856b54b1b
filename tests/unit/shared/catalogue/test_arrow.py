"""A catalogue as an Arrow file, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given

from shared.catalogue.arrow import (
    BadTable,
    from_table,
    labels_of,
    read_table,
    to_table,
    write_table,
)
from shared.catalogue.catalogue import Catalogue, Change
from shared.catalogue.versions import UNSTATED
from tests.unit.shared.catalogue.makers import DIM, SPACE, catalogue_of, contents, delete, put, unit
from tests.unit.shared.catalogue.test_catalogue import histories


def restored(catalogue: Catalogue) -> Catalogue:
    copy = Catalogue(catalogue.space, catalogue.dim)
    copy.restore(from_table(to_table(catalogue.copy_rows())))
    return copy


@given(histories())
def test_restored_catalogue_holds_and_refuses_what_the_first_one_did(changes: list[Change]) -> None:
    catalogue = catalogue_of(*changes)
    copy = restored(catalogue)
    assert contents(copy) == contents(catalogue)
    assert copy.living == catalogue.living == len(copy)
    for change in changes:
        older = change._replace(version=0)
        assert copy.apply([older]).stale == 1, "tombstones and versions came along"


@given(histories(), histories())
def test_restored_catalogue_goes_on_as_the_first_one_would(
    before: list[Change], after: list[Change]
) -> None:
    catalogue = catalogue_of(*before)
    copy = restored(catalogue)
    catalogue.apply(after)
    copy.apply(after)
    assert contents(copy) == contents(catalogue)
    for label in ("x", "y", "z"):
        found = [
            {each.ids[row] for row in np.flatnonzero(mask[: len(each)] & each.alive).tolist()}
            for each in (catalogue, copy)
            for mask in [each.tag_sets.any_of([label])[each.tag_sets.ids]]
        ]
        assert found[0] == found[1]


def test_own_vectors_and_arrivals_come_along() -> None:
    copy = restored(
        catalogue_of(put("a"), put("b", image=unit(1, 3), text=unit(2, 5), arrived_ms=77))
    )
    assert copy.image_vectors is not None
    assert copy.text_vectors is not None
    assert copy.image_vectors.tolist() == [[0, 0, 0], unit(1, 3).tolist()]
    assert np.array_equal(copy.text_vectors[1], unit(2, 5))
    assert copy.arrived_ms.tolist() == [0, 77]


def test_the_shops_own_times_come_along_and_are_unstated_in_a_snapshot_of_before() -> None:
    priced: dict[str, Any] = {"price": 5.0, "currency": "EUR"}
    catalogue = catalogue_of(put("a", 9, updated_ms=7, **priced), put("b", 9, updated_ms=70))
    table = to_table(catalogue.copy_rows())
    assert from_table(table).updated_ms.tolist() == [7, 9], "never later than the version"
    place = table.column_names.index("carried")
    before = table.set_column(place, "carried", pa.array([1, 0], pa.uint8())).drop(["updated_ms"])
    old = Catalogue(SPACE, DIM)
    old.restore(from_table(before))
    assert old.updated_ms.tolist() == [UNSTATED, UNSTATED]
    assert (old.item(0).price, old.item(0).currency) == (5.0, "EUR")


def test_missing_pictures_come_along() -> None:
    catalogue = catalogue_of(
        put("a"), put("b", picture_missing="bad-picture: cut off"), put("c"), delete("a", 2)
    )
    assert restored(catalogue).pictures_missing == {0: "bad-picture: cut off"}
    assert restored(catalogue_of(put("c"))).pictures_missing == {}


def test_rows_are_the_living_items_in_order_so_that_their_places_are_labels() -> None:
    catalogue = catalogue_of(put("a"), put("b"), put("c"), delete("b", 2))
    keys, vectors = labels_of(to_table(catalogue.copy_rows()))
    assert np.array_equal(catalogue.rows(keys), [0, 2])
    assert np.array_equal(vectors, catalogue.vectors[[0, 2]])


def test_empty_catalogue_goes_through_a_file(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.arrow"
    write_table(to_table(Catalogue(SPACE, DIM).copy_rows()), path)
    rows = from_table(read_table(path))
    assert rows.ids == []
    assert rows.vectors.shape == (0, DIM)


def test_file_gives_back_what_was_written(tmp_path: Path) -> None:
    catalogue = catalogue_of(*(put(f"item-{n}", title=f"title {n}") for n in range(3_000)))
    path = tmp_path / "catalogue.arrow"
    write_table(to_table(catalogue.copy_rows()), path)
    copy = Catalogue(SPACE, DIM)
    copy.restore(from_table(read_table(path)))
    path.unlink()
    assert contents(copy) == contents(catalogue)


def test_file_that_is_cut_off_is_no_table(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.arrow"
    write_table(to_table(catalogue_of(put("a")).copy_rows()), path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(BadTable, match=r"catalogue.arrow is no Arrow file"):
        read_table(path)


def test_table_of_another_format_is_refused() -> None:
    table = to_table(catalogue_of(put("a")).copy_rows())
    with pytest.raises(BadTable, match="format must be"):
        from_table(table.replace_schema_metadata({b"format": b"freshet-catalogue-9"}))
    with pytest.raises(BadTable, match="format must be"):
        from_table(pa.table({"id": ["a"]}))


@pytest.mark.parametrize("column", ["key", "vector", "categories", "price"])
def test_table_without_a_column_is_refused(column: str) -> None:
    table = to_table(catalogue_of(put("a")).copy_rows())
    with pytest.raises(BadTable, match="not a catalogue"):
        from_table(table.drop_columns([column]))


def test_rows_of_another_space_or_size_are_refused_before_anything_is_taken() -> None:
    rows = catalogue_of(put("a")).copy_rows()
    for catalogue in (Catalogue("another", DIM), Catalogue(SPACE, DIM + 1)):
        with pytest.raises(ValueError, match="rows must be of space"):
            catalogue.restore(rows)
        assert len(catalogue) == 0


def test_catalogue_in_use_is_not_restored() -> None:
    catalogue = catalogue_of(put("a"))
    with pytest.raises(RuntimeError, match="before anything else"):
        catalogue.restore(catalogue.copy_rows())


def test_tower_vectors_come_along_and_are_what_a_graph_of_their_own_stands_for() -> None:
    catalogue = catalogue_of(put("a", tower=unit(1, 4)), put("b"))
    table = to_table(catalogue.copy_rows())
    towers = restored(catalogue).tower_vectors
    assert towers is not None
    keys, vectors = labels_of(table, "tower_vector")
    for row in range(2):
        at = catalogue.rows(keys[row : row + 1])[0]
        assert catalogue.tower_vectors is not None
        assert towers[row].tobytes() == vectors[row].tobytes()
        assert vectors[row].tobytes() == catalogue.tower_vectors[at].tobytes()
    assert "tower_vector" not in to_table(catalogue_of(put("a")).copy_rows()).column_names
