"""Read a model bundle: a folder whose manifest names every file with size and sha256.

Nothing of it reaches ONNX Runtime, numpy or the tokenizer before its bytes are verified, and they
get the verified bytes, never the path: a file swapped in between would otherwise be loaded unseen.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FORMAT = 1
FILES = ("image.onnx", "text.onnx", "tokenizer.json", "fusion.npz")
_MAX_FILE_BYTES = 2 * 1024**3
_SPACE = re.compile(r"[A-Za-z0-9._-]{1,64}")


class BadBundle(ValueError):
    """The folder is no bundle that may be loaded; the text names file and reason."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A verified bundle in memory."""

    space: str
    dim: int  # of the serving vectors
    image_width: int  # columns of Encoders.encode_images
    text_width: int  # columns of Encoders.encode_texts
    max_tokens: int
    golden: Mapping[str, Any]  # inputs and the vectors that they must give: see golden.py
    files: Mapping[str, bytes] = field(repr=False)

    @classmethod
    def load(cls, folder: str | Path) -> Bundle:
        """Read and verify a bundle. Raises BadBundle."""
        folder = Path(folder)
        manifest = _manifest(folder)
        try:
            listed = manifest["files"]
            files = {name: _verified(folder / name, listed[name]) for name in FILES}
            return cls(
                space=_space(folder, manifest["space"]),
                dim=int(manifest["dim"]),
                image_width=int(manifest["image"]["width"]),
                text_width=int(manifest["text"]["width"]),
                max_tokens=int(manifest["text"]["max_tokens"]),
                golden=manifest["golden"],
                files=files,
            )
        except BadBundle:
            raise
        except (KeyError, TypeError, ValueError) as error:
            raise BadBundle(f"{folder}/manifest.json: {type(error).__name__}: {error}") from None


def describe(data: bytes) -> dict[str, Any]:
    """Return a file's entry in the manifest."""
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((folder / "manifest.json").read_bytes())
    except OSError as error:
        raise BadBundle(f"{folder}: no manifest.json ({error.strerror})") from None
    except ValueError as error:
        raise BadBundle(f"{folder}/manifest.json is not JSON: {error}") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise BadBundle(f"{folder}/manifest.json must have format {FORMAT}")
    return manifest


def _space(folder: Path, name: object) -> str:
    """Return the name if a topic and a key may be made of it."""
    if not isinstance(name, str) or not _SPACE.fullmatch(name):
        raise BadBundle(f"{folder}/manifest.json: space must match {_SPACE.pattern}, was {name!r}")
    return name


def _verified(path: Path, entry: Mapping[str, Any]) -> bytes:
    size = int(entry["bytes"])
    if size > _MAX_FILE_BYTES:
        raise BadBundle(f"{path}: {size} bytes are over {_MAX_FILE_BYTES}")
    try:
        with path.open("rb") as file:
            data = file.read(size + 1)
    except OSError as error:
        raise BadBundle(f"{path}: {error.strerror}") from None
    if describe(data) != {"bytes": size, "sha256": entry["sha256"]}:
        raise BadBundle(f"{path} is not the file that the manifest names (size or sha256 differs)")
    return data
