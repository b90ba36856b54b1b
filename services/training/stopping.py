"""Let a person, or whoever runs the process, end a command, and a fit early."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
INTERRUPTED: Final = 130  # exit code of what Ctrl-C ends
Handler = Callable[[int, FrameType | None], None]


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Raise KeyboardInterrupt in the body at a signal; yield what says whether one came.

    Ask that of any error: a native module that was being imported has one of its own instead.
    """
    came = False

    def on_signal(number: int, frame: FrameType | None) -> None:
        nonlocal came
        came = True
        raise KeyboardInterrupt

    with _handled(on_signal):
        yield lambda: came


@contextmanager
def _handled(on_signal: Handler) -> Iterator[None]:
    before = [signal.signal(number, on_signal) for number in SIGNALS]
    try:
        yield
    finally:
        for number, handler in zip(SIGNALS, before, strict=True):
            signal.signal(number, handler)


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
        """Hear signals in the body; at the latest the second is again whose it was before."""
        before = {number: signal.getsignal(number) for number in SIGNALS}

        def on_signal(number: int, frame: FrameType | None) -> None:
            if self._asked and not self.made:
                self.made = True
                self._say()
            elif callable(handler := before[signal.Signals(number)]):
                handler(number, frame)
            else:
                raise KeyboardInterrupt

        with _handled(on_signal):
            yield
