"""Find the embedded Kafka's jars: a folder of one's own (KAFKA_HOME), the cache, or a fetch by jgo.

What is fetched is a closed list: each jar by its coordinates, checked against its pinned sha256
before every start. Nothing is resolved, so nothing that is not on the list can come along.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from freshet.settings import BadSetting, from_environment, setting, without_password
from services.cli.up.pins import KAFKA_VERSION, PINNED

if TYPE_CHECKING:
    from jgo.maven import MavenContext

THREADS = 8  # the jars are small; the round trips are what takes time

WAYS_OUT = """\
Three ways out:
  1. FRESHET_MAVEN=URL, a Maven repository or mirror that this machine reaches; the jars are kept
  2. KAFKA_HOME=FOLDER, an unpacked Apache Kafka 4 (needs FOLDER/libs); then nothing is fetched
  3. KAFKA_BOOTSTRAP_SERVERS=HOST:PORT, a Kafka of your own; then none is started"""


@dataclass(frozen=True, slots=True)
class JarSettings:
    """Where the embedded Kafka's jars come from."""

    home: str = setting(
        "KAFKA_HOME",
        "",
        help="an unpacked Apache Kafka 4 whose `libs/` is used as it is, instead of fetched jars",
    )
    repository: str = setting(
        "FRESHET_MAVEN",
        "",
        help="base URL of the Maven repository or mirror to fetch from; empty: the public one",
    )


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
    return (Path(base) if base else Path.home() / ".cache").absolute() / "freshet"


def find_jars(
    environ: Mapping[str, str] = os.environ,
    *,
    pins: tuple[JarPin, ...] = PINS,
    tell: Callable[[str], None] = lambda line: None,
) -> list[Path]:
    """Return the class path of the embedded Kafka, fetching what is not there yet.

    `tell` hears of a fetch before it starts. Raises JarsMissing and BadSetting.
    """
    settings = from_environment(JarSettings, environ)
    if settings.home:
        return _own_jars(Path(settings.home).absolute())
    folder = cache_folder(environ) / f"kafka-{KAFKA_VERSION}"
    missing = [pin for pin in pins if not _is_pinned(folder / pin.file_name, pin)]
    if missing:
        tell(f"fetching Apache Kafka {KAFKA_VERSION} ({len(missing)} jars, once)")
        _fetch(missing, folder, settings.repository)
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


def _fetch(pins: list[JarPin], folder: Path, repository: str) -> None:
    """Download into a folder of this call's own, check, and only then move into the cache.

    The threads are daemons: Ctrl-C does not wait for a repository that is slow to answer.
    """
    from jgo.maven import MavenContext  # slow to import and needed once in the life of a cache

    if repository and urlsplit(repository).scheme not in ("http", "https"):
        shown = without_password(repository)
        raise BadSetting(f"FRESHET_MAVEN must be an http or https URL, was {shown!r}")
    folder.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="fetching-", dir=folder))
    context = MavenContext(
        repo_cache=scratch,
        local_repos=[],
        remote_repos={"own": repository.rstrip("/")} if repository else None,
    )
    waiting: SimpleQueue[JarPin | None] = SimpleQueue()
    outcomes: SimpleQueue[Exception | None] = SimpleQueue()

    def fetch_waiting() -> None:
        while pin := waiting.get():
            try:
                _fetch_one(context, pin).replace(folder / pin.file_name)
                outcomes.put(None)
            except Exception as error:
                outcomes.put(error)

    for pin in [*pins, *[None] * THREADS]:
        waiting.put(pin)
    try:
        for _ in range(THREADS):
            Thread(target=fetch_waiting, name="fetching-jars", daemon=True).start()
        for _ in pins:
            if error := outcomes.get():
                raise error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _fetch_one(context: MavenContext, pin: JarPin) -> Path:
    """Return the file of a jar as fetched, which is the pinned one. Raises JarsMissing."""
    component = context.project(pin.group, pin.artifact).at_version(pin.version)
    try:
        file: Path = component.artifact(pin.classifier, "jar").resolve()
    except Exception as error:  # jgo lets requests' errors and its own RuntimeError through
        (url,) = context.remote_repos.values()
        raise JarsMissing(
            f"Apache Kafka's jars are not here, and {urlsplit(url).hostname} did not send "
            f"{pin.file_name}: {_root_cause(error)}\n{WAYS_OUT}"
        ) from error
    if not _is_pinned(file, pin):
        raise JarsMissing(
            f"{pin.file_name} as fetched is not the pinned one (sha256 {pin.sha256}): "
            f"a damaged download, or someone changed it. It was not used.\n{WAYS_OUT}"
        )
    return file


def _root_cause(error: BaseException) -> str:
    """Return the innermost error's text: requests wraps a failed look-up in three layers.

    jgo's own error says that the repository has no such file, and quotes its URL with password.
    """
    while inner := error.__cause__ or error.__context__:
        error = inner
    return "it has no such file" if type(error) is RuntimeError else str(error)
