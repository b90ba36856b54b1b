"""Say how a caller knows whom it calls (TLS), and shows who it is (certificate, token)."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from freshet.addresses import is_local
from freshet.renewed_files import RenewedFiles
from freshet.settings import BadSetting, Form, setting

if TYPE_CHECKING:
    import os
    from typing import TypeAlias

    import grpc

    StrPath: TypeAlias = str | os.PathLike[str]
    # True: the system's authorities; a path: those of a PEM file.
    Tls: TypeAlias = bool | StrPath | grpc.ChannelCredentials

SYSTEM: Final = "system"


def check_pem(name: str) -> None:
    """Raise ValueError unless the file that is named, if any, can be read and holds PEM."""
    try:
        if name and b"-----BEGIN " not in Path(name).read_bytes():
            raise ValueError(f"no PEM: {name}")
    except OSError as error:
        raise ValueError(str(error)) from None


def read_authorities(path: StrPath) -> bytes:
    """Return what a PEM file of certificates holds. Raises OSError, and ValueError for none.

    gRPC would not tell, and trust the system's authorities where an empty file names nobody.
    """
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        raise ValueError(f"no certificates: {path}") from None
    return Path(path).read_bytes()


def check_authorities(name: str) -> None:
    """Raise ValueError unless the file that is named, if any, can be read and names authorities."""
    try:
        if name:
            read_authorities(name)
    except OSError as error:
        raise ValueError(str(error)) from None


def _check_trusted(name: str) -> None:
    if name != SYSTEM:
        check_authorities(name)


def check_token(token: str) -> None:
    """Raise ValueError for a token that no header can carry, without showing it."""
    if not token or not token.isascii() or not token.isprintable() or token != token.strip():
        raise ValueError("token must be printable ASCII without spaces around it")


def read_token(path: StrPath) -> str:
    """Return the token that a file holds. Raises OSError, and ValueError for none."""
    token = Path(path).read_text(encoding="utf-8", errors="replace").strip()
    check_token(token)
    return token


def _check_any_token(token: str) -> None:
    if token:
        check_token(token)


def _check_token_file(name: str) -> None:
    try:
        if name:
            read_token(name)
    except OSError as error:
        raise ValueError(str(error)) from None


PEM: Final = Form("a PEM file that can be read", check_pem)
AUTHORITIES: Final = Form("a PEM file of certificates that can be read", check_authorities)
TRUSTED: Final = Form(f"{AUTHORITIES.right}, or {SYSTEM}", _check_trusted)
TOKEN: Final = Form("printable ASCII without spaces around it", _check_any_token, lambda _: "***")
TOKEN_FILE: Final = Form("a file with a token that can be read", _check_token_file)


def check_secrecy(address: str, tls: Tls) -> None:
    """Raise BadSetting, a ValueError, where others could read a token on its way."""
    if not tls and not is_local(address):
        raise BadSetting(
            "a token must travel by TLS: give tls=True (FRESHET_TLS_CA_FILE), or an address of"
            f" this machine; was {address}"
        )


def bearer(source: Callable[[], str] | None) -> tuple[tuple[str, str], ...]:
    """Return the metadata that carries a token. Raises ValueError for one that no header can."""
    if source is None:
        return ()
    token = source()
    check_token(token)
    return (("authorization", f"Bearer {token}"),)


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a process shows of itself: a service to its callers, a caller where it is asked."""

    cert_file: str = setting(
        "FRESHET_TLS_CERT_FILE",
        "",
        form=PEM,
        help="PEM: own certificate and its issuers, of a service's ports, or of a caller",
    )
    key_file: str = setting("FRESHET_TLS_KEY_FILE", "", form=PEM, help="PEM: its key")

    def __post_init__(self) -> None:
        """Raise BadSetting where one of the two is missing."""
        if bool(self.cert_file) != bool(self.key_file):
            raise BadSetting(
                "FRESHET_TLS_CERT_FILE and FRESHET_TLS_KEY_FILE must be set both, or none"
            )

    def __bool__(self) -> bool:
        return bool(self.cert_file)

    @property
    def files(self) -> tuple[str, ...]:
        """Return certificate and key, or nothing."""
        return (self.cert_file, self.key_file) if self else ()

    def read(self) -> tuple[bytes, bytes]:
        """Return certificate and key as PEM. Raises OSError, and ValueError where they do not fit.

        Only OpenSSL can tell that, and it reads files alone.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self.cert_file, self.key_file, password=lambda: b"")
        except ssl.SSLError as error:
            raise ValueError(f"certificate and key are not of a kind: {error.reason}") from None
        return Path(self.cert_file).read_bytes(), Path(self.key_file).read_bytes()


@dataclass(frozen=True, slots=True)
class Access:
    """How a caller of ranking and embedding comes in."""

    ca_file: str = setting(
        "FRESHET_TLS_CA_FILE",
        "",
        form=TRUSTED,
        help="whom callers of ranking and embedding trust: PEM, or `system`; empty: no TLS",
    )
    token: str = setting(
        "FRESHET_TOKEN", "", form=TOKEN, secret=True, help="bearer token sent with each call"
    )
    token_file: str = setting(
        "FRESHET_TOKEN_FILE",
        "",
        form=TOKEN_FILE,
        help="the same in a file, read again when it changes",
    )
    certificate: Certificate = field(default_factory=Certificate)

    @property
    def tls(self) -> Tls:
        """Return whom to trust, as clients take it."""
        return True if self.ca_file == SYSTEM else self.ca_file

    def ssl_context(self) -> ssl.SSLContext | None:
        """Return the context of HTTPS, None where there is no TLS. Raises OSError, ValueError."""
        if not self.ca_file:
            return None
        authorities = None if self.ca_file == SYSTEM else self.ca_file
        context = ssl.create_default_context(cafile=authorities)
        if self.certificate:
            context.load_cert_chain(*self.certificate.files)
        return context

    def token_source(self) -> Callable[[], str] | None:
        """Return what gives the token for each call, None where there is none."""
        if self.token:
            return lambda: self.token
        if self.token_file:
            name = self.token_file
            return RenewedFiles([name], lambda: read_token(name)).latest
        return None


NO_CERTIFICATE: Final = Certificate()
OPEN: Final = Access()  # of what lets everybody in: on the loopback
