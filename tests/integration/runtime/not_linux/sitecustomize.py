"""Take away what only Linux has: from every Python that starts with this folder on PYTHONPATH.

/proc and /sys, epoll, affinity and bounds of the address space are then as on macOS.
"""

from __future__ import annotations

import builtins
import io
import os
import resource
import select
import signal
from collections.abc import Callable
from typing import Any

ABSENT = {
    os: ("eventfd", "memfd_create", "pidfd_open", "posix_fadvise", "sched_getaffinity"),
    select: ("epoll",),
    signal: ("pidfd_send_signal",),
}
for module, names in ABSENT.items():
    for name in names:
        if hasattr(module, name):
            delattr(module, name)


def without_proc(original: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function as it is where nothing lies below /proc and /sys."""

    def found(path: Any = ".", *rest: Any, **named: Any) -> Any:
        if isinstance(path, (str, os.PathLike)) and os.fspath(path).startswith(("/proc", "/sys")):
            raise FileNotFoundError(2, "No such file or directory", path)
        return original(path, *rest, **named)

    return found


builtins.open = io.open = without_proc(open)
for name in ("listdir", "open", "readlink", "scandir", "stat"):
    setattr(os, name, without_proc(getattr(os, name)))

setrlimit = resource.setrlimit


def bounded(kind: int, limits: tuple[int, int]) -> None:
    """Set a bound, but none of the address space."""
    if kind == resource.RLIMIT_AS:
        raise ValueError("current limit exceeds maximum limit")
    setrlimit(kind, limits)


resource.setrlimit = bounded
