"""The embedded Kafka's jars: fetched once from a Maven repository, never used unless pinned."""

from __future__ import annotations

import gc
import hashlib
import os
from pathlib import Path

import pytest

from freshet.settings import BadSetting
from services.cli.up.jars import PINS, JarPin, JarsMissing, find_jars
from services.cli.up.pins import KAFKA_VERSION
from services.cli.up.process import free_port
from tests.integration.cli.maven import Repository
from tests.servers import ON_CI

pytestmark = pytest.mark.integration

CONTENTS = {"one": b"first jar", "two": b"second jar"}


def _pin(name: str, classifier: str = "") -> JarPin:
    sha256 = hashlib.sha256(CONTENTS[name]).hexdigest()
    return JarPin("org.example", name, "1.0", classifier, sha256)


@pytest.fixture
def environ(repository: Repository, tmp_path: Path) -> dict[str, str]:
    """Return where a fetch comes from and goes to; the repository holds two jars."""
    repository.files = {
        "/maven2/org/example/one/1.0/one-1.0.jar": CONTENTS["one"],
        "/maven2/org/example/two/1.0/two-1.0-linux_amd64.jar": CONTENTS["two"],
    }
    return {"XDG_CACHE_HOME": str(tmp_path / "cache"), "FRESHET_MAVEN": repository.url}


def test_jars_are_fetched_once_and_found_again(
    repository: Repository, environ: dict[str, str]
) -> None:
    pins = (_pin("one"), _pin("two", "linux_amd64"))
    told: list[str] = []

    jars = find_jars(environ, pins=pins, tell=told.append)
    asked = len(repository.asked)
    again = find_jars(environ, pins=pins, tell=told.append)

    assert [jar.name for jar in jars] == ["one-1.0.jar", "two-1.0-linux_amd64.jar"]
    assert [jar.read_bytes() for jar in again] == [CONTENTS["one"], CONTENTS["two"]]
    assert len(repository.asked) == asked
    assert told == [f"fetching Apache Kafka {KAFKA_VERSION} (2 jars, once)"]


def test_another_jar_under_the_pinned_name_is_refused_and_not_kept(
    repository: Repository, environ: dict[str, str]
) -> None:
    repository.files["/maven2/org/example/one/1.0/one-1.0.jar"] = b"something else"

    with pytest.raises(JarsMissing, match=r"one-1\.0\.jar as fetched is not the pinned one"):
        find_jars(environ, pins=(_pin("one"),))

    left = [path for path in Path(environ["XDG_CACHE_HOME"]).rglob("*") if path.is_file()]
    assert left == []


def test_a_jar_changed_in_the_cache_is_fetched_again(
    repository: Repository, environ: dict[str, str]
) -> None:
    (jar,) = find_jars(environ, pins=(_pin("one"),))
    jar.write_bytes(b"changed")

    (mended,) = find_jars(environ, pins=(_pin("one"),))

    assert mended.read_bytes() == CONTENTS["one"]


def test_without_the_repository_its_host_and_the_ways_out_are_named(
    environ: dict[str, str],
) -> None:
    nobody = {"FRESHET_MAVEN": f"http://buyer:s3cret@127.0.0.1:{free_port()}"}

    with pytest.raises(JarsMissing, match=r"127\.0\.0\.1 did not send one-1\.0\.jar") as refused:
        find_jars(environ | nobody, pins=(_pin("one"),))

    for words in ("Connection refused", "FRESHET_MAVEN", "KAFKA_HOME", "KAFKA_BOOTSTRAP_SERVERS"):
        assert words in str(refused.value)
    assert "s3cret" not in str(refused.value)


# jgo drops a refused answer without reading or closing it
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_repository_without_the_jar_is_named_without_its_password(
    repository: Repository, environ: dict[str, str]
) -> None:
    repository.files = {}
    with_password = {"FRESHET_MAVEN": repository.url.replace("//", "//buyer:s3cret@")}

    with pytest.raises(JarsMissing, match=r"127\.0\.0\.1 .* it has no such file") as refused:
        find_jars(environ | with_password, pins=(_pin("one"),))

    assert "s3cret" not in str(refused.value)
    del refused
    gc.collect()


@pytest.mark.parametrize(
    "url",
    ["repository.example/maven2", "ftp://repository.example", "x", "ftp://buyer:s3cret@a.example"],
)
def test_a_repository_that_is_no_web_address_is_refused(environ: dict[str, str], url: str) -> None:
    with pytest.raises(BadSetting, match="FRESHET_MAVEN must be an http or https URL") as refused:
        find_jars(environ | {"FRESHET_MAVEN": url}, pins=(_pin("one"),))
    assert "s3cret" not in str(refused.value)


def test_a_folder_of_jars_spares_every_fetch(tmp_path: Path) -> None:
    libs = tmp_path / "kafka" / "libs"
    libs.mkdir(parents=True)
    for name in ("kafka_2.13-4.3.1.jar", "scala-library-2.13.18.jar"):
        (libs / name).touch()

    jars = find_jars({"KAFKA_HOME": str(tmp_path / "kafka"), "FRESHET_MAVEN": "nowhere"})

    assert [jar.name for jar in jars] == ["kafka_2.13-4.3.1.jar", "scala-library-2.13.18.jar"]


def test_a_folder_without_kafka_is_refused(tmp_path: Path) -> None:
    with pytest.raises(JarsMissing, match=r"has no libs/kafka_2\.13-4\.\*\.jar"):
        find_jars({"KAFKA_HOME": str(tmp_path)})


def test_the_public_repository_holds_the_pinned_jars(tmp_path: Path) -> None:
    mirror = {name: os.environ[name] for name in ("FRESHET_MAVEN",) if name in os.environ}

    try:
        jars = find_jars({"XDG_CACHE_HOME": str(tmp_path), **mirror})
    except JarsMissing as missing:
        if ON_CI or "did not send" not in str(missing):
            raise
        pytest.skip(str(missing).splitlines()[0])

    assert [jar.name for jar in jars] == [pin.file_name for pin in PINS]
    assert f"kafka_2.13-{KAFKA_VERSION}.jar" in [jar.name for jar in jars]
