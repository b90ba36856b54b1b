"""Whether the worker gets on: what liveness is judged by. Pure."""

from __future__ import annotations

from collections.abc import Callable


class Stalled(Exception):
    """No progress although there is work and nothing is missing: only a new start may help."""


class Progress:
    """When something was last done, and what is being waited for.

    Consumers of aiokafka can stay stuck after a broker's restart without a sign (aiokafka #1154),
    so a lag without progress counts as stuck. Waiting for Redis or Kafka does not, for there a new
    start would not help.
    """

    def __init__(self, stall_s: float, clock_s: Callable[[], float]) -> None:
        """stall_s: how long a lag may stand still. clock_s: a monotonic clock."""
        self._stall_s = stall_s
        self._clock_s = clock_s
        self._made_at_s = clock_s()
        self.waiting: dict[int, str] = {}  # for what, by partition
        self.lags: dict[int, int] = {}  # records not applied yet, by partition that is read here

    def made(self) -> None:
        """Note that something was done, or that there was nothing to do."""
        self._made_at_s = self._clock_s()

    def measured(self, partition: int, lag: int) -> None:
        """Note how many records of a partition are not applied."""
        self.lags[partition] = lag
        if not any(self.lags.values()):
            self.made()

    def stalled(self) -> str | None:
        """Say why the worker counts as stuck; None while it is alive."""
        idle_s, behind = self._clock_s() - self._made_at_s, sum(self.lags.values())
        if behind and not self.waiting and idle_s > self._stall_s:
            return f"no progress for {idle_s:.0f} s with {behind} records to go"
        return None
