"""Every table of the committed files is of a model that there is, and says something of it."""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec
import pytest

from services.training.commands.choices import ModelChoices
from services.training.models.model import Preset
from services.training.models.registry import MODELS, model_type
from shared.inputs.refusals import BadInput

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


@pytest.mark.parametrize("preset", ["quick", "full"])
@pytest.mark.parametrize("name", MODELS)
def test_a_models_own_presets_are_within_its_bounds(name: str, preset: Preset) -> None:
    config_type = model_type(name).config_type
    preset_of_it = config_type.of(preset)
    assert msgspec.convert(msgspec.to_builtins(preset_of_it), config_type) == preset_of_it


@pytest.mark.parametrize(
    ("said", "refused"),
    [
        ("[sasrec.training]\nlearning_rate = -1", "`float` > 0.0 - at `$.training.learning_rate`"),
        ("[sasrec.training]\nepochs = 0", "`int` >= 1 - at `$.training.epochs`"),
        ("[sasrec.training]\nbetas = [0.9, 1]", "`float` < 1.0 - at `$.training.betas[1]`"),
        ("[sasrec.network]\ndropout = 1", "`float` < 1.0 - at `$.network.dropout`"),
        ("[sasrec.network]\ndim = 0", "`int` >= 1 - at `$.network.dim`"),
        ("[sasrec.network]\nheads = 5", "dim must be a multiple of heads, which are 5, was 64"),
        ("[movie]\nheads = 5", "width must be a multiple of heads, which are 5, was 64"),
        ("[two-tower]\nhidden = [64, 0]", "`int` >= 1 - at `$.hidden[1]`"),
        ("[ease]\nridge = -1.0", "`float` >= 0.0 - at `$.ridge`"),
    ],
)
def test_a_number_that_no_model_can_be_fitted_by_is_refused_with_its_place(
    tmp_path: Path, said: str, refused: str
) -> None:
    file = tmp_path / "c.toml"
    file.write_text(said)
    (name,) = tomllib.loads(said)
    with pytest.raises(BadInput) as caught:
        ModelChoices("quick", [file]).of(name)
    assert str(caught.value).startswith(f"{file}: [{name}]: ")
    assert refused in str(caught.value)
