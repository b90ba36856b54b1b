"""Whatever is sent, the gateway answers as its document says: fuzzed by schemathesis."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import msgspec
import pytest
import schemathesis
from hypothesis import given, settings
from schemathesis.core.result import Ok
from schemathesis.specs.openapi import checks as specs

from freshet import Client, Publisher, kafka_clients
from services.gateway.app import endpoints
from services.gateway.pages.openapi import document
from tests.unit.freshet.kafka_double import KafkaDouble
from tests.unit.freshet.ranking_double import serve
from tests.unit.gateway.kit import running

Operation = schemathesis.APIOperation[Any, Any, Any, Any]

EXAMPLES = 25  # of each operation
# Bounds of the contract that JSON Schema cannot say (control characters, bytes of UTF-8), and
# forms that it is read in beyond it (a number's text), are no mistakes.
LEFT_OUT: list[Any] = [
    specs.negative_data_rejection,
    specs.positive_data_acceptance,
]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Run a gateway before doubles in a thread of its own; return its URL."""
    started, stop = threading.Event(), threading.Event()
    urls: list[str] = []

    async def run() -> None:
        async with serve() as ranking, running(ranking.address) as gateway:
            urls.append(f"http://127.0.0.1:{gateway.port}")
            started.set()
            await asyncio.to_thread(stop.wait)

    with ExitStack() as patched:
        patch = pytest.MonkeyPatch()
        patched.callback(patch.undo)
        patch.setattr(kafka_clients, "producer", KafkaDouble().make)
        thread = threading.Thread(target=asyncio.run, args=(run(),))
        thread.start()
        try:
            assert started.wait(20)
            yield urls[0]
        finally:
            stop.set()
            thread.join()


def operations() -> list[Operation]:
    """Return the operations of the document, which the gateway itself serves alike."""
    nobody = endpoints(Publisher("127.0.0.1:1"), Client("127.0.0.1:1"), 1)
    schema = schemathesis.openapi.from_dict(json.loads(msgspec.json.encode(document(nobody))))
    found = list(schema.get_all_operations())
    assert all(isinstance(each, Ok) for each in found)
    return [each.ok() for each in found if isinstance(each, Ok)]


@pytest.mark.parametrize("operation", operations(), ids=lambda operation: operation.label)
def test_every_answer_is_one_of_the_document(address: str, operation: Operation) -> None:
    @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, database=None)
    @given(operation.as_strategy())
    def answered_as_it_says(case: schemathesis.Case[Any]) -> None:
        case.query.pop("timeout_ms", None)  # within a ms no call is answered
        case.call_and_validate(base_url=address, excluded_checks=LEFT_OUT)

    answered_as_it_says()
