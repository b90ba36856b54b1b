"""How `freshet up` lays out what it runs."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from services.cli.up.kafka import new_cluster_id, server_properties
from services.cli.up.process import StartFailed
from services.cli.up.system import USUAL_PORTS, build_system, choose_ports, empty


def _listening() -> socket.socket:
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    return taken


def test_every_port_is_another() -> None:
    ports = choose_ports({})

    assert set(ports) == set(USUAL_PORTS)
    assert len(set(ports.values())) == len(ports)


def test_a_port_that_is_asked_for_and_taken_is_refused() -> None:
    with _listening() as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartFailed, match=f"FRESHET_RANKING_PORT={port} is taken"):
            choose_ports({"FRESHET_RANKING_PORT": str(port)})


def test_port_nought_takes_any() -> None:
    assert choose_ports({"FRESHET_RANKING_PORT": "0"})["FRESHET_RANKING_PORT"] > 0


def test_a_port_that_is_none_is_refused() -> None:
    with pytest.raises(StartFailed, match="FRESHET_RANKING_PORT must be a port, was 'high'"):
        choose_ports({"FRESHET_RANKING_PORT": "high"})


def test_ones_own_servers_are_not_started(tmp_path: Path) -> None:
    environ = {"KAFKA_BOOTSTRAP_SERVERS": "k:1", "REDIS_URL": "redis://r:2/0"}

    addresses, supervisor = build_system(tmp_path, environ, print)

    assert (addresses.kafka, addresses.redis) == ("k:1", "redis://r:2/0")
    assert supervisor.names() == ["embedding", "sessions", "ranking"]


def test_servers_come_before_services(tmp_path: Path) -> None:
    _, supervisor = build_system(tmp_path, {}, print)

    assert supervisor.names() == ["kafka", "valkey", "embedding", "sessions", "ranking"]


def test_emptying_leaves_what_is_not_freshets(tmp_path: Path) -> None:
    for name in ("kafka", "valkey", "snapshots", "logs", "photos"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()

    empty(tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_the_broker_is_on_loopback_and_bounded(tmp_path: Path) -> None:
    settings = server_properties(tmp_path, 1, 2)

    assert settings["listeners"] == "PLAINTEXT://127.0.0.1:1,CONTROLLER://127.0.0.1:2"
    assert int(settings["log.retention.bytes"]) < 2**30


def test_cluster_ids_never_look_like_options() -> None:
    assert not any(new_cluster_id().startswith("-") for _ in range(500))
