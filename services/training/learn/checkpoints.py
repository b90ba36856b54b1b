"""Keep what a fit stands at on disk: safetensors with JSON beside them, which run no code."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from services.training.models.model import FitFailed, Tensors

SEPARATOR: Final = ":"  # of a group and a tensor's name


def write_checkpoint(
    path: Path, groups: dict[str, dict[str, Tensor]], said: dict[str, str]
) -> None:
    """Write groups of tensors, whole or not at all. Raises OSError that names the file."""
    tensors = {
        f"{group}{SEPARATOR}{name}": value.detach().to("cpu", copy=True).contiguous()
        for group, values in groups.items()
        for name, value in values.items()
    }
    part = path.with_suffix(".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, part, said)
        os.replace(part, path)
    except (OSError, SafetensorError) as error:
        with suppress(OSError):
            part.unlink()
        raise OSError(f"checkpoint {path} cannot be written: {error}") from error


def read_checkpoint(path: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, str]]:
    """Return groups and words as they were written. Raises FitFailed where it is no checkpoint."""
    groups: dict[str, dict[str, Tensor]] = {}
    try:
        with safe_open(path, "pt") as found:
            for key in found.keys():  # noqa: SIM118  # it is no dict
                group, _, name = key.partition(SEPARATOR)
                groups.setdefault(group, {})[name] = found.get_tensor(key)
            return groups, found.metadata() or {}
    except SafetensorError as error:
        raise FitFailed(f"{path} is no checkpoint: {error}; remove it to begin") from error


def tensors_of(module: nn.Module) -> Tensors:
    """Return a module's weights, for Model.tensors."""
    return {name: value.detach().cpu().numpy() for name, value in module.state_dict().items()}


def restore_module(module: nn.Module, tensors: Tensors) -> None:
    """Give a module the weights of another, from Model.restore; it scores from now on.

    Raises ValueError where they are of another shape.
    """
    weights = {name: torch.from_numpy(np.array(value)) for name, value in tensors.items()}
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"weights do not fit: {error}") from error
    module.eval()
