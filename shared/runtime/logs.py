"""Log one line a record on standard error, `time level service logger message`.

No personal data: callers name topics, partitions and offsets, never users.
"""

from __future__ import annotations

import logging
import sys
import time
from dataclasses import dataclass

from freshet.settings import setting


@dataclass(frozen=True, slots=True)
class LogSettings:
    """How much is logged."""

    level: str = setting(
        "FRESHET_LOG_LEVEL",
        "INFO",
        one_of=("DEBUG", "INFO", "WARNING", "ERROR"),
        help="least severe",
    )


class _OneLine(logging.Formatter):
    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def format(self, record: logging.LogRecord) -> str:
        return super().format(record).replace("\n", " | ")


def configure(service: str, settings: LogSettings) -> None:
    """Send all records to standard error; the libraries' chatter only from WARNING up."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine(f"%(asctime)s %(levelname)s {service} %(name)s %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.level)
    for name in ("aiokafka", "faust", "mode", "aiohttp.access", "grpc", "asyncio"):
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    # A commit during a rebalance fails and is repeated; aiokafka calls that an error.
    logging.getLogger("aiokafka.consumer.group_coordinator").setLevel(logging.CRITICAL)
