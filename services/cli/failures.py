"""Say in one plain sentence what a person at the terminal can do something about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from freshet.contract.records import BadRecord
from freshet.errors import FreshetError
from freshet.settings import BadSetting
from services.cli.addresses import NothingRuns
from services.cli.endpoints import EndpointUnavailable
from services.cli.up.jars import JarsMissing
from services.cli.up.lock import AlreadyRunning
from services.cli.up.process import StartFailed
from shared.inputs.refusals import BadInput

if TYPE_CHECKING:
    import grpc


class Failed(RuntimeError):
    """A command could not do its work; the text says why and what would help."""


# How gRPC begins where no server said a word; all else comes from ranking itself.
NOT_REACHED: Final = (
    "failed to connect",
    "connections to all backends failing",
    "DNS resolution failed",
    "Socket closed",
    "Connection",
)

SPEAK_FOR_THEMSELVES = (
    AlreadyRunning,
    BadInput,
    BadRecord,
    BadSetting,
    Failed,
    JarsMissing,
    EndpointUnavailable,
    NothingRuns,
    StartFailed,
)


def explain(error: Exception) -> str | None:
    """Return what to tell the user, None for an error that nobody expects (it keeps its trace)."""
    if isinstance(error, SPEAK_FOR_THEMSELVES):
        return str(error)
    return _of_libraries(error)


def _of_libraries(error: Exception) -> str | None:
    # Imported here: they take a quarter of a second, which a command that goes well need not wait.
    import grpc
    from aiokafka.errors import KafkaConnectionError, KafkaError
    from redis.exceptions import RedisError

    if isinstance(error, FreshetError):
        cause = error.__cause__
        return (_of_libraries(cause) if isinstance(cause, Exception) else None) or str(error)
    if isinstance(error, grpc.aio.AioRpcError):
        return _call(error)
    if isinstance(error, KafkaConnectionError):
        return "Kafka does not answer; start it with `freshet up` or set KAFKA_BOOTSTRAP_SERVERS"
    if isinstance(error, KafkaError):
        return f"Kafka: {error}"
    if isinstance(error, RedisError):
        return f"Redis: {error}; start it with `freshet up` or set REDIS_URL"
    if isinstance(error, TimeoutError):
        return str(error) or "nothing answered in time"
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return None


def _call(error: grpc.aio.AioRpcError) -> str:
    import grpc

    details = error.details() or ""
    if error.code() == grpc.StatusCode.UNAVAILABLE and details.startswith(NOT_REACHED):
        return f"ranking does not answer ({details}); start it with `freshet up`"
    return f"{error.code().name}: {error.details()}"
