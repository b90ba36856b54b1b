"""Keep the files of snapshots in a local folder, or at any fsspec URL. Blocking.

Paths are relative to the store, with `/`. Both kinds of store raise OSError, whatever happens.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Protocol

import fsspec
from fsspec.core import split_protocol
from fsspec.implementations.local import LocalFileSystem

from freshet.prefix import PREFIX
from freshet.settings import Form


class Store(Protocol):
    """What both kinds of store do."""

    def size(self, path: str) -> int:
        """Return a file's bytes."""
        ...

    def read(self, path: str, at_most: int) -> bytes:
        """Read a small file. Raises OSError also when it has more bytes."""
        ...

    def replace(self, path: str, data: bytes) -> None:
        """Write a small file so that readers see the old one or the new one, whole."""
        ...

    def folders(self) -> list[str]:
        """Return the names of the folders at the top."""
        ...

    def remove(self, folder: str) -> None:
        """Remove a folder with all that is in it, if it is there."""
        ...

    def local(self, folder: str, files: Sequence[str]) -> tuple[Path, bool]:
        """Return a local folder with these files of a folder, and whether it is a copy.

        Who gets a copy removes it.
        """
        ...

    @contextmanager
    def filling(self, folder: str, last: str) -> Iterator[Path]:
        """Lend a local folder to be filled; what is in it at the end lies in the store for good.

        The file `last` is written after all others.
        """
        ...


def check_url(url: str) -> None:
    """Raise ValueError for a URL whose scheme, or one of a chain, nothing here speaks."""
    for part in url.split("::"):
        try:
            fsspec.get_filesystem_class(split_protocol(part)[0] or "file")
        except ImportError as error:
            raise ValueError(str(error)) from None


_OBJECT_STORES = {"s3": "s3fs", "gs": "gcsfs", "abfs": "adlfs"}  # by the package that speaks it
FORM: Final = Form(
    "a folder or a URL of a scheme that is known here, such as "
    + ", ".join(
        f"{scheme}://"
        for scheme in ("file", *_OBJECT_STORES)
        if find_spec(_OBJECT_STORES.get(scheme, "fsspec"))
    ),
    check_url,
)


def open_store(url: str, below: str) -> Store:
    """Return the store at a folder or fsspec URL, in a sub-folder of this shop. Raises OSError."""
    below = PREFIX + below
    try:
        files, path = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:  # a scheme that nothing here speaks
        raise OSError(f"{url}: {error}") from None
    if isinstance(files, LocalFileSystem):
        return LocalStore(Path(path) / below)
    return RemoteStore(files, f"{path.rstrip('/')}/{below}")


class LocalStore:
    """A folder. What was written survives a loss of power: files and folders are synced."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def size(self, path: str) -> int:
        return (self._root / path).stat().st_size

    def read(self, path: str, at_most: int) -> bytes:
        with (self._root / path).open("rb") as file:
            return _bounded(file.read(at_most + 1), path, at_most)

    def replace(self, path: str, data: bytes) -> None:
        handle, temporary = tempfile.mkstemp(dir=self._root, prefix=".new-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(0o644)
            Path(temporary).replace(self._root / path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        _sync(self._root)

    def folders(self) -> list[str]:
        if not self._root.is_dir():
            return []
        return [path.name for path in self._root.iterdir() if path.is_dir()]

    def remove(self, folder: str) -> None:
        shutil.rmtree(self._root / folder, ignore_errors=True)

    def local(self, folder: str, files: Sequence[str]) -> tuple[Path, bool]:
        return self._root / folder, False

    @contextmanager
    def filling(self, folder: str, last: str) -> Iterator[Path]:
        target = self._root / folder
        target.mkdir(parents=True)
        yield target
        for path in target.iterdir():
            _sync(path)
        _sync(target)
        _sync(self._root)


class RemoteStore:
    """Anything that fsspec speaks to. A put of one file is atomic there; there is no rename."""

    def __init__(self, files: Any, root: str) -> None:
        self._files = files
        self._root = root

    def size(self, path: str) -> int:
        with _as_os_errors():
            return int(self._files.size(f"{self._root}/{path}"))

    def read(self, path: str, at_most: int) -> bytes:
        with _as_os_errors():
            data = self._files.cat_file(f"{self._root}/{path}", start=0, end=at_most + 1)
        return _bounded(data, path, at_most)

    def replace(self, path: str, data: bytes) -> None:
        with _as_os_errors():
            self._files.pipe_file(f"{self._root}/{path}", data)

    def folders(self) -> list[str]:
        with _as_os_errors():
            self._files.invalidate_cache()
            if not self._files.isdir(self._root):
                return []
            entries = self._files.ls(self._root, detail=True)
        return [e["name"].rsplit("/", 1)[-1] for e in entries if e["type"] == "directory"]

    def remove(self, folder: str) -> None:
        with contextlib.suppress(OSError), _as_os_errors():
            self._files.rm(f"{self._root}/{folder}", recursive=True)

    def local(self, folder: str, files: Sequence[str]) -> tuple[Path, bool]:
        copy = Path(tempfile.mkdtemp(prefix="freshet-snapshot-"))
        try:
            with _as_os_errors():
                for name in files:
                    self._files.get_file(f"{self._root}/{folder}/{name}", str(copy / name))
        except BaseException:
            shutil.rmtree(copy, ignore_errors=True)
            raise
        return copy, True

    @contextmanager
    def filling(self, folder: str, last: str) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="freshet-snapshot-") as temporary:
            source = Path(temporary)
            yield source
            with _as_os_errors():
                self._files.makedirs(f"{self._root}/{folder}", exist_ok=True)
                for path in sorted(source.iterdir(), key=lambda path: path.name == last):
                    self._files.put_file(str(path), f"{self._root}/{folder}/{path.name}")


@contextmanager
def _as_os_errors() -> Iterator[None]:
    try:
        yield
    except OSError:
        raise
    except Exception as error:  # each back end has its own classes
        raise OSError(f"{type(error).__name__}: {error}") from error


def _bounded(data: bytes, path: str, at_most: int) -> bytes:
    if len(data) > at_most:
        raise OSError(f"{path} has more than {at_most} bytes")
    return data


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
