from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from shared.bundles.bundle import ENCODER_FILES, BadBundle, Bundle, describe
from shared.bundles.encoders import Encoders
from shared.bundles.fusion import Fusion
from shared.bundles.golden import check_golden


@pytest.fixture
def copy(day_zero: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(day_zero, tmp_path / "bundle"))


def rewrite(folder: Path, **changes: Any) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | changes))


def test_the_day_zero_bundle_is_whole(bundle: Bundle) -> None:
    assert (bundle.space, bundle.dim) == ("day-zero-1", 96)
    assert (bundle.image_width, bundle.text_width, bundle.max_tokens) == (1286, 384, 256)
    assert set(bundle.files) == set(ENCODER_FILES)


@pytest.mark.parametrize("name", ENCODER_FILES)
def test_one_flipped_bit_is_refused(copy: Path, name: str) -> None:
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(data)
    with pytest.raises(BadBundle, match=rf"{name} is not the file that the manifest names"):
        Bundle.load(copy)


@pytest.mark.parametrize("name", ENCODER_FILES)
def test_a_longer_a_shorter_and_a_missing_file_are_refused(copy: Path, name: str) -> None:
    data = (copy / name).read_bytes()
    for other in (data + b"x", data[:-1], b""):
        (copy / name).write_bytes(other)
        with pytest.raises(BadBundle, match=name):
            Bundle.load(copy)
    (copy / name).unlink()
    with pytest.raises(BadBundle, match=f"{name}: No such file"):
        Bundle.load(copy)


def test_a_folder_without_manifest_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BadBundle, match=r"no manifest\.json"):
        Bundle.load(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 3}', '{"format": 2}', "null", "\ufffd"])
def test_other_manifests_are_refused(copy: Path, text: str) -> None:
    (copy / "manifest.json").write_text(text)
    with pytest.raises(BadBundle, match=r"manifest\.json"):
        Bundle.load(copy)


@pytest.mark.parametrize(
    "changes",
    [
        {"space": "a/b"},
        {"space": ""},
        {"space": 7},
        {"dim": "many"},
        {"image": {}},
        {"files": {}},
        {"files": {name: {"bytes": 10**12, "sha256": ""} for name in ENCODER_FILES}},
    ],
)
def test_a_manifest_with_bad_values_is_refused(copy: Path, changes: dict[str, Any]) -> None:
    rewrite(copy, **changes)
    with pytest.raises(BadBundle):
        Bundle.load(copy)


def test_a_bundle_that_gives_other_vectors_than_it_should_is_refused(
    bundle: Bundle, encoders: Encoders, fusion: Fusion, copy: Path
) -> None:
    assert check_golden(bundle, encoders, fusion) > 0.98
    other = [vector[::-1] for vector in bundle.golden["text_vectors"]]
    rewrite(copy, golden={**bundle.golden, "text_vectors": other})
    with pytest.raises(BadBundle, match="gives other vectors here"):
        check_golden(Bundle.load(copy), encoders, fusion)


def test_a_fusion_of_another_width_is_refused(
    encoders: Encoders, fusion: Fusion, copy: Path
) -> None:
    rewrite(copy, dim=64)
    with pytest.raises(BadBundle, match="has dim 96, not 64"):
        check_golden(Bundle.load(copy), encoders, fusion)


def test_what_onnx_runtime_cannot_read_is_a_bad_bundle(copy: Path) -> None:
    for name in ("image.onnx", "tokenizer.json"):
        manifest = json.loads((copy / "manifest.json").read_text())
        kept = (copy / name).read_bytes()
        (copy / name).write_bytes(b"not what it says")
        rewrite(copy, files=manifest["files"] | {name: describe(b"not what it says")})
        with pytest.raises(BadBundle, match=f"{name} cannot be loaded"):
            Encoders(Bundle.load(copy), threads=1)
        (copy / name).write_bytes(kept)
        (copy / "manifest.json").write_text(json.dumps(manifest))
