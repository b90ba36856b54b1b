from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.ranking.live.newest import Newest
from tests.unit.ranking.shop import NOW_MS, Shop, item_vector, near


def newest_by_sorting(shop: Shop, kept: int) -> list[int]:
    catalogue = shop.catalogue
    living = [row for row in range(len(catalogue)) if catalogue.alive[row]]
    return sorted(living, key=lambda row: (catalogue.arrived_ms[row], row), reverse=True)[:kept]


@given(
    st.lists(st.tuples(st.sampled_from(["put", "delete", "look"]), st.integers(0, 25)), max_size=60)
)
def test_the_newest_are_those_of_a_full_sort_after_any_changes(
    changes: list[tuple[str, int]],
) -> None:
    shop = Shop(each=3)
    newest = Newest(shop.catalogue, at_most=8)
    for step, (change, number) in enumerate(changes):
        if change == "put":  # the same item again: a new row that keeps its arrival
            arrived_ms = NOW_MS - 1000 * number
            vector = near(0, 100 * number + step)
            shop.put([item_vector(f"item-{number}", vector, arrived_ms=arrived_ms)])
        elif change == "delete":
            shop.delete(f"item-{number}")
        else:
            expected = newest_by_sorting(shop, 8)
            found = newest.rows().tolist()
            assert found == expected[: len(found)]
            assert len(found) >= min(4, len(expected))  # looked up anew below half
    assert newest.rows().tolist()[:4] == newest_by_sorting(shop, 8)[:4]


def test_arrivals_and_deletes_show_at_once() -> None:
    shop = Shop(each=3)
    newest = Newest(shop.catalogue)
    shop.put([item_vector("latest", near(0, 1), arrived_ms=NOW_MS)])
    assert shop.catalogue.ids[newest.rows()[0]] == "latest"
    shop.delete("latest")
    assert "latest" not in [shop.catalogue.ids[row] for row in newest.rows()]
