"""What every index promises, over each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from services.ranking.index import layers
from services.ranking.index.served import ServedIndex
from shared.catalogue.catalogue import Catalogue
from tests.unit.ranking.index.bases import ExactIndex, graph_of
from tests.unit.ranking.index.vectors import (
    CLUSTERS,
    DIM,
    brute_force,
    catalogue_with,
    clustered,
    loaded,
    puts,
)
from tests.unit.shared.catalogue.makers import delete

Index = ExactIndex | ServedIndex
COUNT = 4_000
VECTORS = clustered(COUNT)
Floats = NDArray[np.float32]


def exact(vectors: NDArray[np.float16]) -> tuple[Index, Catalogue]:
    return ExactIndex(vectors), catalogue_with(puts(vectors))


def fresh(vectors: NDArray[np.float16]) -> tuple[Index, Catalogue]:
    """All in the fresh segment."""
    catalogue = catalogue_with([])
    served = ServedIndex(catalogue)
    catalogue.apply(puts(vectors))
    return served, catalogue


def hnsw(vectors: NDArray[np.float16]) -> tuple[Index, Catalogue]:
    """All in a graph."""
    catalogue = catalogue_with(puts(vectors))
    return ServedIndex(catalogue, loaded(catalogue, graph_of)), catalogue


def mixed(vectors: NDArray[np.float16]) -> tuple[Index, Catalogue]:
    """A graph of two thirds and as many that are gone; the others came since, one in four anew."""
    held = 2 * len(vectors) // 3
    gone = clustered(held, seed=7)
    catalogue = catalogue_with([*puts(vectors[:held]), *puts(gone, first=1_000_000)])
    served = ServedIndex(catalogue, loaded(catalogue, graph_of))
    catalogue.apply([delete(f"item-{1_000_000 + n}", 2) for n in range(held)])
    catalogue.apply(puts(clustered(held // 4, seed=8), version=2))
    catalogue.apply(puts(vectors[: held // 4], version=3))
    catalogue.apply(puts(vectors[held:], first=held))
    return served, catalogue


Maker = Callable[[NDArray[np.float16]], tuple[Index, Catalogue]]
KINDS: dict[str, tuple[Maker, bool]] = {
    "exact": (exact, False),
    "fresh": (fresh, False),
    "hnsw": (hnsw, False),
    "mixed": (mixed, False),
    # So small a catalogue is often searched row by row; here the graph is asked every time.
    "hnsw, never row by row": (hnsw, True),
    "mixed, never row by row": (mixed, True),
}


@pytest.fixture(scope="module", params=KINDS)
def maker(request: pytest.FixtureRequest) -> Iterator[Maker]:
    made, always_graph = KINDS[request.param]
    with pytest.MonkeyPatch.context() as patch:
        if always_graph:
            patch.setattr(layers, "EXACT_ROW_US", 1e9)
        yield made


@pytest.fixture(scope="module")
def filled(maker: Maker) -> tuple[Index, Catalogue]:
    return maker(VECTORS)


def queries(count: int, seed: int = 3) -> Floats:
    return clustered(count, seed).astype(np.float32)


def test_nearest_are_found_best_first_with_their_inner_products(
    filled: tuple[Index, Catalogue],
) -> None:
    index, catalogue = filled
    asked = queries(50)
    rows, scores = index.nearest(asked, 20)
    assert rows.shape == scores.shape == (50, 20)
    assert rows.dtype == np.int64
    assert scores.dtype == np.float32
    assert (np.diff(scores, axis=1) <= 0).all()
    products = np.einsum("qkd,qd->qk", catalogue.vectors[rows].astype(np.float32), asked)
    np.testing.assert_allclose(scores, products, atol=1e-5)
    assert all(len(set(found)) == 20 for found in rows.tolist())
    assert catalogue.alive[rows].all()
    hits = sum(
        len(set(found) & set(brute_force(catalogue, query, 20)))
        for query, found in zip(asked, rows.tolist(), strict=True)
    )
    assert hits >= 0.97 * 50 * 20


def test_each_items_own_vector_finds_it_first(filled: tuple[Index, Catalogue]) -> None:
    index, catalogue = filled
    living = np.flatnonzero(catalogue.alive)[:500]
    rows, scores = index.nearest(catalogue.vectors[living].astype(np.float32), 1)
    assert np.count_nonzero(rows[:, 0] == living) >= 498
    np.testing.assert_allclose(scores[:, 0], 1, atol=2e-3)


@pytest.mark.parametrize("share", [0.8, 0.3, 0.05])
def test_filtered_search_returns_the_nearest_of_the_allowed(
    filled: tuple[Index, Catalogue], share: float
) -> None:
    index, catalogue = filled
    allowed = np.random.default_rng(5).random(len(catalogue)) < share
    asked = queries(20)
    rows, _ = index.nearest(asked, 10, allowed)
    assert allowed[rows].all()
    assert catalogue.alive[rows].all()
    hits = sum(
        len(set(found) & set(brute_force(catalogue, query, 10, allowed)))
        for query, found in zip(asked, rows.tolist(), strict=True)
    )
    assert hits >= 0.97 * 20 * 10


def test_filter_that_leaves_few_items_still_returns_them_all(
    filled: tuple[Index, Catalogue],
) -> None:
    index, catalogue = filled
    asked = queries(1)
    living = np.flatnonzero(catalogue.alive)
    scores = catalogue.vectors[living].astype(np.float32) @ asked[0]
    farthest = living[np.argsort(scores)[:7]]
    allowed = np.zeros(len(catalogue), np.bool_)
    allowed[farthest] = True
    rows, found_scores = index.nearest(asked, 50, allowed)
    assert set(rows[0, :7].tolist()) == set(farthest.tolist())
    assert (rows[0, 7:] == -1).all()
    assert (found_scores[0, 7:] == -np.inf).all()


def test_allowed_items_far_from_the_query_are_returned_all_the_same(
    filled: tuple[Index, Catalogue],
) -> None:
    index, catalogue = filled
    asked = VECTORS[:1].astype(np.float32)  # of the first cluster
    near = catalogue.vectors.astype(np.float32) @ asked[0]
    allowed = near < np.quantile(near, 0.7)  # most items, but none of the query's surroundings
    rows, _ = index.nearest(asked, 30, allowed)
    found, wanted = set(rows[0].tolist()), set(brute_force(catalogue, asked[0], 30, allowed))
    assert -1 not in found
    assert len(found & wanted) >= 28


def test_filter_that_allows_nothing_has_no_hits(filled: tuple[Index, Catalogue]) -> None:
    index, catalogue = filled
    for allowed in (np.zeros(len(catalogue), np.bool_), np.zeros(0, np.bool_)):
        rows, scores = index.nearest(queries(2), 3, allowed)
        assert (rows == -1).all()
        assert (scores == -np.inf).all()


def test_rows_beyond_a_filters_end_are_not_allowed(filled: tuple[Index, Catalogue]) -> None:
    index, catalogue = filled
    asked = catalogue.vectors[-5:].astype(np.float32)
    allowed = np.ones(len(catalogue) - 300, np.bool_)
    rows, _ = index.nearest(asked, 10, allowed)
    assert rows.max() < len(allowed)
    for query, found in zip(asked, rows.tolist(), strict=True):
        assert len(set(found) & set(brute_force(catalogue, query, 10, allowed))) >= 9


def test_k_beyond_the_catalogue_returns_every_item(maker: Maker) -> None:
    index, catalogue = maker(VECTORS[:90])
    rows, scores = index.nearest(queries(2), 500)
    assert rows.shape == (2, 500)
    for found in rows:
        assert sorted(found[found >= 0].tolist()) == np.flatnonzero(catalogue.alive).tolist()
    assert (scores[:, 90:] == -np.inf).all()


def test_empty_catalogue_has_no_hits(maker: Maker) -> None:
    index, _ = maker(VECTORS[:0])
    rows, scores = index.nearest(queries(2), 3)
    assert rows.tolist() == [[-1] * 3] * 2
    assert (scores == -np.inf).all()
    assert index.nearest(queries(2), 3, np.ones(5, np.bool_))[0].tolist() == [[-1] * 3] * 2


def test_queries_that_point_nowhere_have_no_hits_and_others_keep_theirs(
    filled: tuple[Index, Catalogue],
) -> None:
    index, _ = filled
    good = queries(1)
    asked = np.repeat(good, 6, axis=0)
    asked[0, 3] = np.nan
    asked[1, 0] = np.inf
    asked[2, 0], asked[2, 1] = np.inf, -np.inf
    asked[3] = 0
    asked[4] = 1e-9
    rows, scores = index.nearest(asked, 5)
    assert (rows[:5] == -1).all()
    assert (scores[:5] == -np.inf).all()
    assert rows[5].tolist() == index.nearest(good, 5)[0][0].tolist()


def test_no_queries_have_no_answers(filled: tuple[Index, Catalogue]) -> None:
    rows, scores = filled[0].nearest(np.empty((0, DIM), np.float32), 5)
    assert rows.shape == scores.shape == (0, 5)


@pytest.mark.parametrize("shape", [(DIM,), (2, DIM + 1), (2, 0), (1, 2, DIM)])
def test_vectors_of_another_size_are_refused(
    filled: tuple[Index, Catalogue], shape: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match=r"vectors must be \(queries, 16\), were \("):
        filled[0].nearest(np.ones(shape, np.float32), 5)


def test_k_below_one_is_refused(filled: tuple[Index, Catalogue]) -> None:
    with pytest.raises(ValueError, match="k must be at least 1, was 0"):
        filled[0].nearest(queries(1), 0)


def test_float16_queries_are_searched_like_any(filled: tuple[Index, Catalogue]) -> None:
    asked = VECTORS[:CLUSTERS]
    rows, _ = filled[0].nearest(asked, 5)  # type: ignore[arg-type]
    assert rows.tolist() == filled[0].nearest(asked.astype(np.float32), 5)[0].tolist()
