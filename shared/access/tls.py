"""Show a certificate at every port, and ask callers for theirs; both as their files are by now."""

from __future__ import annotations

import ssl
from typing import Final, NamedTuple

import grpc

from freshet.access import Certificate, read_authorities
from freshet.renewed_files import RenewedFiles

ALPN: Final = ["http/1.1"]


class _Read(NamedTuple):
    """What one reading of the files gave, for each kind of port."""

    grpc: grpc.ServerCertificateConfiguration
    http: dict[ssl.VerifyMode, ssl.SSLContext]  # by what becomes of who shows no certificate


class ServerTls:
    """Gives ports what secures them; each new connection gets what the files hold by then.

    Connections that are there go on with what they began with.
    """

    def __init__(self, certificate: Certificate, client_ca_file: str = "") -> None:
        """client_ca_file: whoever signs callers' certificates; empty: they are not asked for.

        Raises OSError and ValueError for files that cannot be used.
        """
        self.mutual = bool(client_ca_file)
        self._certificate = certificate
        self._client_ca_file = client_ca_file
        files = [*certificate.files, *filter(None, [client_ca_file])]
        self._files = RenewedFiles(files, self._read)
        self._given = self._files.latest()

    def grpc_credentials(self) -> grpc.ServerCredentials:
        """Return the credentials of a gRPC port: without a certificate of theirs none gets in."""
        return grpc.dynamic_ssl_server_credentials(
            self._given.grpc,
            self._fetch,  # type: ignore[arg-type]  # the types leave out that it may be None
            require_client_authentication=self.mutual,
        )

    def http_context(self, *, required: bool = False) -> ssl.SSLContext:
        """Return the context of an HTTP port.

        required: without a certificate of theirs none gets in; else pages say who needs one, as
        probes have none: it is asked for, and looked at where there is one.
        """
        mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
        context = self._files.latest().http[mode]

        def renew(connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
            connection.context = self._files.latest().http[mode]

        context.sni_callback = renew
        return context

    def _fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """Return what a new connection shall see, None for what it was before.

        gRPC asks in a thread of its own, for one connection at a time.
        """
        before, self._given = self._given, self._files.latest()
        return None if self._given is before else self._given.grpc

    def _read(self) -> _Read:
        chain, key = self._certificate.read()
        authorities = read_authorities(self._client_ca_file) if self.mutual else None
        config = grpc.ssl_server_certificate_configuration([(key, chain)], authorities)
        modes = (ssl.CERT_OPTIONAL, ssl.CERT_REQUIRED)
        return _Read(config, {mode: self._http_context(mode) for mode in modes})

    def _http_context(self, mode: ssl.VerifyMode) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(ALPN)
        context.load_cert_chain(self._certificate.cert_file, self._certificate.key_file)
        if self.mutual:
            context.load_verify_locations(self._client_ca_file)
            context.verify_mode = mode
        return context
