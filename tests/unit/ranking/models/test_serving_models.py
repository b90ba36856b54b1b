from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from services.ranking.models.serving_models import ServingModels
from shared.bundles.bundle import MANIFEST, RANKER, SESSION, BadBundle, Bundle
from shared.bundles.towers import rounded
from tests.unit.shared.bundles.graphs import put_file, ranker_model, trained_bundle

PICKED = ["freshness", "session"]


def test_a_bundle_of_encoders_alone_brings_nothing(day_zero: Path) -> None:
    models = ServingModels.load(day_zero)
    assert (models.space, models.ranker, models.tower) == ("day-zero-1", None, None)


def test_only_what_serves_here_is_read(bundle: Bundle, tmp_path: Path) -> None:
    trained_bundle(tmp_path, bundle, more={RANKER: ranker_model([1.0, 1.0], PICKED)})
    for path in tmp_path.iterdir():
        if path.name not in (MANIFEST, SESSION, RANKER):
            path.unlink()
    models = ServingModels.load(tmp_path)
    assert models.ranker is not None
    assert models.tower is not None
    assert models.ranker.name.startswith("onnx-")
    assert (models.space, models.tower.model) == ("trained-1", "random")


@pytest.mark.parametrize("name", [RANKER, SESSION])
def test_a_file_that_is_not_what_the_manifest_names_is_refused(
    bundle: Bundle, tmp_path: Path, name: str
) -> None:
    trained_bundle(tmp_path, bundle, more={RANKER: ranker_model([1.0, 1.0], PICKED)})
    with (tmp_path / name).open("ab") as file:
        file.write(b"\0")
    with pytest.raises(BadBundle, match=f"{name} is not the file that the manifest names"):
        ServingModels.load(tmp_path)


def test_a_ranker_that_cannot_score_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    trained_bundle(tmp_path, bundle)
    put_file(tmp_path, RANKER, ranker_model([1.0], ["magic"]))
    with pytest.raises(BadBundle, match=r"ranker\.onnx: it wants features unknown here: magic"):
        ServingModels.load(tmp_path)


def test_a_tower_that_gives_something_else_here_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    trained_bundle(tmp_path, bundle)
    manifest = json.loads((tmp_path / MANIFEST).read_text())
    queries = np.array(manifest["golden"]["session_queries"])
    manifest["golden"]["session_queries"] = rounded(-queries)
    (tmp_path / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(BadBundle, match="gives other session_queries here"):
        ServingModels.load(tmp_path)
