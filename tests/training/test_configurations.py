"""Every table of the committed files is of a model that there is, and says something of it."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from services.training.commands.choices import ModelChoices

FILES = [
    Path(__file__).parents[2] / "docs" / "quality" / f"{name}.toml"
    for name in ("one-gpu", "two-cores", "ablations")
]


@pytest.mark.parametrize(
    ("file", "name"), [(file, name) for file in FILES for name in tomllib.loads(file.read_text())]
)
def test_a_table_changes_its_model(file: Path, name: str) -> None:
    choice = ModelChoices("quick", [file]).of(name)
    assert choice.config != ModelChoices("quick").of(choice.model).config
