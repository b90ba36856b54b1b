"""Start an image's program as a hardened engine does: kernel's means only, no engine.

Its root is read-only, it is process 1 of its own process namespace, it runs as the image's user
without capabilities and without a way to new ones; /tmp is its own. The network is the machine's.
"""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import psutil

from services.cli.up.process import Guarded
from tests.images.images import Image
from tests.servers import Service

_ENTER: Final = """\
root=$1 snapshots=$2
shift 2
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount --rbind /sys "$root/sys"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount --bind "$snapshots" "$root/var/lib/freshet/snapshots"
exec chroot "$root" /usr/bin/env -i "$@"
"""


def command(
    image: Image, program: Sequence[str], environ: Mapping[str, str], snapshots: Path
) -> list[str]:
    """Return what runs a program in the image, with a folder as its volume of snapshots."""
    uid, gid = image.config["User"].split(":")
    apart = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
    variables = [f"{name}={value}" for name, value in {**image.environ, **environ}.items()]
    confined = [
        *("setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups"),
        *("--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"),
    ]
    return [
        *(*apart, "sh", "-euc", _ENTER, "container", str(image.root), str(snapshots)),
        *(f"--chdir={image.config['WorkingDir']}", *variables, *confined, *program),
    ]


def run(
    image: Image,
    program: Sequence[str],
    environ: Mapping[str, str],
    snapshots: Path,
    within_s: float = 120,
) -> subprocess.CompletedProcess[str]:
    """Run a program in the image to its end."""
    return subprocess.run(
        command(image, program, environ, snapshots),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=within_s,
        check=False,
    )


class Container(Service):
    """A service started from its image."""

    def __init__(
        self, image: Image, environ: Mapping[str, str], folder: Path, snapshots: Path
    ) -> None:
        self._image = image
        self._snapshots = snapshots
        self._environ: Mapping[str, str] = {}
        super().__init__(image.name, environ, folder)

    def _run(self, environ: Mapping[str, str], log: Path) -> Guarded:
        self._environ = environ
        return Guarded(command(self._image, self._image.command, environ, self._snapshots), log)

    def probe(self) -> int:
        """Return the exit code of the image's own health check, run as an engine runs it."""
        return run(self._image, self._image.probe, self._environ, self._snapshots).returncode

    def stop(self) -> int:
        """Send SIGTERM to process 1 alone, as engines do; returns its exit code."""
        (first,) = psutil.Process(self.process.pid).children()
        first.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s=30)
