"""Measure what models cost a list on one core: `python -m tests.bench.towers [BUNDLE] [items]`.

Session tower: µs a user in batches of 64, and alone, as a list asks. Ranker: ms for 500 candidates.
Lists: made in this process for users with full histories, over graphs as snapshots have them, with
the tower and without, by turns. All are times of the CPU, which other work on the machine does not
lengthen much; with OPENBLAS_NUM_THREADS=1, or products count each thread's.

Without a bundle (or with `-`) the models are of random weights and usual sizes: two pre-norm
transformer blocks of width 64 over 50 items, as SASRec's, and a network of two layers of 64.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import hnswlib
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from freshet.v1 import recommender_pb2 as pb
from services.ranking import requests
from services.ranking.index.hnsw import HnswBase
from services.ranking.index.served import LoadedBase
from services.ranking.models.onnx_ranker import OnnxRanker
from services.ranking.models.serving_models import ServingModels
from services.ranking.recommend import recommend
from services.ranking.serving_space import ServingSpace
from services.ranking.settings import RankingSettings
from shared.bundles.bundle import SESSION, Bundle, TowerShape
from shared.bundles.candidates import NAMES
from shared.bundles.ranker import RankerModel
from shared.bundles.towers import OnnxSessionTower
from shared.catalogue.snapshots import HNSW_EF_CONSTRUCTION, HNSW_M
from shared.runtime.deadline import Costs, Deadline
from tests.unit.ranking.shop import DIM, SPACE, Shop, item_vector, near
from tests.unit.shared.bundles.graphs import constant, serialized, tensor, unit_rows

BATCH, CANDIDATES, LISTS = 64, 500, 300
WIDTH, LENGTH, BLOCKS, HIDDEN = 64, 50, 2, 64


def main(folder: str = "-", items: str = "20000") -> str:
    """Return the figures, a line each."""
    models = _usual() if folder == "-" else ServingModels.load(Path(folder))
    lines = []
    if models.tower is not None:
        lines += _tower_costs(models.tower)
    if models.ranker is not None:
        table = np.random.default_rng(0).random((CANDIDATES, len(NAMES)), np.float32)
        ranker = models.ranker
        best, median = _timed(lambda: ranker.score(table), 300)
        lines.append(
            f"ranker {ranker.name}: {CANDIDATES} candidates {best * 1e3:.2f} ms"
            f" (median {median * 1e3:.2f})"
        )
    if models.tower is not None:
        lines.append(asyncio.run(_lists(models.tower, int(items))))
    return "\n".join(lines)


def _tower_costs(tower: OnnxSessionTower) -> list[str]:
    history = _units(BATCH * tower.length, tower.dim).reshape(BATCH, tower.length, tower.dim)
    mask = np.ones((BATCH, tower.length), np.float32)
    best, median = (took / BATCH for took in _timed(lambda: tower.queries(history, mask), 60))
    alone = _timed(lambda: tower.query(history[0]), 300)
    return [
        f"session tower {tower.model}, {tower.length} items of {tower.dim}: a user in batches of"
        f" {BATCH} {best * 1e6:.0f} µs (median {median * 1e6:.0f}); alone {alone[0] * 1e6:.0f} µs"
        f" (median {alone[1] * 1e6:.0f})",
        f"at the fold it would add that to each event: at most {1 / (20e-6 + best):,.0f} events/s"
        " by a worker whose fold takes 20 µs, and nothing else",
    ]


async def _lists(tower: OnnxSessionTower, count: int) -> str:
    shop = Shop(each=0)
    towers = _units(count, tower.dim).astype(np.float16)
    shop.put(
        item_vector(
            f"item-{n}", near(n % DIM, n), tower_vector=towers[n], categories=(f"{n % 20}",)
        )
        for n in range(count)
    )
    random = np.random.default_rng(2)
    users = [f"user-{n}" for n in range(50)]
    for user in users:
        shop.user(user, [("click", f"item-{n}") for n in random.integers(0, count, LENGTH)])
    without = dataclasses.replace(shop.space, tower=None)
    with_tower = ServingSpace.build(
        shop.catalogue, shop.reader, RankingSettings(), tower=tower, now_ms=shop.space.now_ms
    )
    search = with_tower.tower
    assert search is not None
    keys = shop.catalogue.keys.copy()
    for index, vectors in (
        (without.index, shop.catalogue.vectors),
        (with_tower.index, shop.catalogue.vectors),
        (search.index, towers),
    ):
        await index.adopt(partial(_graph, keys, vectors.copy()))
    took: dict[str, list[float]] = {"with": [], "without": []}
    costs = Costs(), Costs()
    for space in (without, with_tower):
        await space.trending.renew()
    for turn in range(LISTS):
        query = requests.recommend(pb.RecommendRequest(user_id=users[turn % len(users)], k=20))
        for name, space, known in (("without", without, costs[0]), ("with", with_tower, costs[1])):
            deadline = Deadline(time.monotonic() + 60, time.monotonic, known)
            began_s = time.process_time()
            await recommend(query, space, deadline)
            took[name].append(time.process_time() - began_s)
    p50 = {name: float(np.median(each[20:])) * 1e3 for name, each in took.items()}
    least = {name: min(each[20:]) * 1e3 for name, each in took.items()}
    return (
        f"a list over {count:,} items: p50 {p50['without']:.2f} ms without the tower,"
        f" {p50['with']:.2f} with (best {least['without']:.2f} and {least['with']:.2f})"
    )


def _graph(keys: NDArray[np.uint64], vectors: NDArray[np.float16]) -> LoadedBase:
    graph = hnswlib.Index("ip", vectors.shape[1])
    graph.init_index(len(vectors), M=HNSW_M, ef_construction=HNSW_EF_CONSTRUCTION)
    graph.add_items(vectors.astype(np.float32), np.arange(len(vectors)), num_threads=1)
    return LoadedBase("measured", HnswBase(graph), keys, vectors)


def _timed(work: Callable[[], object], times: int) -> tuple[float, float]:
    """Return the CPU seconds that work takes: the best and the median."""
    took = []
    for _ in range(times):
        began_s = time.thread_time()
        work()
        took.append(time.thread_time() - began_s)
    return min(took), float(np.median(took))


def _units(count: int, width: int) -> NDArray[np.float32]:
    rows = np.random.default_rng(1).standard_normal((count, width), np.float32)
    units: NDArray[np.float32] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return units


def _usual() -> ServingModels:
    shape = TowerShape(dim=WIDTH, model="random", length=LENGTH)
    files = {SESSION: _transformer()}
    tower = OnnxSessionTower(Bundle(SPACE, DIM, 0, 0, 0, {}, files, shape))
    return ServingModels(SPACE, OnnxRanker(RankerModel(_network())), tower)


def _network() -> bytes:
    """Return a ranker of random weights over all features, two layers of HIDDEN."""
    random = np.random.default_rng(0)
    widths = [len(NAMES), HIDDEN, HIDDEN, 1]
    nodes, weights, last = [], [], "x"
    for layer, (rows, columns) in enumerate(zip(widths, widths[1:], strict=False)):
        weights.append(constant(f"w{layer}", random.standard_normal((rows, columns)) / rows**0.5))
        nodes.append(helper.make_node("MatMul", [last, f"w{layer}"], [f"m{layer}"]))
        nodes.append(helper.make_node("Relu", [f"m{layer}"], [f"r{layer}"]))
        last = f"r{layer}"
    graph = helper.make_graph(
        nodes[:-1],
        "network",
        [tensor("x", "n", len(NAMES))],
        [tensor(nodes[-2].output[0], "n", 1)],
        weights,
    )
    return serialized(graph, features=json.dumps(NAMES))


def _transformer() -> bytes:
    """Return a session tower of random weights: pre-norm blocks with one head, as SASRec's."""
    random = np.random.default_rng(0)
    weights = [
        constant("one", np.ones(WIDTH)),
        constant("zero", np.zeros(WIDTH)),
        constant("positions", random.standard_normal((LENGTH, WIDTH)) * 0.02),
        constant("causal", np.triu(np.full((LENGTH, LENGTH), -1e9), 1)),
        constant("root", WIDTH**0.5),
        constant("tiny", 1e-6),
        constant("middle", [1], np.int64),
        constant("end", LENGTH - 1, np.int64),
        constant("far", -1e9),
        constant("one number", 1.0),
    ]
    nodes: list[onnx.NodeProto] = []

    def node(kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"{kind}{len(nodes)}"
        nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def linear(value: str) -> str:
        name = f"w{len(weights)}"
        weights.append(constant(name, random.standard_normal((WIDTH, WIDTH)) / WIDTH**0.5))
        return node("MatMul", value, name)

    padding = node("Mul", node("Sub", "one number", "mask"), "far")
    bias = node("Add", "causal", node("Unsqueeze", padding, "middle"))
    x = node("Add", "items", "positions")
    for _ in range(BLOCKS):
        normed = node("LayerNormalization", x, "one", "zero")
        keys = node("Transpose", linear(normed), perm=[0, 2, 1])
        logits = node("Div", node("MatMul", linear(normed), keys), "root")
        attention = node("Softmax", node("Add", logits, bias))
        x = node("Add", x, linear(node("MatMul", attention, linear(normed))))
        normed = node("LayerNormalization", x, "one", "zero")
        x = node("Add", x, linear(node("Relu", linear(normed))))
    last = node("Gather", node("LayerNormalization", x, "one", "zero"), "end", axis=1)
    graph = helper.make_graph(
        [*nodes, *unit_rows(last, "query")],
        "session",
        [tensor("items", "b", LENGTH, WIDTH), tensor("mask", "b", LENGTH)],
        [tensor("query", "b", WIDTH)],
        weights,
    )
    return serialized(graph)


if __name__ == "__main__":
    sys.stdout.write(main(*sys.argv[1:]) + "\n")
