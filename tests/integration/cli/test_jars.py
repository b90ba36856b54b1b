"""The embedded Kafka's jars: fetched once from a Maven repository, never used unless pinned."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from services.cli.up.jars import PINS, JarPin, JarsMissing, find_jars
from services.cli.up.pins import KAFKA_VERSION
from services.cli.up.process import free_port

pytestmark = pytest.mark.integration

CONTENTS = {"one": b"first jar", "two": b"second jar"}


def _pin(name: str, classifier: str = "") -> JarPin:
    sha256 = hashlib.sha256(CONTENTS[name]).hexdigest()
    return JarPin("org.example", name, "1.0", classifier, sha256)


class Repository(ThreadingHTTPServer):
    """A Maven repository on loopback; `files` by path."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/maven2"


class _Handler(BaseHTTPRequestHandler):
    server: Repository

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        found = self.server.files.get(self.path)
        self.send_response(200 if found is not None else 404)
        self.send_header("Content-Length", str(len(found or b"")))
        self.end_headers()
        self.wfile.write(found or b"")

    def log_message(self, format: str, *arguments: object) -> None:
        """Write nothing: pytest shows what matters."""


@pytest.fixture
def repository() -> Iterator[Repository]:
    with Repository() as server:
        server.files = {
            "/maven2/org/example/one/1.0/one-1.0.jar": CONTENTS["one"],
            "/maven2/org/example/two/1.0/two-1.0-linux_amd64.jar": CONTENTS["two"],
        }
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"XDG_CACHE_HOME": str(tmp_path / "cache")}


def test_jars_are_fetched_once_and_found_again(
    repository: Repository, environ: dict[str, str]
) -> None:
    pins = (_pin("one"), _pin("two", "linux_amd64"))
    told: list[str] = []

    jars = find_jars(environ, pins=pins, repository=repository.url, tell=told.append)
    asked = len(repository.asked)
    again = find_jars(environ, pins=pins, repository=repository.url, tell=told.append)

    assert [jar.name for jar in jars] == ["one-1.0.jar", "two-1.0-linux_amd64.jar"]
    assert [jar.read_bytes() for jar in again] == [CONTENTS["one"], CONTENTS["two"]]
    assert len(repository.asked) == asked
    assert told == [f"fetching Apache Kafka {KAFKA_VERSION} (2 jars, once)"]


def test_another_jar_under_the_pinned_name_is_refused_and_not_kept(
    repository: Repository, environ: dict[str, str]
) -> None:
    repository.files["/maven2/org/example/one/1.0/one-1.0.jar"] = b"something else"

    with pytest.raises(JarsMissing, match=r"one-1\.0\.jar as fetched is not the pinned one"):
        find_jars(environ, pins=(_pin("one"),), repository=repository.url)

    left = [path for path in Path(environ["XDG_CACHE_HOME"]).rglob("*") if path.is_file()]
    assert left == []


def test_a_jar_changed_in_the_cache_is_fetched_again(
    repository: Repository, environ: dict[str, str]
) -> None:
    (jar,) = find_jars(environ, pins=(_pin("one"),), repository=repository.url)
    jar.write_bytes(b"changed")

    (mended,) = find_jars(environ, pins=(_pin("one"),), repository=repository.url)

    assert mended.read_bytes() == CONTENTS["one"]


def test_without_the_repository_the_ways_out_are_named(environ: dict[str, str]) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"

    with pytest.raises(JarsMissing, match="Connection refused") as refused:
        find_jars(environ, pins=(_pin("one"),), repository=nobody)

    for way in ("Maven repository", "KAFKA_HOME", "KAFKA_BOOTSTRAP_SERVERS"):
        assert way in str(refused.value)


def test_a_folder_of_jars_spares_every_fetch(tmp_path: Path) -> None:
    libs = tmp_path / "kafka" / "libs"
    libs.mkdir(parents=True)
    for name in ("kafka_2.13-4.3.1.jar", "scala-library-2.13.18.jar"):
        (libs / name).touch()

    jars = find_jars({"KAFKA_HOME": str(tmp_path / "kafka")}, repository="http://127.0.0.1:9")

    assert [jar.name for jar in jars] == ["kafka_2.13-4.3.1.jar", "scala-library-2.13.18.jar"]


def test_a_folder_without_kafka_is_refused(tmp_path: Path) -> None:
    with pytest.raises(JarsMissing, match=r"has no libs/kafka_2\.13-4\.\*\.jar"):
        find_jars({"KAFKA_HOME": str(tmp_path)})


@pytest.mark.shared
def test_the_released_jars_are_the_pinned_ones(shared_folder: Path) -> None:
    libs = shared_folder / "kafka" / "libs"

    found = {jar.name: hashlib.sha256(jar.read_bytes()).hexdigest() for jar in libs.glob("*.jar")}

    assert found == {pin.file_name: pin.sha256 for pin in PINS}


def test_tests_run_on_the_pinned_version() -> None:
    home = os.environ.get("KAFKA_HOME")
    jars = find_jars() if home else [Path(pin.file_name) for pin in PINS]

    assert f"kafka_2.13-{KAFKA_VERSION}.jar" in [jar.name for jar in jars]
