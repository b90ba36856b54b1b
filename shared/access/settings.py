"""Read who may reach a service's ports."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from freshet.access import AUTHORITIES, Certificate
from freshet.addresses import is_local
from freshet.settings import Form, setting
from shared.access.tokens import check_tokens_file

TOKENS_FILE: Final = Form(
    "a file of lines NAME SCOPES SHA256, as `freshet token` prints them", check_tokens_file
)


@dataclass(frozen=True, slots=True)
class DoorSettings:
    """On the loopback everybody comes in, unless these say otherwise."""

    bind: str = setting("FRESHET_BIND", "127.0.0.1", help="address that all ports listen on")
    insecure: bool = setting(
        "FRESHET_INSECURE",
        False,
        help="1: ports beyond the loopback without TLS, where the network keeps strangers out",
    )
    certificate: Certificate = field(default_factory=Certificate)
    client_ca_file: str = setting(
        "FRESHET_TLS_CLIENT_CA_FILE",
        "",
        form=AUTHORITIES,
        help="PEM: authorities of callers' certificates, which are then asked for (mutual TLS)",
    )
    tokens_file: str = setting(
        "FRESHET_TOKENS_FILE",
        "",
        form=TOKENS_FILE,
        help="lines NAME SCOPES SHA256 (`freshet token`), read again when it changes; empty: none"
        " is asked for",
    )
    reflection: str = setting(
        "FRESHET_REFLECTION",
        "loopback",
        one_of=("loopback", "on", "off"),
        help="whether gRPC says which methods there are; loopback: on there alone",
    )
    caller_calls_per_s: float = setting(
        "FRESHET_CALLER_CALLS_PER_S",
        1_000.0,
        at_least=0,
        at_most=100_000,
        help="calls of one caller (token, else address) at one instance, with TLS or tokens;"
        " 0: any number",
    )

    @property
    def loopback(self) -> bool:
        """Say whether the ports are this machine's alone."""
        return is_local(address_of(self.bind, 0))


def address_of(host: str, port: int) -> str:
    """Return host and port as gRPC reads them, IPv6 in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
