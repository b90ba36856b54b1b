"""What a backend gets: one package that brings four others and works beside anything.

The wheel is built, and installed outside the checkout, from where it calls a running system.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from packaging.requirements import Requirement

import freshet
from services.cli.up.process import free_port
from tests.servers import ROOT, Service

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(300),  # builds, fetches, and starts everything
]

HERE = Path(__file__).parent
DEPENDENCIES = {"aiokafka", "grpcio", "msgspec", "protobuf"}
DECOY = 'raise ImportError("this is the shop\'s own package, which Freshet has no business in")\n'
TYPED = """
from freshet import Client, Event, Item
from freshet.sync import Publisher

async def titles(client: Client) -> list[str]:
    return [item.title for item in await client.recommend("ada", k=5)]

def publish(publisher: Publisher) -> str:
    publisher.many([Item(item_id="mug")])
    publisher.item(Item(item_id="mug"), backfil=True)
    return publisher.event(Event(user_id="ada", item_id="mug", type="click"))
"""


def run(*command: str | Path, cwd: Path, exit_code: int = 0) -> str:
    """Run a command outside the checkout; returns all that it said."""
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == exit_code, done.stdout
    return done.stdout


class Shop(NamedTuple):
    """A backend's folder, and the Python that has the wheel."""

    folder: Path
    python: Path


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy of what stands in the checkout."""
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("built")
    for name in ("freshet", "protos", "services", "shared"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("README.md", "pyproject.toml"):
        shutil.copy(ROOT / name, source)
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", built, source, cwd=built)
    (path,) = built.iterdir()
    return path


@pytest.fixture(scope="module")
def shop(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Install the wheel for a backend that has packages called as some of Freshet's folders."""
    folder, environment = tmp_path_factory.mktemp("shop"), tmp_path_factory.mktemp("python")
    python = environment / "bin" / "python"
    locked = environment / "versions.txt"
    lock = (ROOT / "deploy" / "locks" / "test.txt").read_text()
    locked.write_text("\n".join(re.findall(r"^[a-z0-9].*?==[^\s;]+", lock, re.MULTILINE)))
    run(sys.executable, "-m", "venv", "--without-pip", environment, cwd=folder)
    pip = (sys.executable, "-m", "pip", "--python", python)
    run(*pip, "install", "--constraint", locked, wheel, cwd=folder)
    for name in ("shared", "services", "protos"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(DECOY)
    _generate(folder, "event.proto", "other.v1", "event_pb2.py")
    _generate(folder, "protos/event.proto", "other.v2", "protos_event_pb2.py")
    for name in ("visit.py", "visit_blocking.py"):
        shutil.copy(HERE / name, folder)
    return Shop(folder, python)


def _generate(folder: Path, path: str, package: str, module: str) -> None:
    """Generate a message Event from a .proto of somebody's own, as a module of the folder."""
    source = folder / "contracts" / package
    proto, generated = source / path, source / path.replace(".proto", "_pb2.py")
    proto.parent.mkdir(parents=True)
    proto.write_text(f'syntax = "proto3";\npackage {package};\nmessage Event {{ int32 id = 1; }}\n')
    protoc = (sys.executable, "-m", "grpc_tools.protoc")
    run(*protoc, f"-I{source}", f"--python_out={source}", proto, cwd=folder)
    shutil.move(generated, folder / module)


def with_dependencies(names: set[str]) -> set[str]:
    """Return distributions with all that they need, as the metadata of those installed here say."""
    todo, found = list(names), set[str]()
    while todo:
        name = re.sub(r"[-_.]+", "-", todo.pop()).lower()
        if name not in found:
            found.add(name)
            required = map(Requirement, importlib.metadata.requires(name) or ())
            todo += [
                each.name
                for each in required
                if each.marker is None or each.marker.evaluate({"extra": ""})
            ]
    return found


def test_the_wheel_holds_one_package_with_its_types(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()

    dist_info = f"freshet-{freshet.__version__}.dist-info"
    assert {name.split("/")[0] for name in names} == {"freshet", dist_info}
    assert {"freshet/py.typed", "freshet/v1/recommender_pb2.pyi"} <= set(names)


def test_it_brings_four_packages_and_what_those_need(shop: Shop) -> None:
    program = """
import importlib.metadata
for each in importlib.metadata.distributions():
    print(each.metadata["Name"].lower().replace("_", "-"))
"""
    installed = set(run(shop.python, "-c", program, cwd=shop.folder).split())

    assert installed == with_dependencies(DEPENDENCIES) | {"freshet"}


def test_a_type_checker_sees_its_signatures(shop: Shop) -> None:
    (shop.folder / "typed.py").write_text(TYPED)
    mypy = (sys.executable, "-m", "mypy", "--strict", "--cache-dir", shop.folder / "mypy")

    said = run(*mypy, "--python-executable", shop.python, "typed.py", cwd=shop.folder, exit_code=1)

    assert 'Unexpected keyword argument "backfil"' in said
    assert "Found 1 error" in said


def test_the_command_says_how_to_get_what_it_starts(shop: Shop) -> None:
    said = run(shop.python.with_name("freshet"), "up", cwd=shop.folder, exit_code=1)

    assert said.startswith("freshet: this installation is the client alone")
    for way in ("make up", "docker compose run --rm tools", "from freshet import Client"):
        assert way in said


async def test_it_calls_a_running_system(
    shop: Shop, kafka: str, valkey: str, start_service: Callable[..., Service]
) -> None:
    ranking, embedding = free_port(), free_port()
    environ = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka,
        "REDIS_URL": valkey,
        "FRESHET_RANKING_PORT": f"{ranking}",
        "FRESHET_EMBEDDING_PORT": f"{embedding}",
        "FRESHET_EMBEDDING_ADDRESS": f"127.0.0.1:{embedding}",
    }
    services = [start_service(name, environ) for name in ("embedding", "sessions", "ranking")]
    await asyncio.gather(*(service.ready() for service in services))

    def visit(program: str) -> Any:
        command = (shop.python, "-W", "error", program, kafka, f"127.0.0.1:{ranking}")
        return json.loads(run(*command, cwd=shop.folder))

    assert visit("visit.py") == {
        "listed": [["mug-red", "A red mug", True]],
        "degraded": [],
        "clicked": [["click", "mug-blue"]],
        "explained": "mug-red",
        "found": "mug-red",
        "similar": ["mug-red"],
        "unknown": "NotFound",
        "empty": 0,
        "version": freshet.__version__,
    }
    assert visit("visit_blocking.py") == {
        "listed": [["cup-red", "A red cup", True]],
        "clicked": [["click", "cup-blue"]],
        "found": "cup-red",
        "unknown": "NotFound",
        "empty": 0,
    }
