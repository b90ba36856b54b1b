"""Make choices of models from names, a preset and files of configurations."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from services.training.fits import Choice
from services.training.models.model import Preset
from services.training.models.registry import MODELS, model_type
from shared.inputs.refusals import BadInput

ALL: Final = "all"


class ModelChoices:
    """Makes choices by a preset and what files say differently."""

    def __init__(self, preset: Preset, files: Sequence[Path] = ()) -> None:
        """files: TOML with a table of differences for each name. Raises BadInput."""
        self._preset = preset
        self._files = files
        self._tables: dict[str, Any] = {}
        for file in files:
            self._tables = _changed(self._tables, _tables(file))
        for name in self._tables:
            self.model(name)

    def names(self, listed: str) -> list[str]:
        """Return the names of a comma list, or all: every model, then those of the files.

        Raises BadInput for one that is none.
        """
        names = [name.strip() for name in listed.split(",") if name.strip()]
        if not names:
            raise BadInput(f"--models must be names with commas between, or {ALL}, was {listed!r}")
        if names == [ALL]:
            return list(dict.fromkeys([*MODELS, *self._tables]))
        for name in names:
            self.model(name)
        return names

    def of(self, name: str) -> Choice:
        """Return the choice of a name: another name's model, as the files have it, but for its own.

        Raises BadInput, and ModuleNotFoundError of its needs.
        """
        model = self.model(name)
        config_type = model_type(model).config_type
        chosen = msgspec.to_builtins(config_type.of(self._preset))
        for said in dict.fromkeys((model, name)):
            table = {key: value for key, value in self._table(said).items() if key != "model"}
            chosen = _changed(chosen, table)
        try:
            return Choice(name, model, msgspec.convert(chosen, config_type))
        except msgspec.ValidationError as error:
            raise BadInput(f"{self._of_files(name)}{error}") from None

    def model(self, name: str) -> str:
        """Return which model a name stands for. Raises BadInput."""
        model: str = self._table(name).get("model", name)
        if model not in MODELS:
            raise BadInput(
                f"{self._of_files(name)}a model must be one of {', '.join(sorted(MODELS))},"
                f" was {model}"
            )
        return model

    def _of_files(self, name: str) -> str:
        """Return where the table of a name stands, to begin an error with; empty for none."""
        return f"{', '.join(map(str, self._files))}: [{name}]: " if name in self._tables else ""

    def _table(self, name: str) -> Mapping[str, Any]:
        table: Mapping[str, Any] = self._tables.get(name, {})
        return table


def _changed(preset: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    """Return a preset with what is said differently, within its tables too."""
    changed = dict(preset)
    for key, value in said.items():
        inner = preset.get(key)
        if isinstance(inner, Mapping) and isinstance(value, Mapping):
            value = _changed(inner, value)
        changed[key] = value
    return changed


def _tables(file: Path) -> dict[str, Any]:
    try:
        tables = tomllib.loads(file.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{file}: {error}") from None
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise BadInput(f"{file}: {name} must stand in a model's table, such as [sasrec]")
    return tables
