"""TLS and passwords: the right ones let every service work, wrong ones are said and waited out.

Nothing that a service writes to its log holds a password or a user's id.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import psutil
import pytest

from freshet import kafka_clients
from freshet.channel import open_stub
from freshet.contract.events import Event
from freshet.contract.items import Item
from freshet.contract.topics import CLICKS
from freshet.kafka_clients import KafkaSettings
from freshet.publisher import Publisher
from freshet.settings import from_environment
from freshet.v1.recommender_pb2 import RecommendRequest
from services.cli.up.process import free_port
from services.cli.up.valkey import EmbeddedValkey
from shared.runtime.redis_client import RedisSettings, connect
from shared.users import keys
from shared.users.states import unpack
from tests.integration.secured import (
    PASSWORD,
    USER,
    Authority,
    SecuredKafka,
    make_authority,
    redis_over_tls,
    redis_url,
    redis_with_password,
)
from tests.servers import Service, eventually

pytestmark = pytest.mark.integration

SERVICES = ("embedding", "sessions", "ranking")
WRONG = "wrong-pa55word"
VISITOR = "visitor-with-a-name"
Start = Callable[..., Service]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Return the authority that all servers' certificates are from."""
    return make_authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def secured_kafka(
    authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SecuredKafka]:
    """Run a broker that asks for a password over TLS."""
    broker = SecuredKafka(tmp_path_factory.mktemp("secured-kafka"), authority)
    broker.start()
    yield broker
    broker.kill()


@pytest.fixture(scope="module")
def secured_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedValkey]:
    """Run a Redis server that asks for a password."""
    with redis_with_password(tmp_path_factory.mktemp("secured-redis")) as server:
        yield server


@dataclass(frozen=True, slots=True)
class Secured:
    """Both servers as services see them."""

    kafka: SecuredKafka
    redis_port: int
    authority: Authority

    def environ(self) -> dict[str, str]:
        """Return the variables of a service that may come in."""
        return {
            **self.kafka.environ(),
            "REDIS_URL": redis_url(self.redis_port, self.authority),
            "FRESHET_EMBEDDING_PORT": "0",
            "FRESHET_RANKING_PORT": "0",
        }


@pytest.fixture
async def secured(
    secured_kafka: SecuredKafka, secured_redis: EmbeddedValkey, authority: Authority
) -> AsyncIterator[Secured]:
    """Return where the secured servers are."""
    async with redis_over_tls(secured_redis, authority) as port:
        yield Secured(secured_kafka, port, authority)


def log_of(service: Service) -> str:
    """Return all that a service wrote."""
    return service.process.log.read_text(errors="replace")


async def test_a_click_becomes_a_list_behind_tls_and_passwords(
    secured: Secured, start_service: Start
) -> None:
    port = free_port()
    everything_said = {"FRESHET_LOG_LEVEL": "DEBUG", "FRESHET_RANKING_PORT": str(port)}
    environ = secured.environ() | everything_said
    running = [start_service(name, environ) for name in SERVICES]
    await asyncio.gather(*(service.ready() for service in running))
    client = connect(from_environment(RedisSettings, environ))
    channel, recommender = open_stub(f"127.0.0.1:{port}")
    settings = from_environment(KafkaSettings, environ)
    async with client, channel, Publisher(settings) as publisher:
        for item_id in ("secret-mug", "secret-cup"):
            await publisher.item(Item(item_id=item_id, title="A blue stoneware mug"))
        token = await publisher.event(Event(user_id=VISITOR, item_id="secret-mug", type="click"))

        async def listed() -> list[str]:
            request = RecommendRequest(user_id=VISITOR, k=5, after=token)
            reply = await recommender.Recommend(request, timeout=5)
            return [item.item_id for item in reply.items if not reply.degraded]

        async def cup_alone() -> bool:
            return await listed() == ["secret-cup"]

        await eventually(cup_alone, what="the list after the click")
        packed = await client.get(keys.user(VISITOR))
        with pytest.raises(grpc.aio.AioRpcError, match="user_id"):
            await recommender.Recommend(RecommendRequest(user_id=VISITOR + "\a"), timeout=5)
        async with kafka_clients.producer(settings) as producer:
            poison = f'{{"user_id": "{VISITOR}", "item_id": "secret-mug", "type": [7]}}'.encode()
            await producer.send_and_wait(CLICKS.name, poison, key=VISITOR.encode())
        sessions = running[SERVICES.index("sessions")]
        await eventually(lambda: sessions.status()["dead_letters"] == 1, what="the dead letter")

    for service in running:
        itself = psutil.Process(service.process.pid)
        for process in (itself, *itself.parents()):
            assert PASSWORD not in " ".join(process.cmdline())
    assert isinstance(packed, bytes)
    assert unpack(packed).history["item"].tolist() == [keys.item_key("secret-mug")]
    for service in running:
        assert await asyncio.to_thread(service.stop) == 0
        for private in (PASSWORD, USER, VISITOR):
            assert private not in log_of(service)


async def test_a_redis_that_hangs_behind_tls_does_not_spoil_the_end(
    secured: Secured, start_service: Start
) -> None:
    running = [start_service(name, secured.environ()) for name in SERVICES]
    await asyncio.gather(*(service.ready() for service in running))

    # This loop is Redis' TLS: while it waits here for the services' end, their Redis hangs.
    codes = [service.stop() for service in running]

    assert codes == [0, 0, 0], "".join(map(log_of, running))


async def test_a_wrong_kafka_password_is_said_and_waited_out(
    secured: Secured, start_service: Start
) -> None:
    environ = secured.environ() | secured.kafka.environ(WRONG)

    await all_wait(start_service, environ, "SaslAuthenticationFailed", "waiting for Kafka")


async def test_a_wrong_redis_password_is_said_and_waited_out(
    secured: Secured, start_service: Start
) -> None:
    url = redis_url(secured.redis_port, secured.authority, WRONG)

    words = "waiting for Redis", "invalid username-password pair"
    await all_wait(start_service, secured.environ() | {"REDIS_URL": url}, *words)


async def test_a_kafka_that_another_authority_vouches_for_is_told_no_password(
    secured: Secured, start_service: Start, tmp_path: Path
) -> None:
    other = {"FRESHET_KAFKA_CA_FILE": str(make_authority(tmp_path / "other").ca)}

    words = "CERTIFICATE_VERIFY_FAILED", "waiting for Kafka"
    await all_wait(start_service, secured.environ() | other, *words)


async def test_a_redis_that_another_authority_vouches_for_is_told_no_password(
    secured: Secured, start_service: Start, tmp_path: Path
) -> None:
    url = redis_url(secured.redis_port, make_authority(tmp_path / "other"))

    words = "CERTIFICATE_VERIFY_FAILED", "waiting for Redis"
    await all_wait(start_service, secured.environ() | {"REDIS_URL": url}, *words)


async def all_wait(start: Start, environ: dict[str, str], *words: str) -> None:
    """Show that every service says all words again and again, stays up, and ends when asked."""
    running = [start(name, environ) for name in SERVICES]

    def said() -> bool:
        return all(log_of(service).count(each) >= 3 for service in running for each in words)

    await eventually(said, within_s=60, what=f"{words} three times from each service")
    for service in running:
        assert service.process.poll() is None, log_of(service)
        assert await asyncio.to_thread(service.stop) == 0, log_of(service)
        log = log_of(service)
        assert "Traceback" not in log
        assert len(log.splitlines()) < 100, log  # it waits longer each time
        for private in (WRONG, PASSWORD, USER):
            assert private not in log
