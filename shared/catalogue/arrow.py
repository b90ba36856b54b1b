"""Turn a catalogue's rows into an Arrow table, `catalogue.arrow` of a snapshot, or back.

One chunk, one row an item. Vectors are fixed-size binary (float16, little-endian), so that they
are read without a copy; categories and tags are dictionaries of lists, because items share them.
What is not by row stands in the schema's metadata.

Legend: n items; d numbers of a vector.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from shared.catalogue.rows import CatalogueRows
from shared.catalogue.versions import UNSTATED

FORMAT: Final = b"freshet-catalogue-1"
_TERMS: Final = ("carried", "price", "currency", "in_stock", "available_from", "available_until")


class BadTable(ValueError):
    """A table that is not a catalogue of this format; the text says what is wrong."""


def to_table(rows: CatalogueRows) -> pa.Table:
    """Return rows as a table."""
    columns = {
        "id": pa.array(rows.ids, pa.string()),
        "title": pa.array(rows.titles, pa.string()),
        "key": pa.array(rows.keys),
        "version": pa.array(rows.versions),
        "updated_ms": pa.array(rows.updated_ms),
        "arrived_ms": pa.array(rows.arrived_ms),
        "vector": _from_vectors(rows.vectors),
        "categories": _from_sets(rows.category_ids, rows.category_sets),
        "tags": _from_sets(rows.tag_ids, rows.tag_sets),
        "attributes": pa.array(rows.attributes, pa.binary()),  # msgpack
    }
    columns |= {name: pa.array(rows.terms[name]) for name in _TERMS}
    if any(rows.pictures_missing):
        columns["picture_missing"] = pa.array(rows.pictures_missing, pa.string())
    if rows.image_vectors is not None:
        columns["image_vector"] = _from_vectors(rows.image_vectors)
    if rows.text_vectors is not None:
        columns["text_vector"] = _from_vectors(rows.text_vectors)
    if rows.tower_vectors is not None:
        columns["tower_vector"] = _from_vectors(rows.tower_vectors)
    buried = np.array(list(rows.tombstones.keys()), np.uint64)
    versions = np.array(list(rows.tombstones.values()), np.int64)
    metadata = {
        b"format": FORMAT,
        b"space": rows.space.encode(),
        b"currencies": msgspec.json.encode(rows.currencies),
        b"tombstone_keys": buried.astype("<u8").tobytes(),
        b"tombstone_versions": versions.astype("<i8").tobytes(),
    }
    return pa.table(columns).replace_schema_metadata(metadata)


def read_table(path: Path) -> pa.Table:
    """Map a table from an Arrow file. Raises BadTable or OSError."""
    try:
        with pa.memory_map(str(path)) as file:
            return pa.ipc.open_file(file).read_all()
    except pa.ArrowInvalid as error:
        raise BadTable(f"{path.name} is no Arrow file: {error}") from error


def write_table(table: pa.Table, path: Path) -> None:
    """Write a table as an Arrow file. Raises OSError."""
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


def labels_of(
    table: pa.Table, column: str = "vector"
) -> tuple[NDArray[np.uint64], NDArray[np.float16]]:
    """Return only the keys (n,) and vectors (n, d) of a table, what an index's labels stand for.

    column: of the vectors. Raises BadTable.
    """
    try:
        return _numbers(_one_chunk(table["key"])), _to_vectors(_one_chunk(table[column]))
    except (KeyError, AttributeError, ValueError) as error:
        raise BadTable(f"not a catalogue: {error!r}") from error


def from_table(table: pa.Table) -> CatalogueRows:
    """Return a table's rows; vectors are views into it. Raises BadTable."""
    metadata = table.schema.metadata or {}
    if metadata.get(b"format") != FORMAT:
        raise BadTable(f"format must be {FORMAT!r}, was {metadata.get(b'format')!r}")
    try:
        columns = {name: _one_chunk(table[name]) for name in table.column_names}
        category_ids, category_sets = _to_sets(columns["categories"])
        tag_ids, tag_sets = _to_sets(columns["tags"])
        buried = np.frombuffer(metadata[b"tombstone_keys"], "<u8").tolist()
        versions = np.frombuffer(metadata[b"tombstone_versions"], "<i8").tolist()
        return CatalogueRows(
            space=metadata[b"space"].decode(),
            ids=columns["id"].to_pylist(),
            titles=columns["title"].to_pylist(),
            keys=_numbers(columns["key"]),
            versions=_numbers(columns["version"]),
            updated_ms=_updated_ms(columns),
            arrived_ms=_numbers(columns["arrived_ms"]),
            vectors=_to_vectors(columns["vector"]),
            image_vectors=_optional_vectors(columns, "image_vector"),
            text_vectors=_optional_vectors(columns, "text_vector"),
            tower_vectors=_optional_vectors(columns, "tower_vector"),
            category_ids=category_ids,
            category_sets=category_sets,
            tag_ids=tag_ids,
            tag_sets=tag_sets,
            attributes=columns["attributes"].to_pylist(),
            pictures_missing=_pictures_missing(columns),
            terms={name: _numbers(columns[name]) for name in _TERMS},
            currencies=msgspec.json.decode(metadata[b"currencies"], type=list[str]),
            tombstones=dict(zip(buried, versions, strict=True)),
        )
    except (KeyError, AttributeError, ValueError, msgspec.ValidationError) as error:
        raise BadTable(f"not a catalogue: {error!r}") from error


def _from_vectors(vectors: NDArray[np.float16]) -> pa.Array:
    size = vectors.shape[1] * 2
    raw = pa.py_buffer(np.ascontiguousarray(vectors, "<f2").tobytes())
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(size), len(vectors), [None, raw])


def _to_vectors(column: pa.Array) -> NDArray[np.float16]:
    size = column.type.byte_width
    raw = column.buffers()[1]
    numbers = np.frombuffer(raw, "<f2") if raw is not None else np.empty(0, np.float16)
    start = column.offset * size // 2
    vectors = numbers[start : start + len(column) * size // 2]
    return vectors.reshape(len(column), size // 2)  # (n, d)


def _updated_ms(columns: dict[str, pa.Array]) -> NDArray[np.int64]:
    """Return the column, which snapshots of before 0.3 lack."""
    if "updated_ms" in columns:
        return _numbers(columns["updated_ms"])
    return np.full(len(columns["id"]), UNSTATED, np.int64)


def _pictures_missing(columns: dict[str, pa.Array]) -> list[str]:
    """Return the column, which is there if any picture is missing."""
    column = columns.get("picture_missing")
    reasons: list[str] = [""] * len(columns["id"]) if column is None else column.to_pylist()
    return reasons


def _optional_vectors(columns: dict[str, pa.Array], name: str) -> NDArray[np.float16] | None:
    return _to_vectors(columns[name]) if name in columns else None


def _from_sets(ids: NDArray[np.int32], sets: list[tuple[str, ...]]) -> pa.Array:
    values = pa.array([list(labels) for labels in sets], pa.list_(pa.string()))
    return pa.DictionaryArray.from_arrays(pa.array(ids), values)


def _to_sets(column: pa.DictionaryArray) -> tuple[NDArray[np.int32], list[tuple[str, ...]]]:
    return _numbers(column.indices), [tuple(labels) for labels in column.dictionary.to_pylist()]


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    if column.num_chunks == 0:  # an Arrow file of no rows
        return pa.nulls(0, column.type)
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _numbers(column: pa.Array) -> NDArray[Any]:
    numbers: NDArray[Any] = column.to_numpy(zero_copy_only=False)
    return numbers
