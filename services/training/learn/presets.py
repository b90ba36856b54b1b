"""Say what the quick preset takes away from a configuration: time, and nothing else."""

from __future__ import annotations

from typing import Final, Protocol, TypeVar

import msgspec

from services.training.learn.loop import Training
from services.training.models.model import Preset

QUICK_S: Final = 25 * 60  # of epochs, so that a fit ends within half an hour


class Trained(Protocol):
    """A configuration that says how weights are fitted."""

    @property
    def training(self) -> Training:
        """Return that."""


T = TypeVar("T", bound=Trained)


def by_preset(config: T, preset: Preset) -> T:
    """Return the configuration as the preset has it."""
    if preset == "full":
        return config
    training = msgspec.structs.replace(config.training, time_limit_s=QUICK_S)
    changed: T = msgspec.structs.replace(config, training=training)  # type: ignore[type-var]
    return changed
