"""Open ONNX models, and refuse those that keep tensors in other files.

Such a tensor names a path, and what resolves it may leave the bundle's folder (CVE-2022-25882,
CVE-2025-51480); besides, sha256 of the model would say nothing of its weights. Serving has no
`onnx` package, so this walks the protobuf itself: only the messages that can hold a tensor, whose
bytes are skipped, never copied.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import onnxruntime as ort

# message → {field number: message in it}, from onnx.proto
_HOLDERS: dict[str, dict[int, str]] = {
    "Model": {7: "Graph", 20: "Training", 25: "Function"},
    "Training": {1: "Graph", 2: "Graph"},
    "Function": {7: "Node", 11: "Attribute"},
    "Graph": {1: "Node", 5: "Tensor", 15: "SparseTensor"},
    "Node": {5: "Attribute"},
    "Attribute": {
        5: "Tensor",
        6: "Graph",
        10: "Tensor",
        11: "Graph",
        22: "SparseTensor",
        23: "SparseTensor",
    },
    "SparseTensor": {1: "Tensor", 2: "Tensor"},
}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14  # fields of TensorProto
_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5  # wire types


class BadModel(ValueError):
    """Bytes that are no model to be run; the text says why, and goes on from its name."""


def open_model(
    model: bytes, threads: int = 1, *, without: Sequence[str] = ()
) -> ort.InferenceSession:
    """Start a session of a serialized model; without: optimizers to leave out. Raises BadModel."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Spinning threads would take the CPUs that the event loop and its neighbours need.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        outside = has_external_data(model)
    except ValueError as error:
        raise BadModel(f"cannot be loaded: it is {error}") from None
    if outside:  # a path that could lead anywhere, and weights that no hash covers
        raise BadModel("keeps tensors in other files; only self-contained models are loaded")
    try:
        return ort.InferenceSession(
            model, options, providers=["CPUExecutionProvider"], disabled_optimizers=[*without]
        )
    except Exception as error:  # ONNX Runtime raises its own classes, none of them public
        raise BadModel(f"cannot be loaded: {error}") from None


def has_external_data(model: bytes) -> bool:
    """Tell whether a tensor of a serialized ModelProto lives outside it. Raises ValueError."""
    try:
        return _external(memoryview(model), "Model")
    except IndexError:
        raise ValueError("not a serialized ONNX model") from None


def _external(message: memoryview, kind: str) -> bool:
    if kind == "Tensor":
        return any(
            number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value)
            for number, value in _fields(message)
        )
    inner = _HOLDERS[kind]
    return any(
        isinstance(value, memoryview) and _external(value, inner[number])
        for number, value in _fields(message)
        if number in inner
    )


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, at = _varint(message, at)
            yield number, value
            continue
        if wire == _BYTES:
            length, at = _varint(message, at)
        elif wire in (_EIGHT_BYTES, _FOUR_BYTES):
            length = 8 if wire == _EIGHT_BYTES else 4
        else:
            raise ValueError("not a serialized ONNX model")
        if at + length > len(message):
            raise ValueError("a truncated ONNX model")
        yield number, message[at : at + length]
        at += length


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
