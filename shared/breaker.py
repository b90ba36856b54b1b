"""Leave alone for a while what failed several times in a row. Pure: time is an argument."""

from __future__ import annotations

from typing import Final

FAILURES_AT_MOST: Final = 5  # in a row; fewer may be a pause of the network or of this process
PAUSE_S: Final = 0.1  # then one call a pause waits out its time, and all are right again soon


class Breaker:
    """Counts failures in a row; time is an argument, in seconds of any steady clock."""

    def __init__(
        self, *, failures_at_most: int = FAILURES_AT_MOST, pause_s: float = PAUSE_S
    ) -> None:
        self._failures_at_most = failures_at_most
        self._pause_s = pause_s
        self._failures = 0
        self._closed_until_s = 0.0

    def allows(self, now_s: float) -> bool:
        """Say whether to ask now. While it is broken one caller a pause is let through to try."""
        if self._failures < self._failures_at_most:
            return True
        if now_s < self._closed_until_s:
            return False
        self._closed_until_s = now_s + self._pause_s
        return True

    @property
    def broken(self) -> bool:
        """Whether the last calls all failed."""
        return self._failures >= self._failures_at_most

    def succeeded(self) -> None:
        """Note a call that was answered."""
        self._failures = 0

    def failed(self, now_s: float, *, certain: bool = False) -> None:
        """Note a call that was not answered; certain: refused, so that waiting longer is no use."""
        self._failures = self._failures_at_most if certain else self._failures + 1
        if self.broken:
            self._closed_until_s = now_s + self._pause_s
