"""Read what the gateway is told by its environment."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from freshet.access import Access
from freshet.addresses import ADDRESS
from freshet.kafka_clients import KafkaSettings
from freshet.prefix import PrefixSettings
from freshet.settings import Form, setting
from services.gateway.console.settings import ConsoleSettings
from shared.access.public_keys import check_origin, check_public_keys_file
from shared.access.settings import DoorSettings
from shared.runtime.logs import LogSettings

NAME: Final = "gateway"
ORIGIN: Final = Form("an origin, such as https://shop.example.com", check_origin)
PUBLIC_KEYS_FILE: Final = Form(
    "a file of lines NAME ORIGIN KEY SECRET, as `freshet public-key` prints them",
    check_public_keys_file,
)


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """Addresses and limits."""

    kafka: KafkaSettings = field(default_factory=KafkaSettings)
    names: PrefixSettings = field(default_factory=PrefixSettings)
    logs: LogSettings = field(default_factory=LogSettings)
    door: DoorSettings = field(default_factory=DoorSettings)
    access: Access = field(default_factory=Access)
    console: ConsoleSettings = field(default_factory=ConsoleSettings)
    port: int = setting(
        "FRESHET_GATEWAY_PORT", 8080, at_least=0, at_most=65535, help="HTTP; 0: a free one"
    )
    health_port: int = setting(
        "FRESHET_GATEWAY_HEALTH_PORT",
        9104,
        at_least=0,
        at_most=65535,
        help="health and metrics; 0: a free one",
    )
    ranking_address: str = setting(
        "FRESHET_RANKING_ADDRESS", "127.0.0.1:50051", form=ADDRESS, help="host:port, for all lists"
    )
    public_keys_file: str = setting(
        "FRESHET_PUBLIC_KEYS_FILE",
        "",
        form=PUBLIC_KEYS_FILE,
        help="keys that stand in web pages: lines NAME ORIGIN KEY SECRET (`freshet public-key`),"
        " read again when it changes",
    )
    public_calls_per_s: float = setting(
        "FRESHET_PUBLIC_CALLS_PER_S",
        10.0,
        at_least=0.1,
        at_most=100_000,
        help="calls of one address with one public key",
    )
    origins: tuple[str, ...] = setting(
        "FRESHET_CORS_ORIGINS",
        (),
        form=ORIGIN,
        help="pages of other hosts that may call, besides those of public keys",
    )
    trusted_proxies: tuple[str, ...] = setting(
        "FRESHET_TRUSTED_PROXIES",
        (),
        help="addresses or networks whose X-Forwarded-For says who calls",
    )
    in_flight_at_most: int = setting(
        "FRESHET_GATEWAY_IN_FLIGHT_AT_MOST",
        256,
        at_least=1,
        at_most=10_000,
        help="calls at once; beyond it they are refused with Retry-After",
    )
    bodies_mib: int = setting(
        "FRESHET_GATEWAY_BODIES_MIB",
        64,
        at_least=8,
        at_most=4096,
        help="bodies in memory; an item with its picture may have 6 MiB",
    )
    stream_mib: int = setting(
        "FRESHET_GATEWAY_STREAM_MIB",
        256,
        at_least=1,
        at_most=65_536,
        help="of one NDJSON stream, which is never in memory as a whole",
    )
