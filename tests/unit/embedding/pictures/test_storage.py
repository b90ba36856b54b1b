from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import fsspec
import pytest

from services.embedding.pictures.fetch import Fetcher, Forbidden, Missing, TooLarge, Unreachable
from services.embedding.pictures.storage import Storage


def raising(error: Exception) -> Callable[..., NoReturn]:
    def fail(*_: object) -> NoReturn:
        raise error

    return fail


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    (folder / "below").mkdir(parents=True)
    (folder / "below" / "a b.png").write_bytes(b"picture")
    (tmp_path / "pictures-secret").mkdir()
    (tmp_path / "pictures-secret" / "key").write_bytes(b"secret")
    (tmp_path / "key").write_bytes(b"secret")
    return folder


@pytest.mark.parametrize("written", [Path.as_uri, str])
async def test_a_file_below_a_root_is_read(pictures: Path, written: Callable[[Path], str]) -> None:
    async with Fetcher([], [written(pictures)]) as fetcher:
        assert await fetcher.fetch((pictures / "below" / "a b.png").as_uri()) == b"picture"


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "{root}/../key",
        "{root}/below/../../key",
        "{root}/%2e%2e/key",
        "{root}/..%2fkey",
        "{root}-secret/key",
        "{root}/link",
        "{root}/linked/key",
        "{root}/no-such/../../key",
        "{root}/../no-such",
        "/no/such/file",
        "/{long}",
        "{root}/pipe",
        "{root}/below",
        "{root}/below/a.png?x=1",
        "{root}/below/a.png#x",
        "{root}/.\\key",
    ],
)
def test_nothing_beside_a_root_is_read(pictures: Path, path: str) -> None:
    (pictures / "link").symlink_to(pictures.parent / "key")
    (pictures / "linked").symlink_to(pictures.parent)
    os.mkfifo(pictures / "pipe")
    with pytest.raises(Forbidden):
        Storage([pictures.as_uri()]).read(
            f"file://{path.format(root=pictures, long='a' * 300)}", 100
        )


@pytest.mark.parametrize(
    "uri", ["file:etc/passwd", "file://host{file}", "FILE://{file}", "{file}", "local://{file}"]
)
def test_other_spellings_of_a_file_url_are_refused(pictures: Path, uri: str) -> None:
    file = pictures / "below" / "a b.png"
    with pytest.raises(Forbidden):
        Storage([(pictures / "elsewhere").as_uri()]).read(uri.format(file=file), 100)


def test_without_roots_no_file_is_read(pictures: Path) -> None:
    with pytest.raises(Forbidden):
        Storage([]).read((pictures / "below" / "a b.png").as_uri(), 100)


def test_a_root_may_be_a_link_itself(pictures: Path) -> None:
    (pictures.parent / "current").symlink_to(pictures)
    root = pictures.parent / "current"
    assert Storage([root.as_uri()]).read((root / "below" / "a b.png").as_uri(), 100) == b"picture"


def test_a_missing_file_below_a_root_is_missing(pictures: Path) -> None:
    with pytest.raises(Missing):
        Storage([pictures.as_uri()]).read((pictures / "none.png").as_uri(), 100)


def test_a_file_that_may_not_be_read_or_cannot_be_named_is_missing(
    pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = Storage([pictures.as_uri()])
    with pytest.raises(Missing):
        storage.read((pictures / ("a" * 300)).as_uri(), 100)
    monkeypatch.setattr(Path, "open", raising(PermissionError(errno.EACCES, "no")))
    with pytest.raises(Missing):
        storage.read((pictures / "below" / "a b.png").as_uri(), 100)


def test_storage_that_fails_is_unreachable(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "open", raising(OSError(errno.EIO, "I/O error")))
    with pytest.raises(Unreachable, match="I/O error"):
        Storage([pictures.as_uri()]).read((pictures / "below" / "a b.png").as_uri(), 100)


def test_a_file_over_the_cap_is_too_large(pictures: Path) -> None:
    with pytest.raises(TooLarge, match="more than 6 bytes"):
        Storage([pictures.as_uri()]).read((pictures / "below" / "a b.png").as_uri(), 6)


@pytest.fixture
def bucket() -> Storage:
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/shop/pictures/a.png", b"picture")
    memory.pipe_file("/shop/pictures-secret/key", b"secret")
    memory.pipe_file("/shop/key", b"secret")
    return Storage(["memory://shop/pictures"])


def test_an_object_below_a_storage_root_is_read(bucket: Storage) -> None:
    assert bucket.read("memory://shop/pictures/a.png", 100) == b"picture"
    with pytest.raises(Missing):
        bucket.read("memory://shop/pictures/none.png", 100)
    with pytest.raises(TooLarge):
        bucket.read("memory://shop/pictures/a.png", 6)


def test_an_object_that_may_not_be_read_is_missing_and_its_storage_is_there(
    bucket: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = fsspec.filesystem("memory")
    monkeypatch.setattr(memory, "open", raising(PermissionError("Forbidden")))
    with pytest.raises(Missing):
        bucket.read("memory://shop/pictures/a.png", 100)
    monkeypatch.setattr(memory, "open", raising(ConnectionError("reset")))
    with pytest.raises(Unreachable):
        bucket.read("memory://shop/pictures/a.png", 100)


@pytest.mark.parametrize(
    "uri",
    [
        "memory://shop/key",
        "memory://shop/pictures-secret/key",
        "memory://shop/pictures/../key",
        "memory://shop/pictures",
        "simplecache::memory://shop/pictures/a.png",
        "zip://a.png::memory://shop/pictures/a.zip",
        "s3://shop/pictures/a.png",
        "memory://shop/pictures/a.png?versionId=1",
        "memory://user@shop/pictures/a.png",
    ],
)
def test_nothing_beside_a_storage_root_is_read(bucket: Storage, uri: str) -> None:
    with pytest.raises(Forbidden):
        bucket.read(uri, 100)
