"""Every image, built and started for real: small, with nothing in it that serving must not hold."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.bundles.bundle import Bundle
from shared.bundles.golden import started
from tests import servers
from tests.images import container
from tests.images.container import Container
from tests.images.images import Image, beyond
from tests.servers import HEALTH_PORTS

# A build takes minutes.
pytestmark = [pytest.mark.images, pytest.mark.timeout(3600)]

MIB = 1024 * 1024
# Of what a target adds to its base. Whoever goes beyond knows what for, and says so here.
AT_MOST_MIB = {
    "training": 5200,  # the first to be built: it alone needs 12 GB meanwhile
    "sessions": 250,
    "embedding": 360,
    "ranking": 300,
    "gateway": 200,
    "tools": 520,
}
# A service's own store at S3; of Google's and Azure's, that what speaks to them can be imported.
USE_STORES = """
import fsspec
from shared.catalogue.stores import open_store
for scheme in ("gs", "abfs"):
    fsspec.get_filesystem_class(scheme)
fsspec.filesystem("s3").mkdir("images")
store = open_store("s3://images/snapshots", "space")
store.replace("current", b"it is there")
print(store.read("current", 100).decode())
"""
# Everybody chooses the items in their order, each from another one on.
EVENTS = "user_id,item_id,timestamp\n" + "".join(
    f"u{user},i{(user + event) % 30},{1_700_000_000 + event}\n"
    for user in range(40)
    for event in range(10)
)
BuildImage = Callable[..., Image]

PYTORCH = re.compile(r"site-packages/(torch|triton|nvidia)\b")  # which one image alone holds
NAMED_AS_TESTS = re.compile(r"site-packages/(torch/|slicer/)\S*test_\w+\.py$")  # PyTorch uses some
UNWANTED = re.compile(
    r"site-packages/(tensorflow|jax|pytest|_pytest|mypy|hypothesis)\b"
    r"|bin/(\S*-)?(gcc|g\+\+|cc|c\+\+|cpp|ld|as|clang|make|uv)(-\d+)?$"  # compilers
    r"|(^|/)tests?/|(^|/)conftest\.py$|(^|/)test_(?!utils|cases)[^/]*\.py$"
    r"|(^|/)\.cache/|^var/cache/apt/|^var/lib/apt/lists/|^tmp/|^app/.*__pycache__/"
    r"|\.(a|o|h|hpp|whl|deb)$"
)


@pytest.mark.parametrize("name", AT_MOST_MIB)
def test_an_image_holds_no_compiler_test_or_cache(name: str, image: BuildImage) -> None:
    added = [path for path, _ in beyond(image(name), image("base"))]
    assert "usr/local/lib/python3.11/site-packages/numpy/__init__.py" in added
    unwanted = [path for path in added if UNWANTED.search(path)]
    assert [path for path in unwanted if not NAMED_AS_TESTS.search(path)] == []
    assert any(map(PYTORCH.search, added)) == (name == "training")


@pytest.mark.parametrize("name", AT_MOST_MIB)
def test_an_image_is_no_larger_than_it_must_be(
    name: str, image: BuildImage, capsys: pytest.CaptureFixture[str]
) -> None:
    packages: dict[str, int] = {}
    for path, size in beyond(image(name), image("base")):
        inside = re.search(r"site-packages/([^/]+)", path)
        owner = inside[1].removesuffix(".libs") if inside else path.split("/")[0]
        packages[owner] = packages.get(owner, 0) + size
    total = sum(packages.values())
    largest = sorted(packages.items(), key=lambda package: -package[1])[:5]
    listed = ", ".join(f"{owner} {size // MIB}" for owner, size in largest)
    with capsys.disabled():
        sys.stdout.write(f"\n{name}: {total // MIB} MiB beyond its base, of it {listed}\n")
    assert total <= AT_MOST_MIB[name] * MIB


def test_a_container_has_no_capabilities_and_no_root_to_write_to(
    image: BuildImage, snapshots: Path
) -> None:
    tried = "touch /app/new; grep -E '^(Cap(Prm|Eff|Bnd|Amb)|NoNewPrivs)' /proc/self/status; id -u"
    done = container.run(image("ranking"), ["sh", "-c", tried], {}, snapshots)
    assert "Read-only file system" in done.stderr
    words = done.stdout.split()
    assert words[1::2] == ["0000000000000000"] * 4 + ["1"], done.stdout
    assert words[-1] == "10001"


async def test_services_start_from_their_images_answer_their_probe_and_end_on_sigterm(
    image: BuildImage, kafka: str, valkey: str, tmp_path: Path, snapshots: Path
) -> None:
    environ = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka,
        "REDIS_URL": valkey,
        "FRESHET_EMBEDDING_PORT": "0",
        "FRESHET_RANKING_PORT": "0",
        "FRESHET_GATEWAY_PORT": "0",
        "FRESHET_INSECURE": "1",  # all addresses, on a machine of the test's own
    }
    started = [Container(image(name), environ, tmp_path / name, snapshots) for name in HEALTH_PORTS]
    try:
        for service in started:
            await service.ready()
            assert service.probe() == 0
        addresses = {
            f"FRESHET_{service.name.upper()}_HEALTH_ADDRESS": service.health_url.rpartition("/")[2]
            for service in started
        }
        tools = image("tools")
        status = container.run(
            tools, [*tools.config["Entrypoint"], "status"], environ | addresses, snapshots
        )
        assert status.returncode == 0, status.stdout + status.stderr
        codes = {service.name: service.stop() for service in started}
        assert not any(codes.values()), (codes, [each.process.log_tail() for each in started])
    finally:
        for service in started:
            service.kill()


def test_the_training_image_fits_a_model_and_writes_a_bundle_that_services_load(
    image: BuildImage, snapshots: Path
) -> None:
    training, volume = image("training"), "/var/lib/freshet/snapshots"
    shown = container.run(training, training.command, {}, snapshots, within_s=600)
    assert "evaluate" in shown.stdout, shown.stderr
    (snapshots / "data").mkdir()
    (snapshots / "data" / "interactions.csv").write_text(EVENTS)
    (snapshots / "fast.toml").write_text("[tower.training]\nepochs = 1\n")
    train = [*training.config["Entrypoint"], "train", "tower", "--data", f"{volume}/data"]
    train += ["--config", f"{volume}/fast.toml", "--fits", f"{volume}/fits"]
    done = container.run(
        training, [*train, "--bundle", f"{volume}/bundle"], {}, snapshots, within_s=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    _, _, tower = started(Bundle.load(snapshots / "bundle"))
    assert tower is not None


def test_an_image_with_object_stores_reads_what_it_wrote_to_one(
    image: BuildImage, s3_port: int, snapshots: Path
) -> None:
    ranking = image("ranking", "OBJECT_STORES=1")
    environ = {**servers.s3_environ(s3_port), "NO_PROXY": "127.0.0.1"}
    done = container.run(ranking, ["python", "-c", USE_STORES], environ, snapshots)
    assert done.stdout.strip() == "it is there", done.stderr


@pytest.fixture
def snapshots(tmp_path: Path) -> Path:
    """Return a new volume, which belongs to the images' user."""
    volume = tmp_path / "snapshots"
    volume.mkdir()
    os.chown(volume, 10001, 10001)
    return volume
