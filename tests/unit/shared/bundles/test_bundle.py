from __future__ import annotations

import dataclasses
import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.bundles.bundle import (
    ENCODER_FILES,
    BadBundle,
    Bundle,
    arrays_in,
    describe,
    write_files,
)
from shared.bundles.encoders import Encoders
from shared.bundles.fusion import Fusion
from shared.bundles.golden import check_golden


@pytest.fixture
def copy(day_zero: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(day_zero, tmp_path / "bundle"))


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


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


def test_written_again_a_link_to_the_same_bytes_stays_and_another_is_never_written_through(
    tmp_path: Path,
) -> None:
    encoders, folder = tmp_path / "encoders", tmp_path / "trained"
    encoders.mkdir()
    folder.mkdir()
    for name in ("text.onnx", "image.onnx"):
        (encoders / name).write_bytes(b"as before")
        (folder / name).symlink_to(f"../encoders/{name}")

    write_files(folder, {}, {"text.onnx": b"as before", "image.onnx": b"another"})

    assert (folder / "text.onnx").is_symlink()
    assert (encoders / "image.onnx").read_bytes() == b"as before"
    assert not (folder / "image.onnx").is_symlink()
    assert (folder / "image.onnx").read_bytes() == b"another"


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
        {"evaluation": ["none"]},
        {"files": {}},
        {"files": {name: {"bytes": 10**12, "sha256": ""} for name in ENCODER_FILES}},
    ],
)
def test_a_manifest_with_bad_values_is_refused(copy: Path, changes: dict[str, Any]) -> None:
    rewrite(copy, **changes)
    with pytest.raises(BadBundle):
        Bundle.load(copy)


@pytest.mark.parametrize(
    ("kept", "shape"),
    [
        (None, "()"),
        ("none", "(0,)"),
        (2.0, "()"),
        ([1.0], "(1,)"),
        ([[1.0, 2.0]], "(1, 2)"),
        ([[1.0], [1.0, 2.0]], "(0,)"),
        ([[{}]], "(0,)"),
    ],
)
def test_golden_vectors_are_rows_of_so_many_numbers(bundle: Bundle, kept: Any, shape: str) -> None:
    changed = dataclasses.replace(bundle, golden={"rows": kept, "good": [[1, 2, 3], [4, 5, 6]]})
    assert changed.golden_rows("good", 3, 2).tolist() == [[1, 2, 3], [4, 5, 6]]
    with pytest.raises(BadBundle, match=re.escape(f"golden rows must be (n, 3), were {shape}")):
        changed.golden_rows("rows", 3)
    with pytest.raises(BadBundle, match=re.escape("golden good must be (4, 3), were (2, 3)")):
        changed.golden_rows("good", 3, 4)


@pytest.mark.parametrize("data", [b"", b"garbage", b"PK\x03\x04", npy(np.zeros(3))])
def test_what_is_no_archive_of_arrays_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"^cannot be read: "):
        arrays_in(data, ("keys",))


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
