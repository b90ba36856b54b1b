"""Read what stands before the name of every topic, consumer group and Redis key of this process.

So two shops share one Kafka, one Redis and one place for snapshots. A process works for one shop:
its prefix is read once, when this is imported, and no call carries it along. Names are made in
contract/topics.py, shared/users/keys.py and shared/catalogue/stores.py.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Final

from freshet.settings import Form, setting

VARIABLE: Final = "FRESHET_TOPIC_PREFIX"
PREFIX: Final = os.environ.get(VARIABLE, "")


def check_prefix(prefix: str) -> None:
    """Raise ValueError unless names that begin so are names of topics, with room for the rest."""
    if not re.fullmatch(r"[A-Za-z0-9._-]{0,64}", prefix):
        raise ValueError(f"no prefix of topics: {prefix!r}")


@dataclass(frozen=True, slots=True)
class PrefixSettings:
    """PREFIX again, among the settings: there it is checked."""

    prefix: str = setting(
        VARIABLE,
        "",
        form=Form("up to 64 of A-Z a-z 0-9 . _ -, such as shoes.", check_prefix),
        help="before the names of topics, groups, Redis keys and snapshots: a shop of its own",
    )
