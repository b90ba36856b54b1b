"""The index that ranking serves: arrivals, deletes, new vectors and new bases."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from services.ranking.index import layers
from services.ranking.index import served as module
from services.ranking.index.layers import Layers
from services.ranking.index.served import LoadedBase, ServedIndex
from shared.catalogue.catalogue import REUSE_AFTER_MS, Catalogue
from tests.unit.ranking.index.bases import ExactIndex, graph_of
from tests.unit.ranking.index.vectors import (
    DIM,
    brute_force,
    catalogue_with,
    clustered,
    loaded,
    puts,
)
from tests.unit.shared.catalogue.makers import SPACE, delete, put

VECTORS = clustered(3_000)
OTHERS = clustered(100, seed=5)


def served_with(count: int) -> tuple[Catalogue, ServedIndex]:
    """Return a catalogue of so many items, all in a graph, and its index."""
    catalogue = catalogue_with(puts(VECTORS[:count]))
    return catalogue, ServedIndex(catalogue, loaded(catalogue, graph_of))


def first(served: ServedIndex, vector: Any) -> int:
    """Return the nearest row."""
    return int(served.nearest(vector[None].astype(np.float32), 1)[0][0, 0])


def test_item_is_found_from_its_arrival_on() -> None:
    catalogue, served = served_with(3_000)
    catalogue.apply([put("new", 1, OTHERS[0])])
    assert first(served, OTHERS[0]) == catalogue.row("new") == 3_000
    assert served.sizes() == {"base": 3_000, "fresh": 1}


def test_deleted_item_is_found_no_more_and_the_next_one_is() -> None:
    catalogue, served = served_with(3_000)
    wanted = brute_force(catalogue, VECTORS[7], 2)
    assert wanted[0] == 7
    catalogue.apply([delete("item-7", 2)])
    assert first(served, VECTORS[7]) == wanted[1]
    catalogue.apply([put("item-7", 3, VECTORS[7])])
    assert first(served, VECTORS[7]) == catalogue.row("item-7")


def test_item_with_another_vector_is_found_there_and_not_where_it_was() -> None:
    catalogue, served = served_with(3_000)
    catalogue.apply([put("item-7", 2, OTHERS[0])])
    assert first(served, OTHERS[0]) == catalogue.row("item-7")
    rows, _ = served.nearest(VECTORS[7:8].astype(np.float32), 100)
    assert 7 not in rows


def test_item_on_a_row_that_another_had_is_found_by_its_own_vector_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(layers, "EXACT_ROW_US", 1e9)  # so that the base is asked
    catalogue, served = served_with(3_000)
    catalogue.apply([delete("item-7", 2)], now_ms=1)
    catalogue.apply([put("new", 1, OTHERS[0])], now_ms=1 + REUSE_AFTER_MS)
    assert catalogue.row("new") == 7
    assert first(served, OTHERS[0]) == 7
    rows, scores = served.nearest(VECTORS[7:8].astype(np.float32), 2_000)
    assert scores[rows == 7].max(initial=-1) < 0.9


def test_deletes_of_most_of_the_base_leave_the_rest_to_be_found() -> None:
    catalogue, served = served_with(3_000)
    catalogue.apply([delete(f"item-{n}", 2) for n in range(3_000) if n % 10])
    queries = VECTORS[:50].astype(np.float32)
    rows, _ = served.nearest(queries, 20)
    assert rows.tolist() == [brute_force(catalogue, query, 20) for query in queries]


async def test_new_base_takes_over_what_was_fresh_without_changing_answers() -> None:
    catalogue, served = served_with(2_000)
    catalogue.apply(puts(VECTORS[2_000:], first=2_000))
    catalogue.apply([delete("item-3", 2), put("item-4", 2, OTHERS[0])])
    queries = VECTORS[:100].astype(np.float32)
    before = served.nearest(queries, 5)[0]
    await served.adopt(lambda: loaded(catalogue, graph_of, "newer"))
    after = served.nearest(queries, 5)[0]
    assert served.name == "newer"
    assert served.sizes() == {"base": 2_999, "fresh": 0}
    assert np.count_nonzero(before != after) <= 5


async def test_base_of_an_older_catalogue_is_completed_by_what_came_since() -> None:
    catalogue, served = served_with(2_000)
    older = loaded(catalogue, graph_of, "older")
    catalogue.apply(puts(VECTORS[2_000:], first=2_000))
    catalogue.apply([delete("item-3", 2), put("item-4", 2, OTHERS[0])])
    await served.adopt(lambda: older)
    assert served.sizes() == {"base": 1_998, "fresh": 1_001}
    assert first(served, OTHERS[0]) == catalogue.row("item-4")
    assert first(served, VECTORS[2_500]) == catalogue.row("item-2500")
    assert first(served, VECTORS[3]) != 3


async def test_changes_while_a_base_is_matched_are_not_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    catalogue, served = served_with(1_000)
    matched, changed = threading.Event(), threading.Event()

    def slow_layers(*args: Any) -> Layers:
        built = Layers(*args)
        matched.set()
        assert changed.wait(10)
        return built

    monkeypatch.setattr(module, "Layers", slow_layers)
    adopting = asyncio.create_task(served.adopt(lambda: loaded(catalogue, ExactIndex, "newer")))
    assert await asyncio.to_thread(matched.wait, 10)
    catalogue.apply([put("new", 1, OTHERS[0]), delete("item-3", 2)], now_ms=1)
    catalogue.apply([put("item-5", 2, OTHERS[1])], now_ms=1)
    catalogue.apply([put("reused", 1, OTHERS[2])], now_ms=1 + REUSE_AFTER_MS)
    assert catalogue.row("reused") == 3
    changed.set()
    await adopting
    assert served.name == "newer"
    monkeypatch.setattr(layers, "EXACT_ROW_US", 1e9)
    for name, vector in (("new", OTHERS[0]), ("item-5", OTHERS[1]), ("reused", OTHERS[2])):
        assert first(served, vector) == catalogue.row(name)
    assert first(served, VECTORS[3]) != 3
    assert first(served, VECTORS[5]) != 5
    assert served.sizes() == {"base": 998, "fresh": 3}


@pytest.mark.parametrize("wrong", ["size", "count"])
async def test_base_that_is_not_of_this_catalogue_is_refused_and_the_one_before_stays(
    wrong: str,
) -> None:
    catalogue, served = served_with(500)
    good = loaded(catalogue, ExactIndex, "wrong")
    vectors = good.vectors[:, :8] if wrong == "size" else good.vectors[:9]
    with pytest.raises(ValueError, match="base wrong must have vectors"):
        await served.adopt(lambda: good._replace(vectors=vectors))
    assert served.name == "base"
    assert first(served, VECTORS[7]) == 7
    await served.adopt(lambda: good._replace(name="right"))
    assert served.name == "right"


async def test_loading_that_fails_leaves_all_as_it_was() -> None:
    catalogue, served = served_with(500)

    def load() -> LoadedBase:
        raise RuntimeError("Index seems to be corrupted or unsupported")

    with pytest.raises(RuntimeError, match="corrupted"):
        await served.adopt(load)
    catalogue.apply([put("new", 1, OTHERS[0])])
    assert served.name == "base"
    assert first(served, OTHERS[0]) == catalogue.row("new")


def test_base_of_items_that_are_all_unknown_adds_nothing() -> None:
    stranger = catalogue_with(puts(VECTORS[:50], first=500))
    catalogue = catalogue_with(puts(VECTORS[:3]))
    served = ServedIndex(catalogue, loaded(stranger, graph_of))
    assert served.sizes() == {"base": 0, "fresh": 3}
    assert first(served, VECTORS[2]) == 2
    assert ServedIndex(Catalogue(SPACE, DIM), loaded(stranger, graph_of)).sizes() == {
        "base": 0,
        "fresh": 0,
    }


def test_graph_that_cannot_return_enough_is_made_up_for_by_looking_at_each() -> None:
    class Unreachable:
        """A graph whose search always fails, as hnswlib's does on a disconnected one."""

        count = 3_000

        def fetch(self, vectors: Any, k: int) -> Any:
            return np.empty((len(vectors), 0), np.int64), np.empty((len(vectors), 0), np.float32)

    catalogue = catalogue_with(puts(VECTORS))
    served = ServedIndex(catalogue, loaded(catalogue, lambda _: Unreachable()))
    queries = VECTORS[:5].astype(np.float32)
    assert served.nearest(queries, 9)[0].tolist() == [
        brute_force(catalogue, query, 9) for query in queries
    ]


POOL = clustered(60, seed=11)


class AnyChanges(RuleBasedStateMachine):
    """Items come, go and come anew; bases are built and swapped in, new and old ones."""

    def __init__(self) -> None:
        super().__init__()
        self.catalogue = Catalogue(SPACE, DIM)
        self.served = ServedIndex(self.catalogue)
        self.version = self.now_ms = 0
        self.kept: LoadedBase | None = None

    @rule(
        item=st.integers(0, 12), vector=st.integers(0, 59), later_ms=st.sampled_from((0, 200_000))
    )
    def put(self, item: int, vector: int, later_ms: int) -> None:
        self.version, self.now_ms = self.version + 1, self.now_ms + later_ms
        change = put(f"item-{item}", self.version, POOL[vector])
        self.catalogue.apply([change], now_ms=self.now_ms)

    @rule(item=st.integers(0, 12))
    def delete(self, item: int) -> None:
        self.version += 1
        self.catalogue.apply([delete(f"item-{item}", self.version)], now_ms=self.now_ms)

    @rule()
    def keep_a_base(self) -> None:
        self.kept = loaded(self.catalogue, ExactIndex)

    @rule()
    def serve_from_the_base_kept(self) -> None:
        self.served = ServedIndex(self.catalogue, self.kept)

    @invariant()
    def answers_are_those_of_a_plain_search(self) -> None:
        query = POOL[17].astype(np.float32)
        for k in (3, 40):
            rows, scores = self.served.nearest(query[None], k)
            wanted = brute_force(self.catalogue, query, k)
            found = rows[0][rows[0] >= 0].tolist()
            products = self.catalogue.vectors[found].astype(np.float32) @ query
            best = self.catalogue.vectors[wanted].astype(np.float32) @ query
            np.testing.assert_allclose(scores[0][: len(wanted)], best, atol=1e-5)
            np.testing.assert_allclose(products, best, atol=1e-5)


@pytest.mark.parametrize(
    "row_us", [layers.EXACT_ROW_US, 1e9], ids=["estimated", "never row by row"]
)
def test_whatever_comes_goes_and_is_swapped_answers_are_those_of_a_plain_search(
    row_us: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layers, "EXACT_ROW_US", row_us)
    run_state_machine_as_test(
        AnyChanges, settings=settings(max_examples=30, stateful_step_count=25, deadline=None)
    )
