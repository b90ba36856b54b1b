"""Every variant of the committed file is one that the models know."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from services.training.commands.choices import ModelChoices

FILE = Path(__file__).parents[2] / "docs" / "quality" / "ablations.toml"


@pytest.mark.parametrize("name", tomllib.loads(FILE.read_text()))
def test_a_variant_is_of_its_model_and_differs_from_it(name: str) -> None:
    choice = ModelChoices("quick", [FILE]).of(name)
    assert choice.config != ModelChoices("quick").of(choice.model).config
