"""Servers for the suites. Nothing starts before a test asks for it.

`kafka` and `valkey` hand out addresses of servers that live as long as the test session and are
emptied for each test; `fresh_kafka` and `fresh_valkey` are a test's own, to kill and restart.
"""

from __future__ import annotations

import gc
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import redis
from hypothesis import HealthCheck, settings

from services.cli.up.kafka import EmbeddedKafka
from services.cli.up.process import Guarded, answers, await_ready, free_port
from services.cli.up.valkey import EmbeddedValkey
from tests import servers

# Debian's, for instance, instead of the Valkey that the project brings along.
REDIS_PROGRAM = os.environ.get("FRESHET_TEST_REDIS")

# How busy the machine is decides no property. On CI the same examples each time: a new failing one
# is found by whoever runs the tests, not on somebody else's change.
settings.register_profile(
    "freshet",
    deadline=None,
    derandomize=servers.ON_CI,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("freshet")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what is to run on a Redis server that is not installed; on CI it fails instead."""
    if REDIS_PROGRAM and not servers.ON_CI and shutil.which(REDIS_PROGRAM) is None:
        for item in items:
            item.add_marker(pytest.mark.skip(f"{REDIS_PROGRAM} is not installed"))


@pytest.fixture(scope="session")
def shared_folder() -> Path:
    """Tools and data outside the project. Absent: a failure on CI, a skip elsewhere."""
    folder = servers.shared_folder_path()
    if not folder.is_dir():
        message = f"{folder} is not there (FRESHET_TEST_SHARED names another)"
        if servers.ON_CI:
            pytest.fail(message)
        pytest.skip(message)
    return folder


@pytest.fixture(scope="session")
def kafka_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedKafka]:
    """Run the session's broker."""
    broker = EmbeddedKafka(tmp_path_factory.mktemp("kafka"), record_aot=True)
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
async def kafka(kafka_broker: EmbeddedKafka) -> str:
    """Return the `host:port` of the session's broker, which holds no topics."""
    await servers.delete_all_topics(kafka_broker.bootstrap)
    return kafka_broker.bootstrap


@pytest.fixture
def fresh_kafka(tmp_path: Path) -> Iterator[EmbeddedKafka]:
    """Run a broker of the test's own (1 to 2 s): it may be stopped, killed and started again."""
    broker = EmbeddedKafka(tmp_path / "kafka")
    broker.start()
    yield broker
    broker.kill()


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedValkey]:
    """Run the session's Redis server."""
    server = EmbeddedValkey(tmp_path_factory.mktemp("valkey"), program=REDIS_PROGRAM)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def valkey(valkey_server: EmbeddedValkey) -> str:
    """Return the URL of the session's Redis server, which is empty and holds no scripts."""
    with redis.Redis.from_url(valkey_server.url) as client:
        client.flushall()
        client.script_flush()
    return valkey_server.url


@pytest.fixture
def fresh_valkey(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    """Run a Redis server of the test's own: it may be stopped, killed and started again."""
    server = EmbeddedValkey(tmp_path / "valkey", program=REDIS_PROGRAM)
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="session")
def s3_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Run a stand-in for S3; returns its port on the loopback."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(port)]
    server = Guarded(command, tmp_path_factory.mktemp("s3") / "s3.log")
    question = b"GET /moto-api/ HTTP/1.0\r\n\r\n"
    await_ready(server, lambda: bool(answers(server.pid, port, question)), 60)
    yield port
    server.kill()


@pytest.fixture
def collector() -> Iterator[None]:
    """Let a test, or a service in it, tune Python's garbage collector; later tests have theirs."""
    thresholds = gc.get_threshold()
    yield
    gc.enable()
    gc.unfreeze()
    gc.set_threshold(*thresholds)


@pytest.fixture
def start_service(tmp_path: Path) -> Iterator[Callable[..., servers.Service]]:
    """Return a function that starts a service: `start_service("sessions", {"REDIS_URL": …})`."""
    started: list[servers.Service] = []

    def start(name: str, environ: Mapping[str, str]) -> servers.Service:
        snapshots = {"FRESHET_SNAPSHOTS": str(tmp_path / "snapshots")}
        folder = tmp_path / f"service-{len(started)}"
        service = servers.Service(name, {**snapshots, **environ}, folder)
        started.append(service)
        return service

    yield start
    for service in started:
        service.kill()
