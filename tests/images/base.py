"""Make a stand-in for python:3.11-slim-bookworm where no registry is in reach.

Debian's own Python would install into `local/lib/python3.11/dist-packages` and refuse pip. So
/usr/local becomes a virtual environment: pip's prefix is then as in the real image, and `python` is
/usr/local/bin/python.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

SUITE: Final = "bookworm"
# What lies in the real image beside Debian: Python with its headers, and pip, in its version.
PACKAGES: Final = ("ca-certificates", "python3.11-dev", "python3.11-venv")
PIP: Final = "pip==24.0"
PATH: Final = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
LEFTOVERS: Final = ("root/.cache", "var/cache/apt", "var/lib/apt/lists", "debootstrap")
TRUST: Final = Path("etc/ssl/certs/ca-certificates.crt")
# Where pip finds packages, as it does on this machine.
PIP_SETTINGS: Final = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout")


def make_base(root: Path) -> None:
    """Fill a folder with the stand-in; packages come from where this machine has its own from."""
    run("debootstrap", "--variant=minbase", SUITE, str(root), *debian_mirror())
    within = ("chroot", str(root), "/usr/bin/env", f"PATH={PATH}")
    run(*within, "apt-get", "install", "--yes", "--no-install-recommends", *PACKAGES)
    if (Path("/") / TRUST).exists():
        shutil.copy(Path("/") / TRUST, root / TRUST)
    (root / "etc" / "pip.conf").write_text(pip_conf())
    run(*within, "python3.11", "-m", "venv", "/usr/local")
    run(*within, "pip", "install", "--no-cache-dir", PIP)
    for name in LEFTOVERS:
        shutil.rmtree(root / name, ignore_errors=True)


def debian_mirror() -> list[str]:
    """Return what this machine's apt has the suite from; nothing where it has another system's."""
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)"]
        + ["Created-By: Packages", f"Codename: {SUITE}", "Label: Debian"],
        capture_output=True,
        text=True,
        check=False,
    )
    return listed.stdout.split()[:1]


def pip_conf() -> str:
    """Return this machine's settings of pip, as far as they say where packages are."""
    listed = run(sys.executable, "-m", "pip", "config", "list", "--disable-pip-version-check")
    lines = {f"cert = /{TRUST}"}
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        key = name.rpartition(".")[2].removeprefix("default-")
        if key in PIP_SETTINGS:
            lines.add(f"{key} = {value.strip(chr(39))}")
    return "\n".join(["[global]", *sorted(lines), ""])


def run(*command: str, timeout_s: float = 900) -> str:
    """Run a command and return what it printed. Fails with its own words."""
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, f"{json.dumps(command)} failed:\n{done.stdout[-4000:]}"
    return done.stdout
