"""Build the Dockerfile's targets with buildah, which needs no container engine."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from tests.images.base import PATH, make_base
from tests.servers import ROOT

BASE: Final = "docker.io/library/python:3.11-slim-bookworm"
TARGET_WITHIN_S: Final = 1800.0
# What is built by itself before: buildah keeps the containers of all steps until a build ends.
STAGES_BEFORE: Final = {"training": ["pytorch"]}


@dataclass(frozen=True)
class Image:
    """A built image: its files below `root`, its settings as an engine reads them."""

    name: str
    root: Path
    config: dict[str, Any]

    @property
    def environ(self) -> dict[str, str]:
        """Return the variables that it sets."""
        return dict(pair.split("=", 1) for pair in self.config["Env"])

    @property
    def command(self) -> list[str]:
        """Return what it runs: entry point and arguments."""
        return [*(self.config.get("Entrypoint") or ()), *(self.config.get("Cmd") or ())]

    @property
    def probe(self) -> list[str]:
        """Return the command of its health check."""
        command: list[str]
        kind, *command = self.config["Healthcheck"]["Test"]
        assert kind == "CMD"
        return command

    def files(self) -> dict[str, int]:
        """Return the bytes of its regular files by path; of hard links one counts."""
        found: dict[str, int] = {}
        seen: set[int] = set()
        for folder, _, names in os.walk(self.root):
            for name in names:
                path = Path(folder, name)
                facts = path.lstat()
                if stat.S_ISREG(facts.st_mode):
                    counted = 0 if facts.st_ino in seen else facts.st_size
                    found[str(path.relative_to(self.root))] = counted
                    seen.add(facts.st_ino)
        return found


class Store:
    """Images in a folder of their own, which `remove` takes away again.

    Some 12 GB, 7 of them the training image.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._built: dict[tuple[str, ...], Image] = {}
        self._temporary = folder / "tmp"  # the builds' cache of pip lies here too
        self._temporary.mkdir(parents=True)

    def build(self, target: str, *arguments: str) -> Image:
        """Build a target with `NAME=VALUE`s, once; `base` is what all are built on."""
        key = (target, *arguments)
        if key not in self._built:
            name = self._base
            if target != "base":
                name = f"localhost/freshet/{target}:{len(arguments)}"
                for stage in STAGES_BEFORE.get(target, ()):
                    self._build(stage, arguments, f"{name}-{stage}")
                self._build(target, arguments, name)
            self._built[key] = self._mounted(target, name)
        return self._built[key]

    def remove(self) -> None:
        """Unmount and delete everything."""
        self._buildah("rm", "--all")
        shutil.rmtree(self._folder)

    @cached_property
    def _driver(self) -> str:
        """Return overlay, which copies no layers, where the kernel lets us mount it; else vfs."""
        place = self._folder / "tried"
        try:
            container = buildah(place, "overlay", "from", "scratch")
            buildah(place, "overlay", "mount", container)
            buildah(place, "overlay", "rm", container)
        except AssertionError:
            return "vfs"
        return "overlay"

    @cached_property
    def _base(self) -> str:
        """Fetch the base, or make its stand-in where no registry is in reach."""
        try:
            self._buildah("pull", "--quiet", BASE, within_s=300)
        except (AssertionError, subprocess.TimeoutExpired):
            made = self._folder / "base"
            make_base(made)
            container = self._buildah("from", "scratch")
            self._buildah("add", "--quiet", container, str(made), "/")
            self._buildah("config", "--env", f"PATH={PATH}", container)
            self._buildah("commit", "--quiet", "--rm", "--disable-compression", container, BASE)
            shutil.rmtree(made)
        return BASE

    def _build(self, target: str, arguments: Sequence[str], name: str) -> None:
        assert self._base
        options = ["--isolation", "chroot", "--pull-never", "--format", "docker", "--layers"]
        options += [f"--build-arg={argument}" for argument in arguments]
        dockerfile = ["--file", str(ROOT / "deploy" / "Dockerfile"), "--target", target]
        self._buildah("bud", *options, *dockerfile, "--tag", name, str(ROOT))

    def _mounted(self, target: str, name: str) -> Image:
        container = self._buildah("from", "--pull-never", name)
        root = Path(self._buildah("mount", container))
        config = json.loads(self._buildah("inspect", "--type", "image", name))["Docker"]["config"]
        return Image(target, root, config)

    def _buildah(self, *arguments: str, within_s: float = TARGET_WITHIN_S) -> str:
        temporary = {"TMPDIR": str(self._temporary)}
        return buildah(self._folder, self._driver, *arguments, environ=temporary, within_s=within_s)


def buildah(
    folder: Path,
    driver: str,
    *arguments: str,
    environ: Mapping[str, str] = MappingProxyType({}),
    within_s: float = TARGET_WITHIN_S,
) -> str:
    """Run buildah on a store in a folder and return what it prints. Fails with its own words."""
    places = ["--root", str(folder / "root"), "--runroot", str(folder / "run")]
    done = subprocess.run(
        ["buildah", "--storage-driver", driver, *places, *arguments],
        env={**os.environ, **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=within_s,
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    return done.stdout.strip()


def beyond(image: Image, base: Image) -> Iterator[tuple[str, int]]:
    """Yield path and bytes of the files that an image adds to its base."""
    below = base.files()
    for path, size in image.files().items():
        if path not in below:
            yield path, size
