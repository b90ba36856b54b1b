"""Run a trained bundle's towers: one gives items vectors, one turns a history into a query.

A tower vector has unit length; the nearer a query is to it, the likelier the item comes next.
Embedding runs the item tower when an item arrives, ranking the session tower when a list is made.

Legend: n items; d numbers of the serving space; t of tower vectors; b histories of l items each.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from shared.bundles.bundle import (
    FORMAT,
    GOLDEN_VECTORS,
    RANKER,
    SESSION,
    TOWER,
    TOWER_ROWS,
    BadBundle,
    Bundle,
    TowerShape,
    arrays_in,
    write_files,
)
from shared.bundles.onnx_model import BadModel, open_model
from shared.bundles.ranker import opened_ranker
from shared.faults import SystemFault

Floats = NDArray[np.float32]

GOLDEN_ROWS: Final = 6  # tower vectors in a manifest; histories of its session queries: 1 to 6 long
LEAST_COSINE: Final = 0.9  # between machines; on one it is 1
UNIT: Final = 0.02  # that a length may differ from 1 by: float16, and a careless exporter


class OnnxItemTower:
    """Gives items their tower vectors: the row that training learnt, else what a model says."""

    def __init__(self, bundle: Bundle) -> None:
        """Raises BadBundle, also where the bundle has no item tower."""
        shape = _shape(bundle)
        if not {TOWER, TOWER_ROWS} & set(bundle.files):
            raise BadBundle(f"bundle {bundle.space} has a tower, but no {TOWER} or {TOWER_ROWS}")
        self.dim = shape.dim
        self._keys, self._rows = _learnt(bundle, shape)
        self._model = _opened(bundle, TOWER) if TOWER in bundle.files else None

    def vectors(self, keys: NDArray[np.uint64], contents: Floats) -> Floats:
        """Return the tower vectors of items, (n, t): zero for one that nothing knows.

        keys: item keys, (n,); contents: their vectors of the serving space, (n, d).
        Raises SystemFault: no item's vector makes a model fail.
        """
        vectors = np.zeros((len(keys), self.dim), np.float32)
        at = self._keys.searchsorted(keys)
        at[at == len(self._keys)] = 0
        known = self._keys[at] == keys if len(self._keys) else np.zeros(len(keys), np.bool_)
        vectors[known] = self._rows[at[known]]
        if self._model is not None and not known.all():
            vectors[~known] = self.of_content(contents[~known])
        return vectors

    def of_content(self, contents: Floats) -> Floats:
        """Return what the model says of contents: (n, d) → (n, t). Raises SystemFault."""
        assert self._model is not None
        return _unit(_run(self._model, "tower", {"content": contents}), self.dim)

    def golden(self, bundle: Bundle) -> Floats:
        """Return the tower vectors of a bundle's golden contents, or the first learnt rows.

        Raises BadBundle where the model gives something else.
        """
        if self._model is None:
            return self._rows[:GOLDEN_ROWS].astype(np.float32)
        contents = [bundle.golden_rows(name, bundle.dim) for name in GOLDEN_VECTORS]
        try:
            return self.of_content(np.concatenate(contents)[:GOLDEN_ROWS])
        except SystemFault as error:
            raise BadBundle(f"{TOWER}: {error}") from None


class OnnxSessionTower:
    """Turns what a user came to, in order, into a query for tower vectors."""

    def __init__(self, bundle: Bundle) -> None:
        """Raises BadBundle, also where the bundle has no session tower."""
        shape = _shape(bundle)
        self.dim, self.length, self.model = shape.dim, shape.length, shape.model
        self._session = _opened(bundle, SESSION)

    def query(self, history: Floats) -> Floats:
        """Return the query of one history, (n, t) with n > 0 → (t,): the last `length` count.

        Raises SystemFault.
        """
        items = np.zeros((1, self.length, self.dim), np.float32)
        mask = np.zeros((1, self.length), np.float32)
        last = history[-self.length :]
        items[0, self.length - len(last) :] = last
        mask[0, self.length - len(last) :] = 1
        query: Floats = self.queries(items, mask)[0]
        return query

    def queries(self, items: Floats, mask: Floats) -> Floats:
        """Return the queries of histories padded in front: (b, l, t), (b, l) → (b, t).

        Raises SystemFault.
        """
        return _unit(_run(self._session, "query", {"items": items, "mask": mask}), self.dim)

    def golden(self, bundle: Bundle) -> Floats:
        """Return the queries of the first 1, 2, … of a bundle's golden tower vectors.

        Raises BadBundle where the model gives something else.
        """
        rows = bundle.golden_rows("tower_vectors", self.dim)
        try:
            return np.stack([self.query(rows[: n + 1]) for n in range(len(rows))])
        except SystemFault as error:
            raise BadBundle(f"{SESSION}: {error}") from None


def item_tower_of(bundle: Bundle) -> OnnxItemTower | None:
    """Load a bundle's item tower and compare it with its golden outputs; None where it has none.

    Raises BadBundle.
    """
    if bundle.tower is None and not {TOWER, TOWER_ROWS} & set(bundle.files):
        return None
    tower = OnnxItemTower(bundle)
    _compare(bundle, "tower_vectors", tower.golden(bundle))
    return tower


def session_tower_of(bundle: Bundle) -> OnnxSessionTower | None:
    """Load a bundle's session tower and compare it likewise; None where it has none.

    Raises BadBundle.
    """
    if SESSION not in bundle.files:
        return None
    tower = OnnxSessionTower(bundle)
    _compare(bundle, "session_queries", tower.golden(bundle))
    return tower


def _compare(bundle: Bundle, name: str, here: Floats) -> None:
    there = bundle.golden_rows(name, here.shape[1], len(here))
    lowest = float((here * there).sum(axis=1).min())
    if not lowest >= LEAST_COSINE:
        raise BadBundle(
            f"bundle {bundle.space} gives other {name} here than where it was built: "
            f"cosine {lowest:.3f}, at least {LEAST_COSINE} is needed"
        )


def write_bundle(folder: Path, manifest: Mapping[str, Any], files: Mapping[str, bytes]) -> Bundle:
    """Write a trained bundle, and what its models give here beside its golden contents.

    manifest: all but `format`, `files` and the golden outputs of what was trained. Returns it as it
    is read. Raises BadBundle for what could not be read again.
    """
    golden = dict(manifest["golden"])
    manifest = {**manifest, "format": FORMAT, "golden": golden}
    write_files(folder, manifest, files)
    bundle = dataclasses.replace(Bundle.load(folder), golden=golden)
    if bundle.tower is not None:
        golden["tower_vectors"] = rounded(OnnxItemTower(bundle).golden(bundle))
        if SESSION in files:
            golden["session_queries"] = rounded(OnnxSessionTower(bundle).golden(bundle))
    if RANKER in files:
        golden["ranker_parts"] = rounded(opened_ranker(bundle).golden())
    write_files(folder, manifest, files)
    return Bundle.load(folder)


def rounded(vectors: Floats) -> list[list[float]]:
    """Return vectors as a manifest keeps them."""
    return [[round(float(value), 5) for value in vector] for vector in vectors]


def _shape(bundle: Bundle) -> TowerShape:
    if bundle.tower is None:
        raise BadBundle(f"bundle {bundle.space} says nothing of a tower in its manifest")
    return bundle.tower


def _opened(bundle: Bundle, name: str) -> ort.InferenceSession:
    if name not in bundle.files:
        raise BadBundle(f"bundle {bundle.space} has no {name}")
    try:
        return open_model(bundle.files[name])
    except BadModel as error:
        raise BadBundle(f"{name} {error}") from None


def _learnt(bundle: Bundle, shape: TowerShape) -> tuple[NDArray[np.uint64], NDArray[np.float16]]:
    """Return the keys, ascending (m,), and rows (m, t) of items that training has seen."""
    if TOWER_ROWS not in bundle.files:
        return np.empty(0, np.uint64), np.empty((0, shape.dim), np.float16)
    try:
        keys, rows = arrays_in(bundle.files[TOWER_ROWS], ("keys", "vectors")).values()
    except ValueError as error:
        raise BadBundle(f"{TOWER_ROWS} {error}") from None
    if (
        keys.dtype != np.uint64
        or rows.dtype != np.float16
        or keys.ndim != 1
        or rows.shape != (len(keys), shape.dim)
    ):
        raise BadBundle(
            f"{TOWER_ROWS} must have keys uint64 (m,) and vectors float16 (m, {shape.dim}), "
            f"had {keys.dtype} {keys.shape} and {rows.dtype} {rows.shape}"
        )
    if not (keys[:-1] < keys[1:]).all():
        raise BadBundle(f"{TOWER_ROWS}: keys must ascend")
    lengths = np.linalg.norm(rows.astype(np.float32), axis=1)
    if not (np.abs(lengths - 1) <= UNIT).all():  # NaN is not either
        raise BadBundle(f"{TOWER_ROWS}: vectors must have unit length")
    return keys, rows


def _run(session: ort.InferenceSession, output: str, inputs: dict[str, Floats]) -> Floats:
    """Run a model. Raises SystemFault."""
    try:
        found: Floats = session.run([output], inputs)[0]
    except Exception as error:  # ONNX Runtime raises its own classes, none of them public
        raise SystemFault(f"the model of {output} fails: {error}") from error
    return found


def _unit(vectors: Floats, dim: int) -> Floats:
    """Return vectors (n, t) as they are if they have unit length. Raises SystemFault."""
    if vectors.ndim != 2 or vectors.shape[1] != dim or vectors.dtype != np.float32:
        raise SystemFault(f"it must give float32 (n, {dim}), gave {vectors.dtype} {vectors.shape}")
    lengths = np.sqrt(np.einsum("nt,nt->n", vectors, vectors))
    if not (np.abs(lengths - 1) <= UNIT).all():
        raise SystemFault("it must give vectors of unit length")
    return vectors
