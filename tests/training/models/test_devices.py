"""What a fit ran on is told rightly: PyTorch takes the device given, nothing else does."""

from __future__ import annotations

import sys

import pytest

from services.training.models.registry import MODELS, model_type

ADDS_OTHERS = "blend"  # whose parts stand on the device


@pytest.mark.parametrize("name", MODELS)
def test_a_model_that_pytorch_fits_is_one_of_the_device(name: str) -> None:
    fitted_in = vars(sys.modules[model_type(name).fit.__module__])
    assert model_type(name).on_device == ("torch" in fitted_in or name == ADDS_OTHERS)
