"""Ports are taken once, whoever else asks."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.cli.up.ports import USUAL_PORTS, Ports
from services.cli.up.process import StartFailed, free_port


@pytest.fixture
def ports(tmp_path: Path) -> Iterator[Ports]:
    with Ports(tmp_path) as made:
        yield made


@pytest.fixture
def taken() -> Iterator[int]:
    """Return a port on which somebody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_every_name_has_a_port_of_its_own(ports: Ports) -> None:
    chosen = ports.choose({})

    assert set(chosen) == set(USUAL_PORTS)
    assert len(set(chosen.values())) == len(chosen)


def test_two_that_start_at_once_never_choose_the_same_port(tmp_path: Path, ports: Ports) -> None:
    with Ports(tmp_path) as others:
        assert not set(ports.choose({}).values()) & set(others.choose({}).values())


def test_ports_are_given_back_at_the_end(tmp_path: Path) -> None:
    wanted = free_port()
    with Ports(tmp_path) as first:
        assert first.take(wanted) == wanted
    with Ports(tmp_path) as second:
        assert second.take(wanted) == wanted


def test_a_port_that_somebody_listens_on_is_replaced(ports: Ports, taken: int) -> None:
    assert ports.take(taken) != taken


def test_a_port_that_is_asked_for_and_taken_is_refused(ports: Ports, taken: int) -> None:
    with pytest.raises(StartFailed, match=f"FRESHET_RANKING_PORT={taken} is taken"):
        ports.choose({"FRESHET_RANKING_PORT": str(taken)})


def test_port_nought_takes_any(ports: Ports) -> None:
    assert ports.choose({"FRESHET_RANKING_PORT": "0"})["FRESHET_RANKING_PORT"] > 0


def test_a_port_that_is_none_is_refused(ports: Ports) -> None:
    with pytest.raises(StartFailed, match="FRESHET_RANKING_PORT must be a port, was 'high'"):
        ports.choose({"FRESHET_RANKING_PORT": "high"})
