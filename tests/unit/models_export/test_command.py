"""`freshet models build` where its packages are missing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from services.cli.commands.modelling import build_models
from services.cli.failures import Failed


def test_missing_package_is_named_with_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in [name for name in sys.modules if name.startswith("deploy.models.export")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(Failed, match=r"needs onnx; in the checkout: pip install -e '\.\[models\]'"):
        build_models(tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()
