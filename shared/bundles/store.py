"""Keep the model bundles that were published, in a folder or at any fsspec URL. Blocking.

    URL/published/SPACE/…               the bundle's files, manifest.json among them
    URL/published/SPACE/published.json  Publication; written last

A bundle counts once its publication is there, and is never changed. Which of them is served says
Redis (shared/catalogue/active_bundle.py). What lies here is not trusted: who loads it verifies it.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from freshet.settings import setting
from shared.catalogue import stores
from shared.catalogue.stores import open_store

log = logging.getLogger(__name__)

PUBLICATION: Final = "published.json"
_BELOW: Final = "published"
_SMALL_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class BundleStoreSettings:
    """Where published bundles lie."""

    url: str = setting(
        "FRESHET_BUNDLES",
        ".freshet/bundles",
        form=stores.FORM,
        help="where published bundles lie: a folder, or a URL such as s3://bucket/bundles",
    )


class Publication(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a published bundle without loading it."""

    space: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
    dim: Annotated[int, Meta(ge=1, le=4096)]
    published_ms: int
    files: tuple[Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}$")], ...]
    evaluation: Mapping[str, Any] = {}  # the manifest's
    forced: bool = False  # published although the gate refused it


class AlreadyPublished(ValueError):
    """A space is published once: its vectors may be compared with each other for ever."""


class BundleStore:
    """The bundles that were published at a URL. Opening it reads nothing; all raise OSError."""

    def __init__(self, url: str) -> None:
        self._files = open_store(url, _BELOW)

    def publish(self, folder: Path, publication: Publication) -> None:
        """Copy a bundle's files; what a killed publisher left of them is replaced.

        Raises AlreadyPublished.
        """
        files, space = self._files, publication.space
        if self.find(space) is not None:
            raise AlreadyPublished(f"{space} is published already; give the bundle another space")
        files.remove(space)
        try:
            with files.filling(space, last=PUBLICATION) as target:
                for name in publication.files:
                    shutil.copyfile(folder / name, target / name)
                (target / PUBLICATION).write_bytes(msgspec.json.encode(publication))
        except BaseException:
            files.remove(space)
            raise

    def find(self, space: str) -> Publication | None:
        """Return a space's publication, None where there is none that can be read."""
        try:
            raw = self._files.read(f"{space}/{PUBLICATION}", _SMALL_BYTES)
        except FileNotFoundError:
            return None
        try:
            found = msgspec.json.decode(raw, type=Publication)
        except (msgspec.DecodeError, ValueError) as error:
            log.warning("%s/%s is left out: %s", space, PUBLICATION, error)
            return None
        return found if found.space == space else None

    def publications(self) -> list[Publication]:
        """Return all that are there, the oldest first."""
        found = [one for space in self._files.folders() if (one := self.find(space)) is not None]
        return sorted(found, key=lambda one: one.published_ms)

    def withdraw(self, space: str) -> None:
        """Take back what was published and never ordered, if it is there."""
        self._files.remove(space)

    @contextmanager
    def lent(self, publication: Publication) -> Iterator[Path]:
        """Lend a local folder with a bundle's files."""
        folder, copied = self._files.local(publication.space, publication.files)
        try:
            yield folder
        finally:
            if copied:
                shutil.rmtree(folder, ignore_errors=True)
