"""Read pictures from storage: files and fsspec URLs below roots that settings allow. Blocking."""

from __future__ import annotations

import errno
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import fsspec

from services.embedding.pictures.fetch_errors import Forbidden, Missing, TooLarge, Unreachable
from shared.catalogue.stores import check_url

# What is one file's own: nothing is wrong with those beside it.
_ITS_OWN: Final = (errno.ENAMETOOLONG, errno.EACCES, errno.EPERM)


class Storage:
    """Reads `file:///…` and fsspec URLs such as `s3://bucket/…`."""

    def __init__(self, roots: Sequence[str]) -> None:
        """`roots`: for example `/srv/pictures`, `file:///srv/pictures` or `s3://shop/pictures`."""
        self._roots = [_split_root(root) for root in roots]

    def read(self, uri: str, max_bytes: int) -> bytes:
        """Read a whole file. Raises Forbidden, Missing, TooLarge, Unreachable."""
        scheme, path = _split(uri)
        roots = [root for root_scheme, root in self._roots if root_scheme == scheme]
        data = (
            _read_local(path, roots, max_bytes)
            if scheme == "file"
            else _read_remote(scheme, path, roots, max_bytes)
        )
        if len(data) > max_bytes:
            raise TooLarge(f"file has more than {max_bytes} bytes")
        return data


def check_root(root: str) -> None:
    """Raise ValueError for a root below which nothing here could read a picture."""
    check_url(root)
    try:
        _split_root(root)
    except Forbidden as error:
        raise ValueError(str(error)) from None


def _split_root(root: str) -> tuple[str, str]:
    """Cut a root into scheme and plain path; without a scheme it is a folder."""
    return _split(root if "://" in root else Path(root).absolute().as_uri())


def _split(uri: str) -> tuple[str, str]:
    """Cut into scheme and plain path; refuse what two readers could read differently."""
    if "::" in uri:
        raise Forbidden("chained storage URLs are not read")
    parts = urlsplit(uri)
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise Forbidden("storage URLs have no query, fragment or credentials")
    path = (
        unquote(parts.netloc + parts.path) if parts.scheme == "file" else parts.netloc + parts.path
    )
    if parts.scheme == "file" and parts.netloc:
        raise Forbidden("file URLs are written file:///path")
    if any(part in (".", "..") for part in path.split("/")) or "\0" in path or "\\" in path:
        raise Forbidden("storage paths have no . or .. parts")
    return parts.scheme, path


def _read_local(path: str, roots: Sequence[str], max_bytes: int) -> bytes:
    try:
        real = Path(path).resolve(strict=True)  # a link below the root may lead out of it
        if not any(real.is_relative_to(Path(root).resolve()) for root in roots):
            raise Forbidden("file is not below an allowed folder")
        if not stat.S_ISREG(real.stat().st_mode):
            raise Forbidden("not a regular file")
        with real.open("rb") as file:
            return file.read(max_bytes + 1)
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
        # Outside the roots nobody may learn what exists.
        if not any(Path(path).is_relative_to(root) for root in roots):
            raise Forbidden("file is not below an allowed folder") from None
        if isinstance(error, (FileNotFoundError, NotADirectoryError, RuntimeError)):
            raise Missing("no such file") from None
        failed = Missing if error.errno in _ITS_OWN else Unreachable
        raise failed(f"file cannot be read: {error.strerror}") from None


def _read_remote(scheme: str, path: str, roots: Sequence[str], max_bytes: int) -> bytes:
    if not any(path.startswith(root.rstrip("/") + "/") for root in roots):
        raise Forbidden("path is not below an allowed storage root")
    try:
        with fsspec.filesystem(scheme).open(path, "rb") as file:
            data: bytes = file.read(max_bytes + 1)
            return data
    except FileNotFoundError:
        raise Missing("no such object") from None
    except PermissionError:  # S3's answer for what is not there, too, if it may not be listed
        raise Missing("object may not be read") from None
    except Exception as error:  # each file system has its own; what may pass is tried again
        raise Unreachable(f"{scheme} cannot be read: {str(error)[:200]}") from None
