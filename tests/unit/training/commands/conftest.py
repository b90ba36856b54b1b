"""A folder of films; the models are popularity and one that counts its fits."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from services.training.models import registry
from tests.unit.training.commands.folders import movielens
from tests.unit.training.commands.models import Firsts


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    module = ModuleType("firsts")
    module.Firsts = Firsts  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "services.training.models.firsts", module)
    for name in set(registry.MODELS) - {"popularity"}:
        monkeypatch.delitem(registry.MODELS, name)
    monkeypatch.setitem(registry.MODELS, "firsts", ("firsts", "Firsts"))
    monkeypatch.setattr(Firsts, "made", 0)
    monkeypatch.chdir(tmp_path)
    return movielens(tmp_path / "films")
