"""What goes wrong is told in one sentence, what nobody expects keeps its trace."""

from __future__ import annotations

import grpc
import pytest
from aiokafka.errors import KafkaConnectionError, TopicAuthorizationFailedError
from grpc.aio import AioRpcError, Metadata
from redis.exceptions import ConnectionError as RedisConnectionError

from services.cli.endpoints import EndpointUnavailable
from services.cli.failures import explain


def _call(code: grpc.StatusCode, details: str) -> AioRpcError:
    return AioRpcError(code, Metadata(), Metadata(), details=details)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (EndpointUnavailable("nothing answers"), "nothing answers"),
        (
            _call(grpc.StatusCode.INVALID_ARGUMENT, "k must be between 1 and 500"),
            "INVALID_ARGUMENT: k must be between 1 and 500",
        ),
        (
            _call(grpc.StatusCode.UNAVAILABLE, "failed to connect to all addresses; last error: x"),
            "ranking does not answer (failed to connect to all addresses; last error: x); start",
        ),
        (
            _call(grpc.StatusCode.UNAVAILABLE, "connections to all backends failing; last error"),
            "ranking does not answer (connections to all backends failing; last error); start",
        ),
        (
            _call(grpc.StatusCode.UNAVAILABLE, "position 0:9 is not applied yet"),
            "UNAVAILABLE: position 0:9 is not applied yet",
        ),
        (
            KafkaConnectionError("no"),
            "Kafka does not answer; start it with `freshet up` or set KAFKA_BOOTSTRAP_SERVERS",
        ),
        (TopicAuthorizationFailedError("clicks"), "Kafka: "),
        (RedisConnectionError("refused"), "Redis: refused; start it with `freshet up`"),
        (FileNotFoundError(2, "No such file", "x.csv"), "x.csv: No such file"),
        (TimeoutError("nothing came"), "nothing came"),
        (TimeoutError(), "nothing answered in time"),
    ],
)
def test_expected_failures_have_a_sentence(error: Exception, sentence: str) -> None:
    assert (explain(error) or "").startswith(sentence)


@pytest.mark.parametrize("error", [ValueError("a bug"), KeyError("a bug"), OSError("a bug")])
def test_bugs_have_none(error: Exception) -> None:
    assert explain(error) is None
