"""Find the embedded Kafka's jars: a folder of one's own (KAFKA_HOME), the cache, or fetched by jgo.

What is fetched is a closed list: each jar by its coordinates, checked against its pinned sha256
before every start. Nothing is resolved, so nothing that is not on the list can come along.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from services.cli.up.pins import KAFKA_VERSION, PINNED

THREADS = 8  # the jars are small; the round trips are what takes time

WAYS_OUT = """\
Three ways out:
  1. run it once with a network that reaches the Maven repository; the jars are kept after that
  2. KAFKA_HOME=FOLDER, an unpacked Apache Kafka 4 (needs FOLDER/libs); then nothing is fetched
  3. KAFKA_BOOTSTRAP_SERVERS=HOST:PORT, a Kafka of your own; then none is started"""


class JarsMissing(RuntimeError):
    """The jars are unavailable, or not the pinned ones; the text says which, and the ways out."""


@dataclass(frozen=True, slots=True)
class JarPin:
    """One jar: Maven coordinates and the sha256 of its file, in hex."""

    group: str
    artifact: str
    version: str
    classifier: str
    sha256: str

    @property
    def file_name(self) -> str:
        """Return the name that Maven gives the file."""
        tail = f"-{self.classifier}" if self.classifier else ""
        return f"{self.artifact}-{self.version}{tail}.jar"


def _pins(text: str) -> tuple[JarPin, ...]:
    words = text.split()
    pairs = zip(words[::2], words[1::2], strict=True)
    pins = []
    for coordinates, sha256 in pairs:
        group, artifact, version, classifier = f"{coordinates}:".split(":")[:4]
        pins.append(JarPin(group, artifact, version, classifier, sha256))
    return tuple(pins)


PINS = _pins(PINNED)


def cache_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the folder for what is fetched or made once for all projects of this user."""
    base = environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "freshet"


def find_jars(
    environ: Mapping[str, str] = os.environ,
    *,
    pins: tuple[JarPin, ...] = PINS,
    repository: str | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> list[Path]:
    """Return the class path of the embedded Kafka, fetching what is not there yet.

    `repository` is another Maven repository's URL; `tell` hears of a fetch before it starts.
    Raises JarsMissing.
    """
    home = environ.get("KAFKA_HOME")
    if home:
        return _own_jars(Path(home))
    folder = cache_folder(environ) / f"kafka-{KAFKA_VERSION}"
    missing = [pin for pin in pins if not _is_pinned(folder / pin.file_name, pin)]
    if missing:
        tell(f"fetching Apache Kafka {KAFKA_VERSION} ({len(missing)} jars, once)")
        _fetch(missing, folder, repository)
    return [folder / pin.file_name for pin in pins]


def _own_jars(home: Path) -> list[Path]:
    jars = sorted((home / "libs").glob("*.jar"))
    if not any(jar.name.startswith("kafka_2.13-4.") for jar in jars):
        raise JarsMissing(f"KAFKA_HOME={home} has no libs/kafka_2.13-4.*.jar. {WAYS_OUT}")
    return jars


def _is_pinned(file: Path, pin: JarPin) -> bool:
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest() == pin.sha256
    except FileNotFoundError:
        return False


def _root_cause(error: BaseException) -> str:
    """Return the innermost error's text: requests wraps a failed look-up in three layers."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return str(error)


def _fetch(pins: list[JarPin], folder: Path, repository: str | None) -> None:
    """Download into a folder of this call's own, check, and only then move into the cache."""
    from jgo.maven import MavenContext  # slow to import and needed once in the life of a cache

    folder.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="fetching-", dir=folder))
    context = MavenContext(
        repo_cache=scratch,
        local_repos=[],
        remote_repos={"own": repository} if repository else None,
    )

    def one(pin: JarPin) -> None:
        component = context.project(pin.group, pin.artifact).at_version(pin.version)
        try:
            file = component.artifact(pin.classifier, "jar").resolve()
        except Exception as error:  # jgo lets requests' errors and its own RuntimeError through
            raise JarsMissing(
                f"Apache Kafka's jars are not here and could not be fetched "
                f"({pin.file_name}: {_root_cause(error)})\n{WAYS_OUT}"
            ) from error
        if not _is_pinned(file, pin):
            raise JarsMissing(
                f"{pin.file_name} as fetched is not the pinned one (sha256 {pin.sha256}): "
                f"a damaged download, or someone changed it. It was not used.\n{WAYS_OUT}"
            )
        file.replace(folder / pin.file_name)

    try:
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(one, pins))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
