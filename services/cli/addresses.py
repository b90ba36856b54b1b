"""Find where everything is: by the environment, by what `freshet up` wrote, or the usual ports."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from freshet.addresses import ADDRESS, SERVERS
from freshet.settings import Form, checked
from services.cli.up.lock import holder_of

RUN_FILE: Final = "run.json"
DEMO: Final = "demo"  # the demo's folder under that of `freshet up`
SERVICES: Final = ("sessions", "embedding", "ranking", "gateway")
OWN_ADDRESSES: Final = ("KAFKA_BOOTSTRAP_SERVERS", "REDIS_URL", "FRESHET_RANKING_ADDRESS")
HEALTH_ADDRESSES: Final = {name: f"FRESHET_{name.upper()}_HEALTH_ADDRESS" for name in SERVICES}
ADDRESSES_OF_SERVICES: Final = (
    "FRESHET_RANKING_ADDRESS",
    "FRESHET_EMBEDDING_ADDRESS",
    "FRESHET_GATEWAY_ADDRESS",
    *HEALTH_ADDRESSES.values(),
)
USUAL_HEALTH: Final = {
    "sessions": "127.0.0.1:9101",
    "embedding": "127.0.0.1:9102",
    "ranking": "127.0.0.1:9103",
    "gateway": "127.0.0.1:9104",
}


class NothingRuns(RuntimeError):
    """No `freshet up` runs on the folder that was named."""


class Addresses(msgspec.Struct, frozen=True):
    """Addresses as `host:port`, `redis` as URL; `health` by service; `bundles` as folder or URL.

    own: the services are those of a `freshet up`, which ask for neither TLS nor tokens.
    """

    kafka: str = "127.0.0.1:9092"
    redis: str = "redis://127.0.0.1:6379/0"
    ranking: str = "127.0.0.1:50051"
    embedding: str = "127.0.0.1:50061"
    gateway: str = "127.0.0.1:8080"
    health: dict[str, str] = msgspec.field(default_factory=lambda: dict(USUAL_HEALTH))
    own: bool = False
    bundles: str = ".freshet/bundles"


class Running(msgspec.Struct, frozen=True):
    """What a running `freshet up` tells other commands (DIR/run.json)."""

    addresses: Addresses
    ready: bool
    pid: int
    processes: dict[str, int]  # by name


def default_data_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of `freshet up` when none is named."""
    return Path(environ.get("FRESHET_DATA", ".freshet"))


def write_running(folder: Path, running: Running) -> None:
    """Write run.json, all or nothing, for its owner alone: REDIS_URL may hold a password."""
    part = folder / f"{RUN_FILE}.part"
    part.unlink(missing_ok=True)  # what a killed one left may be readable by others
    with open(part, "xb", opener=partial(os.open, mode=0o600)) as file:
        file.write(msgspec.json.format(msgspec.json.encode(running)) + b"\n")
    part.replace(folder / RUN_FILE)


def read_running(folder: Path) -> Running | None:
    """Return what the `freshet up` on `folder` wrote, None when none runs there."""
    holder = holder_of(folder)
    if holder is None:
        return None
    try:
        written = msgspec.json.decode((folder / RUN_FILE).read_bytes(), type=Running)
    except FileNotFoundError:
        return None
    return written if written.pid == holder else None  # else a killed predecessor wrote it


def named(variable: str, environ: Mapping[str, str]) -> str | None:
    """Return the address that a variable holds, None where it is not set. Raises BadSetting."""
    text = environ.get(variable)
    return None if text is None else checked(variable, text, _form_of(variable))


def _form_of(variable: str) -> Form:
    if variable == "REDIS_URL":
        from shared.runtime.redis_client import REDIS_URL  # slow to import, and seldom needed

        return REDIS_URL
    return SERVERS if variable == "KAFKA_BOOTSTRAP_SERVERS" else ADDRESS


def find_addresses(folder: Path, environ: Mapping[str, str] = os.environ) -> Addresses:
    """Return where a client finds everything; where nothing else runs, a demo under `folder`.

    Raises BadSetting for a variable that holds no address, and NothingRuns for a folder that is
    not the usual one, on which no `freshet up` runs: what happens to listen at the usual ports is
    not what was meant.
    """
    running = read_running(folder) or read_running(folder / DEMO)
    elsewhere = any(name in environ for name in OWN_ADDRESSES)
    if running is None and not elsewhere and folder != default_data_folder(environ):
        raise NothingRuns(f"no `freshet up` runs on {folder}")
    known = running.addresses if running else Addresses()
    health = {
        name: named(variable, environ) or known.health[name]
        for name, variable in HEALTH_ADDRESSES.items()
    }
    return Addresses(
        kafka=named("KAFKA_BOOTSTRAP_SERVERS", environ) or known.kafka,
        redis=named("REDIS_URL", environ) or known.redis,
        ranking=named("FRESHET_RANKING_ADDRESS", environ) or known.ranking,
        embedding=named("FRESHET_EMBEDDING_ADDRESS", environ) or known.embedding,
        gateway=named("FRESHET_GATEWAY_ADDRESS", environ) or known.gateway,
        health=health,
        own=known.own and not any(name in environ for name in ADDRESSES_OF_SERVICES),
        bundles=environ.get("FRESHET_BUNDLES", known.bundles),
    )
