"""Read whether the page is there, and what it shows beside the API."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from freshet.addresses import ADDRESS
from freshet.settings import Form, setting

OFF: Final = "off"
READ: Final = "read"
WRITE: Final = "write"


@dataclass(frozen=True, slots=True)
class ConsoleSettings:
    """What the page may do, and where the services' figures are."""

    mode: str = setting(
        "FRESHET_CONSOLE",
        OFF,
        one_of=(OFF, READ, WRITE),
        help="the page at /console, beyond the loopback with keys alone (FRESHET_TOKENS_FILE);"
        " write: it may click and add items, too",
    )
    health_addresses: tuple[str, ...] = setting(
        "FRESHET_CONSOLE_HEALTH_ADDRESSES",
        ("127.0.0.1:9101", "127.0.0.1:9102", "127.0.0.1:9103"),
        form=Form(ADDRESS.right, ADDRESS.check),
        help="health ports of sessions, embedding and ranking, whose metrics the page plots",
    )
    pictures_mib: int = setting(
        "FRESHET_CONSOLE_PICTURES_MIB",
        256,
        at_least=1,
        at_most=65_536,
        help="of pictures that the page shows; beyond it the oldest have none there",
    )
