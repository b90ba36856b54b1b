"""Make something of files, and again when they were replaced: certificates live shorter than we."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from typing import Generic, TypeAlias, TypeVar

Made = TypeVar("Made")
Stamp: TypeAlias = tuple[tuple[int, int, int], ...]

log = logging.getLogger(__name__)


class RenewedFiles(Generic[Made]):
    """Keeps what was made of files, and makes it anew once they are others.

    What cannot be made of the new ones (half of a pair is written, no PEM) leaves the former in
    use, and is tried again at each look. Any thread may look.
    """

    def __init__(self, paths: Iterable[str | os.PathLike[str]], make: Callable[[], Made]) -> None:
        """Raises what `make` raises, mostly OSError and ValueError."""
        self._paths = tuple(paths)
        self._make = make
        self._bad: Stamp | None = None  # those that were complained of; (): they were away
        self._stamp = self._look()
        self._made = make()

    def latest(self) -> Made:
        """Return what was made of the files as they are now, or last were good."""
        stamp: Stamp = ()
        try:
            stamp = self._look()
            if stamp != self._stamp:
                made = self._make()
                if stamp == self._look():  # else they are being replaced: the next look
                    self._made, self._stamp = made, stamp
            self._bad = None
        except (OSError, ValueError) as error:
            if stamp != self._bad:
                self._bad = stamp
                names = ", ".join(map(str, self._paths))
                log.error("the former is used on, as %s cannot be: %s", names, error)
        return self._made

    def _look(self) -> Stamp:
        """Return what differs once a file was written or replaced. Raises OSError."""
        stats = map(os.stat, self._paths)
        return tuple((stat.st_mtime_ns, stat.st_ino, stat.st_size) for stat in stats)
