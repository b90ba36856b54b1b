"""Lay out what `freshet up` runs: ports, folders and environment of every child."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Final

from freshet.addresses import is_local
from services.cli.addresses import (
    RUN_FILE,
    SERVICES,
    Addresses,
    Running,
    named,
    write_running,
)
from services.cli.up.jars import cache_folder
from services.cli.up.kafka import EmbeddedKafka
from services.cli.up.lock import take_lock
from services.cli.up.ports import Ports
from services.cli.up.service import ServiceChild
from services.cli.up.supervisor import POLL_S, Child, Supervisor
from services.cli.up.valkey import EmbeddedValkey

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
DAY_ZERO_BUNDLE: Final = Path(__file__).resolve().parents[3] / "deploy" / "models" / "day-zero"
# How a system elsewhere is reached and guarded: this one is this machine's alone.
OF_OTHERS: Final = ("FRESHET_TLS_", "FRESHET_TOKEN")
KEPT: Final = ("kafka", "valkey", "snapshots", "bundles", "logs")  # under the data folder


def empty(folder: Path) -> None:
    """Delete what `freshet up` keeps under `folder`, and nothing else."""
    for name in KEPT:
        shutil.rmtree(folder / name, ignore_errors=True)


def build_system(
    folder: Path,
    ports: Mapping[str, int],
    environ: Mapping[str, str],
    tell: Callable[[str], None],
) -> tuple[Addresses, Supervisor]:
    """Lay out the system under `folder`; nothing is started. `ports` by name, as Ports chooses."""
    folder = folder.resolve()
    servers: list[Child] = []
    kafka = named("KAFKA_BOOTSTRAP_SERVERS", environ)
    if kafka is None:
        kafka = f"127.0.0.1:{ports['KAFKA']}"
        servers.append(
            EmbeddedKafka(
                folder / "kafka",
                ports["KAFKA"],
                log=folder / "logs" / "kafka.log",
                environ=environ,
                # Services make topics, as they must be.
                settings={"auto.create.topics.enable": "false"},
                record_aot=True,
                tell=tell,
            )
        )
    redis = named("REDIS_URL", environ)
    if redis is None:
        redis = f"redis://127.0.0.1:{ports['VALKEY']}/0"
        servers.append(
            EmbeddedValkey(folder / "valkey", ports["VALKEY"], log=folder / "logs" / "valkey.log")
        )
    health = {name: ports[f"FRESHET_{name.upper()}_HEALTH_PORT"] for name in SERVICES}
    addresses = Addresses(
        kafka=kafka,
        redis=redis,
        ranking=f"127.0.0.1:{ports['FRESHET_RANKING_PORT']}",
        embedding=f"127.0.0.1:{ports['FRESHET_EMBEDDING_PORT']}",
        gateway=f"127.0.0.1:{ports['FRESHET_GATEWAY_PORT']}",
        health={name: f"127.0.0.1:{port}" for name, port in health.items()},
        own=True,
        bundles=environ.get("FRESHET_BUNDLES", str(folder / "bundles")),
    )
    settings = service_environment(folder, ports, environ, addresses)
    services = [
        ServiceChild(name, health[name], folder / "logs" / f"{name}.log", settings)
        for name in ("embedding", "sessions", "ranking", "gateway")
    ]
    return addresses, Supervisor([servers, services], tell)


def service_environment(
    folder: Path, ports: Mapping[str, int], environ: Mapping[str, str], addresses: Addresses
) -> dict[str, str]:
    """Return the variables of the services; of `environ` what is of no system elsewhere."""
    return {
        "FRESHET_SNAPSHOTS": str(folder / "snapshots"),
        "FRESHET_BUNDLE": str(DAY_ZERO_BUNDLE),
        "FRESHET_INSTANCE_ID": _instance_id(folder),
        # The page clicks for whoever sees it: that is this machine alone.
        "FRESHET_CONSOLE": "write" if is_local(environ.get("FRESHET_BIND", "127.0.0.1")) else "off",
        **{name: value for name, value in environ.items() if not name.startswith(OF_OTHERS)},
        **{name: str(port) for name, port in ports.items() if name.startswith("FRESHET_")},
        "KAFKA_BOOTSTRAP_SERVERS": addresses.kafka,
        "REDIS_URL": addresses.redis,
        "FRESHET_EMBEDDING_ADDRESS": addresses.embedding,
        "FRESHET_RANKING_ADDRESS": addresses.ranking,
        "FRESHET_CONSOLE_HEALTH_ADDRESSES": ",".join(
            addresses.health[name] for name in ("sessions", "embedding", "ranking")
        ),
        "FRESHET_BUNDLES": addresses.bundles,
    }


def _instance_id(folder: Path) -> str:
    """Name sessions' worker, so that Kafka hands it its partitions at once after a crash."""
    return f"up-{blake2b(str(folder).encode(), digest_size=6).hexdigest()}"


@contextmanager
def run_system(
    folder: Path,
    *,
    fresh: bool = False,
    environ: Mapping[str, str] = os.environ,
    tell: Callable[[str], None] = lambda line: None,
    progress: Callable[[list[str]], None] = lambda waiting_for: None,
) -> Iterator[Running]:
    """Run everything under `folder` while the body runs: ready when it begins, gone at its end.

    `tell` hears in plain words what happens to children, from a thread of its own; `progress`
    hears again and again who is waited for. Raises AlreadyRunning, BadSetting, JarsMissing,
    StartFailed.
    """
    with take_lock(folder), Ports(cache_folder(environ) / "ports") as ports, _ending_by_signals():
        chosen = ports.choose(environ)
        addresses, supervisor = build_system(folder, chosen, environ, tell)
        if fresh:  # only once it is sure that there is something to start
            empty(folder)
        stop = threading.Event()

        def note(*, ready: bool) -> Running:
            running = Running(addresses, ready, os.getpid(), supervisor.processes())
            write_running(folder, running)
            return running

        def watch() -> None:
            known = supervisor.processes()
            while not stop.wait(POLL_S):
                supervisor.tend()
                if supervisor.processes() != known:
                    known = note(ready=True).processes

        watcher = threading.Thread(target=watch, name="supervisor")
        try:
            supervisor.start(lambda: progress(supervisor.waiting_for()))
            running = note(ready=True)
            watcher.start()
            yield running
        finally:
            _ignore_signals()
            stop.set()
            if watcher.is_alive():
                watcher.join()
            supervisor.stop()
            (folder / RUN_FILE).unlink(missing_ok=True)


@contextmanager
def _ending_by_signals() -> Iterator[None]:
    """Let SIGTERM and a closed terminal end the body as Ctrl-C does, by KeyboardInterrupt.

    They become a Ctrl-C rather than its exception: asyncio has its own way to end by that signal.
    """
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        signal.signal(number, lambda *_: signal.raise_signal(signal.SIGINT))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ignore_signals() -> None:
    """A second Ctrl-C must not leave half the children behind; stopping is bounded anyway."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
