"""Snapshots in an S3 of this machine: as in a folder, beside every proxy or through one."""

from __future__ import annotations

from collections.abc import Iterator

import fsspec
import pytest

from services.embedding.pictures.fetch import Fetcher, Missing
from shared.catalogue import snapshots
from shared.catalogue.snapshots import newest
from shared.catalogue.stores import open_store
from tests import servers
from tests.unit.embedding.snapshots.snapshot_kit import DIM, NOW, SPACE, write

pytestmark = pytest.mark.integration

URL = "s3://shop/snapshots"


@pytest.fixture
def s3(s3_port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Return an empty bucket's URL, and let the environment say where S3 is."""
    for name, value in servers.s3_environ(s3_port).items():
        monkeypatch.setenv(name, value)
    fsspec.filesystem("s3").clear_instance_cache()
    files = fsspec.filesystem("s3")
    if files.exists("shop"):
        files.rm("shop", recursive=True)
    files.mkdir("shop")
    yield URL
    fsspec.filesystem("s3").clear_instance_cache()


def test_snapshots_in_s3_are_written_found_and_given_up(s3: str) -> None:
    names = [write(s3, NOW + number) for number in range(3)]
    found = newest(s3, SPACE, DIM, NOW + 3)
    assert found is not None
    assert (found.name, found.manifest.count) == (names[2], 50)
    assert found.index.is_file()
    store = open_store(s3, SPACE)
    assert snapshots.current(store) == [names[2], names[1]]
    assert sorted(store.folders()) == names[1:]


def test_s3_on_this_machine_is_never_asked_through_a_proxy(
    s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    fsspec.filesystem("s3").clear_instance_cache()
    assert write(s3)


def test_s3_elsewhere_is_asked_through_the_proxy_that_the_environment_names(
    s3: str, s3_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://s3.shop.invalid")
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{s3_port}")
    fsspec.filesystem("s3").clear_instance_cache()
    # Who answers as a proxy knows no bucket by that host; nobody else knows the host at all.
    with pytest.raises(OSError, match="bucket does not exist"):
        write(s3)


async def test_a_picture_in_s3_is_read_below_its_root(s3: str) -> None:
    files = fsspec.filesystem("s3")
    files.pipe_file("shop/pictures/größe.png", b"picture")
    async with Fetcher([], ["s3://shop/pictures"]) as pictures:
        assert await pictures.fetch("s3://shop/pictures/größe.png") == b"picture"
        with pytest.raises(Missing):
            await pictures.fetch("s3://shop/pictures/none.png")
