"""`freshet models build` where its packages are missing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import typer

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


def test_another_cnn_is_exported_where_pytorch_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    began: list[tuple[str, list[str]]] = []

    def become(command: str, arguments: list[str], environ: object) -> None:
        began.append((command, arguments))
        raise SystemExit  # as the process would go on as another

    monkeypatch.setattr("services.cli.training.become", become)
    with pytest.raises(SystemExit):
        build_models(tmp_path, "torchvision:resnet50", random_weights=True)
    told = [str(tmp_path), "--image", "torchvision:resnet50", "--random-weights"]
    assert began == [("build-bundle", told)]


def test_random_weights_are_of_another_cnn(tmp_path: Path) -> None:
    with pytest.raises(typer.BadParameter, match="of a CNN that --image names"):
        build_models(tmp_path, random_weights=True)
