"""Quantise the CNN to static int8: all activations' ranges are measured once, on drawn pictures.

Dynamic quantisation, which measures them at every call, makes a CNN nine times slower instead of
twice as fast.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quant_pre_process,
    quantize_static,
)

_OPERATORS = ["Conv", "Add", "Clip", "GlobalAveragePool"]


def quantized(model: onnx.ModelProto, pictures: NDArray[np.uint8]) -> bytes:
    """Return the model in int8 (QDQ, a scale for each output channel), serialized."""
    with tempfile.TemporaryDirectory() as folder:
        float_path, prepared, int8_path = (
            Path(folder) / name for name in ("f.onnx", "p.onnx", "i.onnx")
        )
        onnx.save(model, float_path)
        logging.getLogger().addFilter(_no_advice)
        try:
            quant_pre_process(float_path, prepared, skip_symbolic_shape=True)
            quantize_static(
                prepared,
                int8_path,
                _Reader(pictures),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
                op_types_to_quantize=_OPERATORS,
            )
        finally:
            logging.getLogger().removeFilter(_no_advice)
        small = onnx.load(int8_path)
    used = {node.domain for node in small.graph.node}
    opsets = [opset for opset in small.opset_import if opset.domain in used]
    del small.opset_import[:]
    small.opset_import.extend(opsets)
    del small.metadata_props[:]
    return small.SerializeToString(deterministic=True)


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, pictures: NDArray[np.uint8]) -> None:
        self._batches: Iterator[dict[str, NDArray[np.uint8]]] = iter(
            {"image": picture[None]} for picture in pictures
        )

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        return next(self._batches, None)


def _no_advice(record: logging.LogRecord) -> bool:
    """Drop the library's advice to do what is done here already."""
    return "pre-processing before quantization" not in record.getMessage()
