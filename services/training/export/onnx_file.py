"""Write a module as one ONNX file, as services run it: no data beside it, any first axis."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn
from torch.export import Dim

OPSET: Final = 18


def write_onnx(module: nn.Module, path: Path, inputs: Mapping[str, Tensor], output: str) -> None:
    """Trace the module, in the order of its inputs, with examples whose first axis may be any."""
    module = module.cpu().eval()
    for name in ("torch.onnx", "onnxscript", "onnx_ir"):  # what they leave as it is
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # the exporter's own, of PyTorch's ways to come
        torch.onnx.export(
            module,
            tuple(inputs.values()),
            path,
            input_names=list(inputs),
            output_names=[output],
            dynamic_shapes=tuple({0: Dim.DYNAMIC} for _ in inputs),
            opset_version=OPSET,
            external_data=False,
            dynamo=True,
            verbose=False,
        )
