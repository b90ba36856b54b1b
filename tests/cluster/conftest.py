"""A real Kubernetes control plane of the shared folder: nodes are simulated, decisions are not."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from services.cli.keys.issue import write_keys
from tests.servers import ROOT

MANIFESTS = ROOT / "k8s"
NAMESPACE = "freshet"
CLAIMS = 3  # snapshots, Kafka's data, Redis' data


@dataclass(frozen=True)
class ControlPlane:
    """A running control plane; `folder` holds its state and its kubectl."""

    folder: Path

    def kubectl(self, *arguments: str, text: str = "", check: bool = True) -> str:
        """Run kubectl in the overlay's namespace and return what it wrote, errors too."""
        result = subprocess.run(
            [self.folder / "bin" / "kubectl", "--namespace", NAMESPACE, *arguments],
            input=text,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=100,
            check=False,
        )
        assert not check or result.returncode == 0, result.stdout
        return result.stdout

    def get(self, kind: str, *arguments: str) -> list[dict[str, Any]]:
        """Return the objects of a kind."""
        found: list[dict[str, Any]] = json.loads(
            self.kubectl("get", kind, "--output", "json", *arguments)
        )["items"]
        return found

    def refuse(self, manifest: str) -> str:
        """Apply a manifest that must be refused; return why it was."""
        result = self.kubectl(
            "apply", "--server-side", "--validate=strict", "-f", "-", text=manifest, check=False
        )
        assert "serverside-applied" not in result, result
        return result


@pytest.fixture(scope="session")
def control_plane(
    shared_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ControlPlane]:
    """Start an empty cluster of three zones."""
    program = shared_folder / "k8s" / "cluster"
    assert program.is_file(), f"{program} is not there"
    folder = tmp_path_factory.mktemp("control-plane")
    try:
        subprocess.run(
            [program, "up", folder, "--crds", "none"],
            check=True,
            timeout=100,
            stdout=subprocess.DEVNULL,
        )
        yield ControlPlane(folder)
    finally:
        subprocess.run([program, "down", folder], check=True, timeout=60)


@pytest.fixture(scope="session")
def rendered(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the local overlay as kustomize renders it, with keys of its own."""
    copy = tmp_path_factory.mktemp("overlay") / "k8s"
    shutil.copytree(MANIFESTS, copy, ignore=shutil.ignore_patterns("keys"))
    overlay = copy / "overlays" / "local"
    write_keys(overlay / "keys")
    return control_plane.kubectl("kustomize", str(overlay))


@pytest.fixture(scope="session")
def applied(control_plane: ControlPlane, rendered: str) -> ControlPlane:
    """Apply the overlay; volumes are made by hand, because nobody provisions them here."""
    control_plane.kubectl("apply", "-f", "-", text="---\n".join(map(volume, range(CLAIMS))))
    control_plane.kubectl("apply", "--server-side", "--validate=strict", "-f", "-", text=rendered)
    return control_plane


def volume(number: int) -> str:
    """Return a PersistentVolume that fits any claim of the overlay."""
    return (
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": {"name": f"volume-{number}"},
                "spec": {
                    "capacity": {"storage": "10Gi"},
                    "accessModes": ["ReadWriteOnce"],
                    "hostPath": {"path": f"/var/lib/volumes/{number}"},
                },
            }
        )
        + "\n"
    )
