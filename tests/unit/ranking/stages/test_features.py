from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from services.ranking.stages.features import (
    Covisited,
    FeatureSettings,
    covisited,
    features,
    trend_of,
    trends_for,
)
from services.ranking.stages.signals import NO_SIGNALS, Signals, Weighted
from services.ranking.stages.user_profile import profile_of
from shared.bundles.candidates import NAMES
from shared.users import keys
from tests.unit.ranking.shop import DAY_MS, NOW_MS, VECTORS, Shop, item_vector, near, weighted

SETTINGS = FeatureSettings()
HALF_LIFE_S = SETTINGS.half_lives.covisits_s


@pytest.fixture
def shop() -> Shop:
    return Shop(each=5)


def table_of(shop: Shop, *item_ids: str, segment: str = "") -> dict[str, NDArray[np.float32]]:
    """Return the features of items for the user ann, by name."""
    catalogue, prices = shop.catalogue, shop.offers.terms.price
    profile = profile_of(shop.reader.users["ann"], catalogue, prices, VECTORS)
    signals = Signals(shop.reader.covisits, shop.reader.trending)
    found = covisited(profile, signals, catalogue, NOW_MS, SETTINGS)
    trends = trends_for(profile, segment, shop.space.trend_rows.of(signals.trending))
    rows = np.array([catalogue.row(item_id) for item_id in item_ids])
    table = features(profile, found, trends, catalogue, prices, rows, NOW_MS, SETTINGS)
    return dict(zip(NAMES, table.T, strict=True))


def test_cosines_are_those_of_the_users_vectors(shop: Shop) -> None:
    state = shop.user("ann", [("click", "lamp-1"), ("click", "rug-1")])
    session, long_term = state.session, state.long_term
    assert session is not None
    assert long_term is not None
    vector = shop.catalogue.vectors[shop.catalogue.row("lamp-2")].astype(np.float32)
    found = table_of(shop, "lamp-2")
    assert found["session"][0] == pytest.approx(session @ vector, abs=1e-6)
    assert found["long_term"][0] == pytest.approx(long_term @ vector, abs=1e-6)
    assert found["interests"][0] == pytest.approx((state.interests @ vector).max(), abs=1e-6)
    assert found["content"][0] > found["last_item"][0]  # the last item is a rug


def test_a_disliked_kind_has_its_likeness_to_what_was_disliked(shop: Shop) -> None:
    shop.user("ann", [("click", "lamp-1"), ("dislike", "rug-1")], hidden=("rug-1",))
    found = table_of(shop, "rug-2", "lamp-2")
    assert found["dislike"][0] > 0.5 > found["dislike"][1]


def test_covisits_grow_with_their_share_and_their_evidence(shop: Shop) -> None:
    shop.user("ann", [("click", "lamp-1")])
    shop.follows("lamp-1", {"rug-1": 90.0, "rug-2": 10.0})
    strong = table_of(shop, "rug-1", "rug-2", "rug-3")["covisits"]
    assert strong[0] == pytest.approx(0.75 / (0.75 + 0.05), abs=1e-3)
    assert strong[0] > strong[1] > strong[2] == 0
    shop.follows("lamp-1", {"rug-1": 0.09, "rug-2": 0.01})
    weak = table_of(shop, "rug-1", "rug-2")["covisits"]
    assert strong[1] > weak[0] > weak[1]


def test_covisits_of_the_newest_item_count_most(shop: Shop) -> None:
    shop.user("ann", [("click", "lamp-1"), ("click", "lamp-2")])
    shop.follows("lamp-1", {"rug-1": 9.0})
    shop.follows("lamp-2", {"rug-2": 9.0})
    older, newer = table_of(shop, "rug-1", "rug-2")["covisits"]
    assert newer > older


def test_covisits_of_long_ago_are_believed_less(shop: Shop) -> None:
    shop.user("ann", [("click", "lamp-1")])
    shop.follows("lamp-1", {"rug-1": 4.0})
    now = table_of(shop, "rug-1")["covisits"][0]
    held = shop.reader.covisits[keys.item_key("lamp-1")]
    faded = Weighted(held.keys, held.scores - 6)  # six half-lives
    shop.reader.covisits[keys.item_key("lamp-1")] = faded
    assert table_of(shop, "rug-1")["covisits"][0] < now / 2


def test_trending_is_the_strongest_of_the_users_scopes(shop: Shop) -> None:
    shop.user("ann", [("click", "lamp-1")])
    shop.trends("all", {"rug-1": 16.0, "lamp-2": 1.0})
    shop.trends("c:lamp", {"lamp-2": 5.0})
    shop.trends("c:rug", {"rug-2": 5.0})  # not a category of hers
    found = table_of(shop, "rug-1", "lamp-2", "rug-2")
    assert found["trending_all"].tolist() == [1.0, 0.25, 0.0]
    assert found["trending_category"].tolist() == [0.0, 1.0, 0.0]
    assert found["trending"].tolist() == [1.0, 1.0, 0.0]


def test_popularity_is_that_of_months_and_not_of_the_day(shop: Shop) -> None:
    shop.user("ann", [("click", "lamp-1")])
    shop.trends("all", {"rug-1": 16.0})
    shop.trends("popular", {"lamp-2": 16.0, "rug-2": 1.0})
    found = table_of(shop, "rug-1", "lamp-2", "rug-2")
    assert found["popularity"].tolist() == [0.0, 1.0, 0.75]


def test_what_a_user_rated_low_was_tried_and_says_what_follows(shop: Shop) -> None:
    shop.user("ann", [("rate", "lamp-1")])
    shop.follows("lamp-1", {"rug-1": 90.0})
    assert table_of(shop, "rug-1")["covisits"][0] > 0.5


def test_a_segment_counts_where_the_request_names_it(shop: Shop) -> None:
    shop.user("ann", [])
    shop.trends("s:de", {"rug-2": 5.0})
    assert table_of(shop, "rug-2", segment="de")["trending_segment"].tolist() == [1.0]
    assert table_of(shop, "rug-2")["trending_segment"].tolist() == [0.0]


def test_freshness_halves_with_its_half_life_and_new_needs_a_liking(shop: Shop) -> None:
    week_ms = 7 * DAY_MS
    shop.put([item_vector("old", near(0, 1), arrived_ms=NOW_MS - week_ms)])
    shop.put([item_vector("other", near(1, 1), arrived_ms=NOW_MS)])
    shop.user("ann", [("click", "lamp-1")])
    found = table_of(shop, "old", "other")
    assert found["freshness"].tolist() == [0.5, 1.0]
    assert found["new"][0] == pytest.approx(0.5 * found["session"][0], abs=1e-6)
    assert found["age_days_log"][0] == pytest.approx(np.log(8))


def test_prices_count_beside_what_is_liked_and_not_where_unknown(shop: Shop) -> None:
    shop.put([item_vector("unpriced", near(0, 1))])
    shop.user("ann", [("click", "lamp-1")])
    found = table_of(shop, "lamp-1", "lamp-3", "unpriced")
    assert found["price_log"] == pytest.approx([np.log(21), np.log(41), 0])
    assert found["price_ratio"] == pytest.approx([0, np.log(41 / 21), 0], abs=1e-6)


def test_a_users_history_says_how_much_is_known(shop: Shop) -> None:
    shop.user("ann", [("click", "lamp-1"), ("click", "lamp-1"), ("click", "rug-1")])
    found = table_of(shop, "lamp-2", "vase-1")
    assert found["events_share"].tolist() == pytest.approx([0.06, 0.06])
    assert found["idle_hours_log"].tolist() == [0, 0]
    assert found["category_affinity"] == pytest.approx([2 / 3, 0])


def test_an_unknown_user_has_features_of_the_items_alone(shop: Shop) -> None:
    shop.user("ann", [])
    found = table_of(shop, "lamp-1")
    known = {name for name, values in found.items() if values[0] != 0}
    assert known == {"freshness", "price_log", "age_days_log"}


def test_an_items_features_do_not_depend_on_the_other_candidates(shop: Shop) -> None:
    shop.user("ann", [("click", "lamp-1"), ("dislike", "rug-1")], hidden=("rug-1",))
    shop.follows("lamp-1", {"rug-2": 3.0})
    shop.trends("all", {"rug-2": 3.0, "vase-1": 1.0})
    alone = table_of(shop, "rug-2")
    among = table_of(shop, "vase-1", "rug-2", "lamp-3")
    for name, values in alone.items():
        assert among[name][1] == pytest.approx(values[0], abs=1e-6), name


def test_signals_of_unknown_items_count_for_nothing(shop: Shop) -> None:
    shop.user("ann", [("click", "lamp-1")])
    shop.follows("lamp-1", {"gone": 5.0})
    shop.trends("all", {"gone": 5.0})
    found = table_of(shop, "lamp-2")
    assert found["covisits"].tolist() == [0]
    assert found["trending"].tolist() == [0]
    assert len(trend_of(weighted({"gone": 1.0}, 1.0), shop.catalogue).rows) == 0


def test_without_signals_there_is_nothing_to_look_up(shop: Shop) -> None:
    profile = profile_of(
        shop.user("ann", [("click", "lamp-1")]), shop.catalogue, shop.offers.terms.price, VECTORS
    )
    found = covisited(profile, NO_SIGNALS, shop.catalogue, NOW_MS, SETTINGS)
    assert isinstance(found, Covisited)
    assert len(found.rows) == 0
