"""Build EfficientNet-Lite0 (ImageNet-1k) as ONNX from its weights, batch normalisation folded in.

`image` uint8 RGB (n, 224, 224, 3) → `features` float32 (n, 1280), pooled, before the classifier.
Architecture: github.com/tensorflow/tpu, efficientnet/lite (no squeeze-and-excite, ReLU6
throughout).
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

from deploy.models.export.graph import Graph
from deploy.models.export.weights import Arrays
from shared.bundles.picture import SIDE

FEATURES = 1280
_STAGE_STRIDES = (1, 2, 2, 2, 1, 2, 1)
_BATCH_NORM_EPSILON = 1e-3


def image_model(weights: Arrays) -> onnx.ModelProto:
    """Build the float32 model."""
    network = _Network(weights)
    x = network.normalised("image")
    x = network.convolution(x, "_conv_stem", "_bn0", stride=2)
    stage, channels = -1, 0
    for block in range(
        1 + max(int(name.split(".")[1]) for name in weights if name.startswith("_blocks."))
    ):
        name = f"_blocks.{block}."
        out = len(weights[f"{name}_project_conv.weight"])
        # A block with other channels begins a stage; only it may have a stride.
        first = out != channels
        stage, channels = stage + first, out
        x = network.block(x, name, _STAGE_STRIDES[stage] if first else 1)
    assert stage == len(_STAGE_STRIDES) - 1
    x = network.convolution(x, "_conv_head", "_bn1")
    network.node("GlobalAveragePool", [x], "pooled")
    network.node("Flatten", ["pooled"], "features")
    return network.model(
        "efficientnet_lite0",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", FEATURES])],
    )


class _Network(Graph):
    """A graph that knows the sizes of its tensors, for padding and for shortcuts."""

    def __init__(self, weights: Arrays) -> None:
        super().__init__()
        self._weights = weights
        self._side: dict[str, int] = {}
        self._channels: dict[str, int] = {}
        self.constant("zero", np.float32(0))
        self.constant("six", np.float32(6))

    def normalised(self, image: str) -> str:
        """Map (n, h, w, 3) uint8 → (n, 3, h, w) float32 in about -1 … 1."""
        x = self.node("Cast", [image], "float", to=TensorProto.FLOAT)
        x = self.node("Sub", [x, self.constant("middle", np.float32(127))], "centred")
        x = self.node("Mul", [x, self.constant("scale", np.float32(1 / 128))], "scaled")
        x = self.node("Transpose", [x], "channels_first", perm=[0, 3, 1, 2])
        self._side[x], self._channels[x] = SIDE, 3
        return x

    def block(self, x: str, name: str, stride: int) -> str:
        """Add a block: expand, depthwise, project, and a shortcut where sizes allow."""
        y = x
        if f"{name}_expand_conv.weight" in self._weights:
            y = self.convolution(y, f"{name}_expand_conv", f"{name}_bn0")
        y = self.convolution(y, f"{name}_depthwise_conv", f"{name}_bn1", stride)
        y = self.convolution(y, f"{name}_project_conv", f"{name}_bn2", activate=False)
        if stride > 1 or self._channels[x] != self._channels[y]:
            return y
        shortcut = self.node("Add", [y, x], f"{name}shortcut")
        self._side[shortcut], self._channels[shortcut] = self._side[y], self._channels[y]
        return shortcut

    def convolution(
        self, x: str, name: str, norm: str, stride: int = 1, *, activate: bool = True
    ) -> str:
        """Add a convolution with its batch normalisation folded in, and ReLU6."""
        kernel, bias = self._folded(name, norm)
        size = kernel.shape[2]
        before, after, side = _same_padding(self._side[x], size, stride)
        y = self.node(
            "Conv",
            [x, self.constant(f"{name}.weight", kernel), self.constant(f"{name}.bias", bias)],
            f"{name}.out",
            kernel_shape=[size, size],
            strides=[stride, stride],
            pads=[before, before, after, after],
            group=self._channels[x] if "depthwise" in name else 1,
        )
        if activate:
            y = self.node("Clip", [y, "zero", "six"], f"{name}.relu6")
        self._side[y], self._channels[y] = side, len(kernel)
        return y

    def _folded(self, name: str, norm: str) -> tuple[np.ndarray, np.ndarray]:
        parts = ("weight", "bias", "running_mean", "running_var")
        gain, shift, mean, variance = (
            self._weights[f"{norm}.{part}"].astype(np.float64) for part in parts
        )
        scale = gain / np.sqrt(variance + _BATCH_NORM_EPSILON)
        kernel = self._weights[f"{name}.weight"] * scale[:, None, None, None]
        return kernel.astype(np.float32), (shift - mean * scale).astype(np.float32)


def _same_padding(side: int, size: int, stride: int) -> tuple[int, int, int]:
    """Return padding before and after, and the output's side, as TensorFlow's SAME does."""
    out = -(-side // stride)
    padding = max((out - 1) * stride + size - side, 0)
    return padding // 2, padding - padding // 2, out
