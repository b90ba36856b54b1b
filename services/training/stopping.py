"""Let a person, or whoever runs the process, end a fit early."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Hears signals: a fit that asks for them ends itself, any other is interrupted at once."""

    def __init__(self, say: Callable[[], None] = lambda: None) -> None:
        """say: hears that a fit is going to end itself."""
        self.made = False
        self._say = say
        self._asked = False

    def begin(self) -> None:
        """Take note that a fit begins, which has not asked yet."""
        self._asked = False

    def __call__(self) -> bool:
        """Return whether the fit that asks is to end."""
        self._asked = True
        return self.made

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Hear signals in the body. Raises KeyboardInterrupt there, at the latest at the second."""
        before = [signal.signal(number, self._on_signal) for number in SIGNALS]
        try:
            yield
        finally:
            for number, handler in zip(SIGNALS, before, strict=True):
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.made or not self._asked:
            raise KeyboardInterrupt
        self.made = True
        self._say()
