"""Make small ONNX graphs and bundles by hand, so that no test of serving needs a training library.

The item tower is a matrix and a norm; the session tower the mean of the last items, the newest
counting most, and a norm: both are simple enough to be computed again in numpy.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from shared.bundles.bundle import MANIFEST, SESSION, TOWER, TOWER_ROWS, Bundle, describe
from shared.bundles.towers import write_bundle
from shared.users.keys import item_key

Floats = NDArray[np.floating]
DECAY = 0.8  # of an item's weight in the session tower, with each item after it


def serialized(graph: onnx.GraphProto, **metadata: str) -> bytes:
    """Return a checked model of a graph."""
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    if metadata:
        helper.set_model_props(model, metadata)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def tensor(name: str, *shape: int | str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def constant(name: str, value: Any, dtype: Any = np.float32) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(value, dtype), name)


def unit_rows(source: str, output: str) -> list[onnx.NodeProto]:
    """Return nodes that bring rows (n, t) to unit length."""
    return [
        helper.make_node("ReduceL2", [source], ["length"], axes=[1], keepdims=1),
        helper.make_node("Max", ["length", "tiny"], ["some_length"]),
        helper.make_node("Div", [source, "some_length"], [output]),
    ]


def tower_model(matrix: Floats) -> bytes:
    """Return an item tower: content (n, d) → unit rows of content · matrix, (n, t)."""
    d, t = matrix.shape
    nodes = [helper.make_node("MatMul", ["content", "matrix"], ["product"])]
    graph = helper.make_graph(
        [*nodes, *unit_rows("product", "tower")],
        "tower",
        [tensor("content", "n", d)],
        [tensor("tower", "n", t)],
        [constant("matrix", matrix), constant("tiny", 1e-6)],
    )
    return serialized(graph)


def session_model(t: int, length: int) -> bytes:
    """Return a session tower: the mean of the items, each weighing DECAY of the next one's."""
    weights = DECAY ** np.arange(length)[::-1]
    nodes = [
        helper.make_node("Mul", ["mask", "weights"], ["weighed"]),
        helper.make_node("Unsqueeze", ["weighed", "last"], ["columns"]),
        helper.make_node("Mul", ["items", "columns"], ["parts"]),
        helper.make_node("ReduceSum", ["parts", "middle"], ["sum"], keepdims=0),
        *unit_rows("sum", "query"),
    ]
    graph = helper.make_graph(
        nodes,
        "session",
        [tensor("items", "b", "l", t), tensor("mask", "b", "l")],
        [tensor("query", "b", t)],
        [
            constant("weights", weights),
            constant("last", [2], np.int64),
            constant("middle", [1], np.int64),
            constant("tiny", 1e-6),
        ],
    )
    return serialized(graph)


def session_query(history: Floats, length: int) -> Floats:
    """Return what `session_model` gives for a history (n, t), computed by numpy."""
    last = history[-length:]
    total = DECAY ** np.arange(len(last))[::-1] @ last
    return np.asarray(total / np.linalg.norm(total))


def ranker_model(
    weights: Any, names: list[str] | None = None, inputs: int = 1, **metadata: str
) -> bytes:
    """Return a linear ranker: contributions (n, p) = features (n, f) · weights (f, p)."""
    matrix = np.array(weights, np.float32).reshape(len(weights), -1)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x0", "w"], ["y"])],
        "ranker",
        [tensor(f"x{number}", "n", len(matrix)) for number in range(inputs)],
        [tensor("y", "n", matrix.shape[1])],
        [constant("w", matrix)],
    )
    return serialized(
        graph, **metadata, **({} if names is None else {"features": json.dumps(names)})
    )


def listwise_ranker() -> bytes:
    """Return a ranker whose scores are shares of all candidates' beside it."""
    graph = helper.make_graph(
        [helper.make_node("Softmax", ["x"], ["y"], axis=0)],
        "listwise",
        [tensor("x", "n", 1)],
        [tensor("y", "n", 1)],
    )
    return serialized(graph, features='["session"]')


def learnt_rows(rows: Mapping[str, Floats]) -> bytes:
    """Return a tower.npz: item id → its learnt vector."""
    keyed = sorted((item_key(item_id), vector) for item_id, vector in rows.items())
    file = io.BytesIO()
    np.savez(
        file,
        keys=np.array([key for key, _ in keyed], np.uint64),
        vectors=np.array([vector for _, vector in keyed], np.float16),
    )
    return file.getvalue()


def trained_bundle(
    folder: Path,
    base: Bundle,
    *,
    space: str = "trained-1",
    t: int = 8,
    length: int = 10,
    rows: Mapping[str, Floats] | None = None,
    more: Mapping[str, bytes] | None = None,
    seed: int = 0,
) -> Bundle:
    """Write a bundle with random towers beside the encoders of another one.

    rows: what training learnt, by item id; more: further files.
    """
    matrix = np.random.default_rng(seed).standard_normal((base.dim, t))
    files = {**base.files, TOWER: tower_model(matrix), SESSION: session_model(t, length)}
    if rows:
        files[TOWER_ROWS] = learnt_rows(rows)
    manifest = {
        "space": space,
        "dim": base.dim,
        "image": {"model": "as before", "width": base.image_width},
        "text": {"model": "as before", "width": base.text_width, "max_tokens": base.max_tokens},
        "tower": {"dim": t, "model": "random", "length": length},
        "evaluation": {"data": "none", "ndcg@10": 0.0},
        "golden": base.golden,
    }
    return write_bundle(folder, manifest, {**files, **(more or {})})


def put_file(folder: Path, name: str, data: bytes) -> None:
    """Put a file into a bundle as if it had been written with it: the manifest names its bytes."""
    (folder / name).write_bytes(data)
    manifest = json.loads((folder / MANIFEST).read_bytes())
    manifest["files"][name] = describe(data)
    (folder / MANIFEST).write_text(json.dumps(manifest))


def change_manifest(folder: Path, **changed: Any) -> None:
    """Change what a bundle says of itself; what is None is taken out."""
    manifest = json.loads((folder / MANIFEST).read_bytes()) | changed
    kept = {name: value for name, value in manifest.items() if value is not None}
    (folder / MANIFEST).write_text(json.dumps(kept))
