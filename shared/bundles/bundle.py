"""Read a model bundle: a folder whose manifest names every file with size and sha256.

Nothing of it reaches ONNX Runtime, numpy or the tokenizer before its bytes are verified, and they
get the verified bytes, never the path: a file swapped in between would otherwise be loaded unseen.

The encoders are always there. A trained bundle (format 2) may bring, in float32, rows of unit
length (n items, d numbers of the space, t of tower vectors, b histories of l items, f features):

    tower.onnx     content (n, d) → tower (n, t): where an item stands among behaviour
    tower.npz      keys uint64 (m,) ascending, vectors float16 (m, t): the same, as learnt
    session.onnx   items (b, l, t) with zeros in front, mask (b, l) → query (b, t): what comes next
    ranker.onnx    (n, f) → scores (n,), or contributions (n, p) (shared/bundles/ranker.py)

and says in its manifest: `tower` (TowerShape), `evaluation` (figures, free), and beside the golden
outputs of the encoders `tower_vectors` and `session_queries` (shared/bundles/towers.py) and
`ranker_parts` (shared/bundles/ranker.py).
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final
from zipfile import BadZipFile

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

FORMATS: Final = (1, 2)
FORMAT: Final = FORMATS[-1]  # that is written
FUSION: Final = "fusion.npz"
ENCODER_FILES: Final = ("image.onnx", "text.onnx", "tokenizer.json", FUSION)
TOWER: Final = "tower.onnx"
TOWER_ROWS: Final = "tower.npz"
SESSION: Final = "session.onnx"
RANKER: Final = "ranker.onnx"
TRAINED_FILES: Final = (TOWER, TOWER_ROWS, SESSION, RANKER)
FILES: Final = (*ENCODER_FILES, *TRAINED_FILES)
MANIFEST: Final = "manifest.json"
GOLDEN_VECTORS: Final = ("text_vectors", "picture_vectors")  # of the encoders

_MAX_FILE_BYTES = 2 * 1024**3
_SPACE = re.compile(r"[A-Za-z0-9._-]{1,64}")


class BadBundle(ValueError):
    """The folder is no bundle that may be loaded; the text names file and reason."""


class TowerShape(msgspec.Struct, frozen=True):
    """What a bundle says of its towers: `tower` of the manifest."""

    dim: Annotated[int, Meta(ge=1, le=1024)]  # of tower vectors
    model: Annotated[str, Meta(min_length=1, max_length=64)]  # its name, for people
    length: Annotated[int, Meta(ge=1, le=200)] = 50  # items of a history that a session tower takes


@dataclass(frozen=True, slots=True)
class Bundle:
    """A verified bundle in memory, or those of its files that were asked for."""

    space: str
    dim: int  # of the serving vectors
    image_width: int  # columns of Encoders.encode_images
    text_width: int  # columns of Encoders.encode_texts
    max_tokens: int
    golden: Mapping[str, Any]  # inputs and the vectors that they must give
    files: Mapping[str, bytes] = field(repr=False)
    tower: TowerShape | None = None
    evaluation: Mapping[str, Any] = field(default_factory=dict)  # figures, as who trained it wrote

    @classmethod
    def load(cls, folder: str | Path, names: Collection[str] = FILES) -> Bundle:
        """Read and verify a bundle; names: of the files to read. Raises BadBundle."""
        folder = Path(folder)
        manifest = _manifest(folder)
        try:
            listed = manifest["files"]
            wanted = [name for name in names if name in ENCODER_FILES or name in listed]
            tower = manifest.get("tower")
            return cls(
                space=_space(folder, manifest["space"]),
                dim=int(manifest["dim"]),
                image_width=int(manifest["image"]["width"]),
                text_width=int(manifest["text"]["width"]),
                max_tokens=int(manifest["text"]["max_tokens"]),
                golden=manifest["golden"],
                files={name: _verified(folder / name, listed[name]) for name in wanted},
                tower=None if tower is None else msgspec.convert(tower, TowerShape),
                evaluation=msgspec.convert(manifest.get("evaluation", {}), dict[str, Any]),
            )
        except BadBundle:
            raise
        except (KeyError, TypeError, ValueError) as error:
            raise BadBundle(f"{folder}/{MANIFEST}: {type(error).__name__}: {error}") from None

    def golden_rows(self, name: str, columns: int, rows: int | None = None) -> NDArray[np.float32]:
        """Return what the manifest keeps of golden vectors, (n, columns); rows: n, where known.

        Raises BadBundle where they are of another shape, or not there.
        """
        try:
            kept = np.array(self.golden[name], np.float32)
        except (KeyError, TypeError, ValueError):
            kept = np.empty(0, np.float32)
        if kept.ndim != 2 or kept.shape[1] != columns or rows not in (None, len(kept)):
            wanted = f"({'n' if rows is None else rows}, {columns})"
            raise BadBundle(
                f"bundle {self.space}: golden {name} must be {wanted}, were {kept.shape}"
            )
        return kept


def arrays_in(npz: bytes, names: Collection[str]) -> dict[str, NDArray[Any]]:
    """Read arrays of a verified .npz by name. Raises ValueError, which goes on from its name."""
    try:
        with np.load(io.BytesIO(npz), allow_pickle=False) as file:
            lacking = [name for name in names if name not in file]
            found = {name: file[name] for name in names if name in file}
    except (ValueError, TypeError, OSError, EOFError, BadZipFile, zlib.error) as error:
        raise ValueError(f"cannot be read: {error}") from None
    if lacking:
        raise ValueError(f"lacks {', '.join(lacking)}")
    return found


def describe(data: bytes) -> dict[str, Any]:
    """Return a file's entry in the manifest."""
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def write_files(folder: Path, manifest: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
    """Write a bundle's files, then the manifest with their entries: before, it is no bundle.

    A file that holds the same already stays: it may be a link to another bundle's.
    """
    listed = {name: describe(data) for name, data in sorted(files.items())}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    for name, data in files.items():
        path = folder / name
        if not path.exists() or path.read_bytes() != data:
            path.unlink(missing_ok=True)
            path.write_bytes(data)
    (folder / MANIFEST).write_text(_readable({**manifest, "files": listed}) + "\n")


def _readable(manifest: Mapping[str, Any]) -> str:
    """Return JSON with one vector a line: the file is read by people too."""
    numbers = re.compile(r"\[\s+(-?\d[^\[\]]*?)\s+\]")
    return numbers.sub(
        lambda match: f"[{' '.join(match[1].split())}]", json.dumps(manifest, indent=1)
    )


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
    except OSError as error:
        raise BadBundle(f"{folder}: no {MANIFEST} ({error.strerror})") from None
    except ValueError as error:
        raise BadBundle(f"{folder}/{MANIFEST} is not JSON: {error}") from None
    if not isinstance(manifest, dict) or manifest.get("format") not in FORMATS:
        known = " or ".join(map(str, FORMATS))
        raise BadBundle(f"{folder}/{MANIFEST} must have format {known}")
    return manifest


def _space(folder: Path, name: object) -> str:
    """Return the name if a topic and a key may be made of it."""
    if not isinstance(name, str) or not _SPACE.fullmatch(name):
        raise BadBundle(f"{folder}/{MANIFEST}: space must match {_SPACE.pattern}, was {name!r}")
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
