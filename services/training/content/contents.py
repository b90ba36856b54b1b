"""Hold what items look like and say, as vectors of a bundle's encoders; keep it on disk.

Legend: n items of a dataset; E, F, d: columns of texts, pictures and fused vectors of the bundle.
"""

from __future__ import annotations

import os
from dataclasses import astuple, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from services.training.content.attributes import attributes_of
from services.training.data.dataset import Dataset
from services.training.data.histories import Floats
from shared.bundles.content import text_of

DAY_ZERO: Final = Path(__file__).parents[3] / "deploy" / "models" / "day-zero"

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class ItemContents:
    """What is known of each item before anybody chose it; a row is zero where there is nothing."""

    texts: Floats  # (n, E) unit rows
    pictures: Floats  # (n, F) as the CNN gives them, colour moments behind
    fused: Floats  # (n, d) unit rows in the bundle's serving space
    has_text: Mask  # (n,)
    has_picture: Mask  # (n,)
    attributes: Floats  # (n, a) flags of categories, numbers standardised

    def save(self, file: Path) -> None:
        """Write it whole or not at all, floats in half their bytes."""
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(f".{os.getpid()}.part")
        with part.open("wb") as stream:
            np.savez(
                stream,
                **{
                    name: value.astype(np.float16) if value.dtype == np.float32 else value
                    for name, value in zip(self.__slots__, astuple(self), strict=True)
                },
            )
        part.replace(file)

    @classmethod
    def load(cls, file: Path) -> Self:
        """Read what `save` wrote."""
        with np.load(file) as arrays:
            return cls(
                **{
                    name: arrays[name].astype(np.float32)
                    if arrays[name].dtype == np.float16
                    else arrays[name]
                    for name in cls.__slots__
                }
            )


def contents_of(data: Dataset, bundle: Path = DAY_ZERO, cache: Path | None = None) -> ItemContents:
    """Return the items' contents, encoded once for a bundle, texts and pictures; then from a file.

    cache: a folder, default `freshet/contents` in the user's cache folder. Encoding takes about
    10 ms a picture and 2 ms a text on a core; reading takes neither ONNX Runtime nor a bundle but
    for its manifest. Raises BadBundle.
    """
    file = (cache or cache_folder()) / f"{data.name}-{content_key(data, bundle)}.npz"
    if not file.exists():
        from services.training.content.encode import encoded

        texts, pictures, fused, has_text, has_picture = encoded(data, bundle)
        ItemContents(texts, pictures, fused, has_text, has_picture, attributes_of(data)).save(file)
    return ItemContents.load(
        file
    )  # so that a first run sees the same rounded numbers as later ones


def content_key(data: Dataset, bundle: Path) -> str:
    """Hash what the contents are made from: the bundle, and each item's text and picture."""
    digest = blake2b((bundle / "manifest.json").read_bytes(), digest_size=8)
    for item_id in data.item_ids:
        item, picture = data.items.get(item_id), data.pictures.get(item_id)
        for part in (
            item_id.encode(),
            b"" if item is None else text_of(item).encode(),
            b"" if item is None else repr(sorted(item.attributes.items())).encode(),
            b"" if picture is None else picture.read_bytes(),
        ):
            digest.update(len(part).to_bytes(8, "big"))  # so that no part can pass for another
            digest.update(part)
    return digest.hexdigest()


def cache_folder() -> Path:
    """Return the folder for what is encoded once."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "freshet" / "contents"
