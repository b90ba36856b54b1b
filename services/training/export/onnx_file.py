"""Write a module as one ONNX file, as services run it: no data beside it, any first axis."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import onnx
import torch
from torch import Tensor, nn
from torch.export import Dim

OPSET: Final = 18


def write_onnx(
    module: nn.Module,
    path: Path,
    inputs: Mapping[str, Tensor],
    output: str,
    *,
    recurrent: bool = False,
) -> None:
    """Trace the module, in the order of its inputs, with examples whose first axis may be any.

    recurrent: whether it has such layers, whose first axis only the older exporter leaves free.
    """
    module = module.cpu().eval()
    # what they leave as it is, and that flops of Triton, which images lack, are not counted
    for name in ("torch.onnx", "onnxscript", "onnx_ir", "torch.utils.flop_counter"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # the exporter's own, of PyTorch's ways to come
        any_first: dict[str, Any] = (
            {"dynamic_axes": {name: {0: "rows"} for name in (*inputs, output)}}
            if recurrent
            else {"dynamic_shapes": tuple({0: Dim.DYNAMIC} for _ in inputs)}
        )
        torch.onnx.export(
            module,
            tuple(inputs.values()),
            path,
            input_names=list(inputs),
            output_names=[output],
            opset_version=OPSET,
            external_data=False,
            verbose=False,
            dynamo=not recurrent,
            **any_first,
        )
    _forget_lines_of_code(path)


def _forget_lines_of_code(path: Path) -> None:
    """Leave out where each node was traced: the same weights shall be the same bytes everywhere."""
    model = onnx.load(path)
    for node in model.graph.node:
        node.ClearField("doc_string")
        node.ClearField("metadata_props")
    onnx.save(model, path)
