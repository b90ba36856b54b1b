"""Export a CNN of torchvision as a bundle's picture model: pooled features, before the classifier.

`image` uint8 RGB (n, 224, 224, 3) → `features` float32 (n, F), in floats as it was trained.
"""

from __future__ import annotations

import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final
from urllib.error import URLError

import numpy as np
import onnxruntime
import torch
import torchvision
from torch import Tensor, nn

from deploy.models.export.build import PictureModel
from deploy.models.export.drawn import drawn_pictures
from services.training.export.onnx_file import write_onnx
from shared.bundles.picture import SIDE
from shared.inputs.refusals import BadInput

CLASSES: Final = 1000  # of ImageNet, whose names the bridge to texts is learnt from
FROM: Final = "torchvision:"
FARTHEST: Final = 1e-3  # of ONNX Runtime's features from PyTorch's, by their largest
_CHECKED_PICTURES, _CHECKED_SEED = 4, 3
# What torchvision's models of ImageNet are trained with, in 0-1: mean and spread of each colour.
_MEAN, _SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class _Features(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", 255 * torch.tensor(_MEAN)[:, None, None])
        self.register_buffer("spread", 255 * torch.tensor(_SPREAD)[:, None, None])

    mean: Tensor
    spread: Tensor

    def forward(self, image: Tensor) -> Tensor:
        pixels = image.permute(0, 3, 1, 2).float()
        features: Tensor = self.network((pixels - self.mean) / self.spread).flatten(1)
        return features


def picture_model(named: str, *, random_weights: bool = False) -> PictureModel:
    """Export `torchvision:NAME`, checked against PyTorch.

    Its weights come from torchvision's hub; random ones, drawn by a fixed seed, are for tests.
    Raises BadInput for a name that is none, weights out of reach, or no classifier of ImageNet.
    """
    name = named.removeprefix(FROM)
    if not named.startswith(FROM) or name not in torchvision.models.list_models(torchvision.models):
        raise BadInput(f"an image model must be {FROM}NAME, as torchvision names it, was {named}")
    network = _network(name, random_weights=random_weights)
    classifier = _cut(network, name)
    features = _Features(network).eval()
    model = _exported(features)
    pictures = drawn_pictures(_CHECKED_PICTURES, _CHECKED_SEED)
    with torch.inference_mode():
        expected = features(torch.from_numpy(pictures)).numpy()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    got = session.run(["features"], {"image": pictures})[0]
    apart = float(np.abs(got - expected).max() / np.abs(expected).max())
    if not apart <= FARTHEST:
        raise BadInput(f"{named}: what ONNX Runtime gives is {apart:.1e} from PyTorch's")
    said = f"{name} of torchvision" + (", random weights" if random_weights else "")
    return PictureModel(
        said, _space(name, random_weights), model, classifier, {"image_onnx_to_torch": apart}
    )


def _network(name: str, *, random_weights: bool) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        try:
            weights = None if random_weights else "DEFAULT"
            network: nn.Module = torchvision.models.get_model(name, weights=weights)
        except (URLError, OSError) as error:
            raise BadInput(f"{FROM}{name}: its weights cannot be had: {error}") from None
    return network.eval()


def _cut(network: nn.Module, name: str) -> np.ndarray:
    """Take the classifier off, and return its rows (1000, F)."""
    layers = [(at, layer) for at, layer in network.named_modules() if isinstance(layer, nn.Linear)]
    if not layers or layers[-1][1].out_features != CLASSES:
        raise BadInput(f"{FROM}{name}: must end with a linear classifier of {CLASSES} classes")
    at, classifier = layers[-1]
    parent, _, own = at.rpartition(".")
    setattr(network.get_submodule(parent), own, nn.Identity())
    rows: np.ndarray = classifier.weight.detach().numpy()
    return rows


def _exported(features: nn.Module) -> bytes:
    example = torch.zeros(2, SIDE, SIDE, 3, dtype=torch.uint8)
    with TemporaryDirectory() as folder:
        file = Path(folder) / "image.onnx"
        write_onnx(features, file, {"image": example}, "features")
        return file.read_bytes()


def _space(name: str, random_weights: bool) -> str:
    plain = re.sub(r"[^A-Za-z0-9._-]", "-", name)
    return f"{plain}-random-1" if random_weights else f"{plain}-1"
