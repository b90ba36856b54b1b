"""Kafka behind TLS and SCRAM, Redis behind TLS and a password: the servers of test_security."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

import trustme
from cryptography.hazmat.primitives import serialization

from services.cli.up.kafka import EmbeddedKafka, server_properties
from services.cli.up.process import free_port
from services.cli.up.valkey import EmbeddedValkey
from tests.conftest import REDIS_PROGRAM
from tests.servers import run_kafka_tool

USER = "freshet-app"
PASSWORD = "right: p%ss/w@rd?"  # with all that a URL would take for something else
SCRAM_LOGIN = "org.apache.kafka.common.security.scram.ScramLoginModule required;"


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority, and a server certificate for this machine from it (PEM files)."""

    ca: Path
    key_and_chain: Path
    server_tls: ssl.SSLContext


def make_authority(folder: Path) -> Authority:
    """Make an authority of our own and write its files."""
    folder.mkdir(parents=True, exist_ok=True)
    root = trustme.CA()
    issued = root.issue_cert("127.0.0.1", "localhost")
    key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), password=None)
    pkcs8 = key.private_bytes(  # the one form that Kafka reads
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    made = Authority(
        folder / "ca.pem",
        folder / "server.pem",
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH),
    )
    root.cert_pem.write_to_path(str(made.ca))
    made.key_and_chain.write_bytes(pkcs8 + b"".join(p.bytes() for p in issued.cert_chain_pems))
    issued.configure_cert(made.server_tls)
    return made


class SecuredKafka:
    """The project's Kafka, to which clients come by SASL_SSL and SCRAM-SHA-512 alone."""

    def __init__(self, folder: Path, authority: Authority, *, with_rights: bool = False) -> None:
        """with_rights: USER may do what it is allowed, and nothing else."""
        self._authority = authority
        plain, controller, secured = (free_port() for _ in range(3))
        self.plain = f"127.0.0.1:{plain}"  # for who may do everything
        self.bootstrap = f"127.0.0.1:{secured}"
        usual = server_properties(plain, controller)
        settings = {
            "listeners": f"{usual['listeners']},CLIENT://{self.bootstrap}",
            "advertised.listeners": f"{usual['advertised.listeners']},CLIENT://{self.bootstrap}",
            "listener.security.protocol.map": (
                f"{usual['listener.security.protocol.map']},CLIENT:SASL_SSL"
            ),
            "controller.quorum.voters": usual["controller.quorum.voters"],
            "inter.broker.listener.name": "PLAINTEXT",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(authority.key_and_chain),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(authority.ca),
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "listener.name.client.sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "listener.name.client.scram-sha-512.sasl.jaas.config": SCRAM_LOGIN,
        }
        if with_rights:
            settings |= {
                "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
                "super.users": "User:ANONYMOUS",
            }
        self._broker = EmbeddedKafka(folder, plain, settings=settings)

    def start(self) -> None:
        """Start the broker and let USER in."""
        plain = self._broker.start()
        run_kafka_tool(
            *("kafka.admin.ConfigCommand", "--bootstrap-server", plain, "--alter"),
            *("--entity-type", "users", "--entity-name", USER),
            *("--add-config", f"SCRAM-SHA-512=[password={PASSWORD}]"),
        )

    def allow(self, operation: str, *resource: str) -> None:
        """Let USER do something, with a resource as Kafka's own tool names it: --topic, items."""
        run_kafka_tool(
            *("org.apache.kafka.tools.AclCommand", "--bootstrap-server", self.plain, "--add"),
            *("--allow-principal", f"User:{USER}", "--operation", operation, *resource),
        )

    def kill(self) -> None:
        """End the broker."""
        self._broker.kill()

    def environ(self, password: str = PASSWORD) -> dict[str, str]:
        """Return the variables by which a service finds its way in."""
        return {
            "KAFKA_BOOTSTRAP_SERVERS": self.bootstrap,
            "FRESHET_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "FRESHET_KAFKA_CA_FILE": str(self._authority.ca),
            "FRESHET_KAFKA_SASL_USERNAME": USER,
            "FRESHET_KAFKA_SASL_PASSWORD": password,
        }


@contextlib.contextmanager
def redis_with_password(folder: Path) -> Iterator[EmbeddedValkey]:
    """Run a Redis server where USER may do everything and all others may do nothing but PING."""
    folder.mkdir(parents=True, exist_ok=True)
    rules = folder / "users.acl"
    hashed = sha256(PASSWORD.encode()).hexdigest()
    rules.write_text(f"user default on nopass -@all +ping\nuser {USER} on ~* &* +@all #{hashed}\n")
    server = EmbeddedValkey(folder, program=REDIS_PROGRAM, settings={"aclfile": str(rules)})
    server.start()
    yield server
    server.kill()


@contextlib.asynccontextmanager
async def redis_over_tls(server: EmbeddedValkey, authority: Authority) -> AsyncIterator[int]:
    """Put TLS before a Redis server that speaks none itself (Valkey's wheel); yields the port."""
    port = int(server.url.removesuffix("/0").rpartition(":")[2])

    served: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        served.add(task)
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.suppress(asyncio.CancelledError):  # asyncio would report it as an error
            await asyncio.gather(_pump(reader, inner_writer), _pump(inner_reader, writer))
        for end in (writer, inner_writer):
            end.transport.abort()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=authority.server_tls)
    try:
        yield int(listener.sockets[0].getsockname()[1])
    finally:
        listener.close()
        for task in served:
            task.cancel()
        await asyncio.gather(*served, return_exceptions=True)


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(65_536):
            sink.write(data)
            await sink.drain()
    with contextlib.suppress(OSError):
        sink.close()


def redis_url(port: int, authority: Authority, password: str = PASSWORD) -> str:
    """Return the URL of Redis behind TLS."""
    who = f"{USER}:{quote(password, safe='')}"
    return f"rediss://{who}@127.0.0.1:{port}/0?ssl_ca_certs={quote(str(authority.ca))}"
