"""Make certificates and tokens for a system to try: of an authority of its own, which signs once.

In production certificates come from an authority that is there anyway (cert-manager, a mesh).
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from services.cli.addresses import SERVICES
from shared.access.tokens import Scope, line_of, new_token, read_tokens

VALID: Final = datetime.timedelta(days=365)
RENEWED_BEFORE: Final = datetime.timedelta(days=30)  # the end
CA, CERTIFICATE, KEY, TOKENS = "ca.pem", "server.pem", "server.key", "tokens"  # files
# Who holds a token, and what it is for: `NAME.token`.
HOLDERS: Final = {
    "ranking": (Scope.SERVE,),  # when it asks embedding
    "gateway": (Scope.SERVE, Scope.PEOPLE),  # when it asks ranking
    "shop": (Scope.SERVE, Scope.PUBLISH, Scope.READ),
    "operator": tuple(Scope),
}
HERE: Final = ("localhost", "127.0.0.1")
_HOST: Final = re.compile(r"(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*", re.ASCII | re.IGNORECASE)


def write_keys(
    folder: Path, hosts: Iterable[str] = (), now: datetime.datetime | None = None
) -> bool:
    """Write what services and callers need; return whether anything had to be made.

    hosts: names that the certificate is for, besides those of services and of this machine. What
    is there stays: certificates until a month before their end, tokens for good. Raises ValueError
    for what no certificate can name.
    """
    now = now or datetime.datetime.now(datetime.UTC)
    subjects = [_subject(host) for host in (*_names_of_services(), *HERE, *hosts)]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = False
    if not (_lasts(folder / CERTIFICATE, subjects, now) and (folder / KEY).exists()):
        _write_certificates(folder, subjects, now)
        made = True
    return _add_tokens(folder) or made


def _add_tokens(folder: Path) -> bool:
    """Write the tokens of holders who have none; return whether there were any."""
    file = folder / TOKENS
    known = {token.name for token in read_tokens(file)} if file.exists() else set()
    tokens = {name: new_token() for name in HOLDERS if name not in known}
    if not tokens:
        return False
    for name, token in tokens.items():
        _write(folder / f"{name}.token", f"{token}\n".encode())
    lines = [line_of(name, HOLDERS[name], token) for name, token in tokens.items()]
    before = file.read_text() if known else ""
    _write(file, (before + "".join(f"{line}\n" for line in lines)).encode())
    return True


def _names_of_services() -> list[str]:
    """Return what services are called beside them, and within a cluster."""
    suffixes = ("", ".freshet", ".freshet.svc", ".freshet.svc.cluster.local")
    return [f"{name}{suffix}" for name in SERVICES for suffix in suffixes]


def _lasts(file: Path, subjects: Iterable[x509.GeneralName], now: datetime.datetime) -> bool:
    """Say whether a certificate for all of these is there and need not be renewed."""
    try:
        certificate = x509.load_pem_x509_certificate(file.read_bytes())
        named = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, x509.ExtensionNotFound):
        return False
    return set(subjects) <= set(named) and certificate.not_valid_after_utc - now > RENEWED_BEFORE


def _write_certificates(
    folder: Path, subjects: Iterable[x509.GeneralName], now: datetime.datetime
) -> None:
    """Make an authority, let it sign one certificate, and keep no key of it."""
    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority = _name("Freshet's own authority")
    of_authority = (
        _certificate(authority, authority, authority_key, now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    of_services = (
        _certificate(_name("Freshet"), authority, key, now)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.SubjectAlternativeName(subjects), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()),
            critical=False,
        )
        .sign(authority_key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    _write(folder / CA, of_authority.public_bytes(pem))
    _write(folder / KEY, key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    # Last: by it the next call sees whether all is there.
    _write(folder / CERTIFICATE, of_services.public_bytes(pem))


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime.datetime
) -> x509.CertificateBuilder:
    public = key.public_key()
    return (
        x509.CertificateBuilder(issuer, subject, public, x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))  # clocks differ
        .not_valid_after(now + VALID)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _usage(*, signs: bool) -> x509.KeyUsage:
    """Return what the key is for: to sign certificates, or connections."""
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _subject(host: str) -> x509.GeneralName:
    """Return what a certificate calls a host. Raises ValueError."""
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        if not _HOST.fullmatch(host):
            raise ValueError(
                f"host must be an address, or a name of letters, digits and -, was {host!r}"
            ) from None
        return x509.DNSName(host)


def _write(file: Path, content: bytes) -> None:
    """Write a file, all or nothing, that its owner alone may read."""
    part = file.with_name(f"{file.name}.part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as to:
        to.write(content)
    part.replace(file)
