"""`freshet explain --method` explains what a running ranking says, or says why it cannot."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent import futures
from dataclasses import replace
from pathlib import Path

import grpc
import numpy as np
import pytest
from google.protobuf.message import Message

from freshet.v1 import recommender_pb2 as pb
from services.ranking.models import onnx_ranker
from services.ranking.server import SERVICE, Recommender
from services.training.models.blended.ranker import AdditiveRanker, Example
from shared.bundles.candidates import NAMES
from shared.runtime.call_guard import STATUSES
from tests.servers import ROOT
from tests.unit.ranking.test_server import answer, recommender


def answering(served: Recommender) -> grpc.GenericRpcHandler:
    """Return ranking's own answers, one at a time."""
    one_at_once = threading.Lock()

    def answered(request: Message, context: grpc.ServicerContext) -> Message:
        assert served.space is not None
        try:
            with one_at_once:
                asyncio.run(served.space.trending.renew())  # as it would every few seconds
                reply: Message = answer(request, served=served)
                return reply
        except tuple(STATUSES) as error:
            context.abort(STATUSES[type(error)], str(error))

    handlers: dict[str, grpc.RpcMethodHandler[Message, Message]] = {
        method: grpc.unary_unary_rpc_method_handler(
            answered,
            getattr(pb, f"{method}Request").FromString,
            lambda reply: reply.SerializeToString(),
        )
        for method in ("Recommend", "Explain", "State")
    }
    return grpc.method_handlers_generic_handler(SERVICE, handlers)


def at_a_port(served: Recommender) -> Iterator[str]:
    server = grpc.server(futures.ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers([answering(served)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


@pytest.fixture(scope="module")
def ranker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    tables = [rng.random((9, len(NAMES)), np.float32) for _ in range(50)]
    made = AdditiveRanker(NAMES)
    made.fit(Example(table, int(table[:, 0].argmax())) for table in tables)
    file = tmp_path_factory.mktemp("ranker") / "ranker.onnx"
    made.export(file)
    return file


@pytest.fixture(scope="module")
def ranking() -> Iterator[str]:
    """Give the address of a ranking that scores by the blend."""
    yield from at_a_port(recommender(each=20))


@pytest.fixture(scope="module")
def by_model(ranker: Path) -> Iterator[str]:
    """Give the address of a ranking that scores by a model."""
    served = recommender(each=20)
    assert served.space is not None
    served.space = replace(served.space, ranker=onnx_ranker.load(ranker))
    yield from at_a_port(served)


def explain(address: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "FRESHET_TRAINING_PYTHON": sys.executable}
    environ |= {"FRESHET_RANKING_ADDRESS": address, "FRESHET_INSECURE": "1"}
    return subprocess.run(
        [sys.executable, "-m", "services.cli", "explain", "dan", *arguments],
        cwd=ROOT,
        env={**environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def contributions(told: dict[str, list[dict[str, float | str]]]) -> dict[str, float]:
    return {str(each["name"]): float(each["contribution"]) for each in told["features"]}


def test_shap_of_a_served_item_sums_to_its_score_and_is_the_exact_parts_apart(
    ranking: str,
) -> None:
    exact = json.loads(explain(ranking, "rug-7", "--json").stdout)
    found = explain(ranking, "rug-7", "--method", "shap", "--json")
    assert found.returncode == 0, found.stderr
    told = json.loads(found.stdout)
    assert (told["method"], told["ranker"], told["item_id"]) == ("shap", "blend", "rug-7")
    added = contributions(told)
    assert told["base"] + sum(added.values()) == pytest.approx(told["score"], abs=1e-3)
    assert told["score"] == pytest.approx(exact["item"]["score"])
    # Nobody else followed: what co-visits add to this item is what they add beyond the others.
    part = {each["name"]: each["value"] for each in exact["item"]["contributions"]}["covisits"]
    assert added["covisits"] == pytest.approx(part, rel=0.05)


def test_without_an_item_every_listed_one_is_explained_what_adds_most_first(ranking: str) -> None:
    exact = json.loads(explain(ranking, "-k", "2", "--json").stdout)
    found = explain(ranking, "-k", "2", "--method", "lime")
    lines = [line.split() for line in found.stdout.splitlines()]
    listed = [each["item"]["item_id"] for each in exact]
    assert [line[0] for line in lines if line[0] in listed] == listed
    assert lines[2] == ["feature", "value", "contribution", "a", "unit"]
    assert lines[3][0] == "covisits"
    assert float(lines[3][-1]) == pytest.approx(12, abs=1)
    assert lines[-1][0] == "score"


def test_a_model_of_a_named_file_is_explained(by_model: str, ranker: Path) -> None:
    arguments = ("rug-7", "--method", "shap", "--ranker", str(ranker), "--json")
    found = explain(by_model, *arguments)
    assert found.returncode == 0, found.stderr
    told = json.loads(found.stdout)
    assert told["ranker"].startswith("onnx-")
    assert told["base"] + sum(contributions(told).values()) == pytest.approx(
        told["score"], abs=1e-3
    )


def test_a_model_that_is_not_to_be_found_is_asked_for(by_model: str) -> None:
    found = explain(by_model, "rug-7", "--method", "shap")
    assert found.returncode == 1
    assert "name the model's file with --ranker" in found.stderr


@pytest.mark.parametrize("method", ["exact", "shap"])
def test_an_unknown_item_is_said_to_be_unknown(ranking: str, method: str) -> None:
    found = explain(ranking, "nothing", "--method", method)
    assert found.returncode == 1
    assert "item_id 'nothing' is unknown" in found.stderr
    assert "Traceback" not in found.stderr


@pytest.mark.parametrize("method", ["exact", "lime"])
def test_a_ranking_that_is_away_is_said_to_be_away(method: str) -> None:
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        found = explain(f"127.0.0.1:{taken.getsockname()[1]}", "rug-7", "--method", method)
    assert found.returncode == 1
    assert "ranking does not answer" in found.stderr
