from __future__ import annotations

import numpy as np
import pytest

from services.ranking.stages.user_profile import completed, merged, profile_of
from shared.catalogue.catalogue import Catalogue, Change
from shared.users import event_types, keys, states
from shared.users.session_vectors import marked, session_vectors
from shared.users.states import UserState
from tests.unit.ranking.shop import VECTORS, Shop, item_vector, near
from tests.unit.shared.users.makers import state_of


@pytest.fixture
def shop() -> Shop:
    return Shop(each=5)


def test_the_last_distinct_liked_items_come_newest_first(shop: Shop) -> None:
    state = shop.user("ann", [("click", "lamp-1"), ("view", "rug-1"), ("like", "lamp-1")])
    profile = profile_of(state, shop.catalogue, shop.offers.terms.price, VECTORS)
    assert [shop.catalogue.ids[like.row] for like in profile.liked] == ["lamp-1", "rug-1"]


def test_an_items_last_word_decides_between_liked_and_disliked(shop: Shop) -> None:
    events = [("like", "lamp-1"), ("dislike", "lamp-1"), ("dislike", "rug-1"), ("like", "rug-1")]
    profile = profile_of(shop.user("ann", events), shop.catalogue, shop.offers.terms.price, VECTORS)
    assert [shop.catalogue.ids[like.row] for like in profile.liked] == ["rug-1"]
    assert [shop.catalogue.ids[row] for row in profile.disliked] == ["lamp-1"]


def test_a_removal_takes_back_but_dislikes_nothing(shop: Shop) -> None:
    state = shop.user("ann", [("cart", "lamp-1"), ("remove", "lamp-1")])
    profile = profile_of(state, shop.catalogue, shop.offers.terms.price, VECTORS)
    assert profile.liked == ()
    assert len(profile.disliked) == 0


def test_a_low_rating_speaks_neither_for_its_item_nor_against_what_is_like_it(shop: Shop) -> None:
    state = shop.user("ann", [("click", "rug-1"), ("rate", "lamp-1")])
    assert VECTORS.weights.of(state.history)[1] < 0, "it was rated with 0"
    profile = profile_of(state, shop.catalogue, shop.offers.terms.price, VECTORS)
    assert [shop.catalogue.ids[like.row] for like in profile.liked] == ["rug-1"]
    assert len(profile.disliked) == 0


def test_what_was_hidden_long_ago_is_disliked_still(shop: Shop) -> None:
    state = shop.user("ann", [("click", "rug-1")], hidden=("lamp-1", "lamp-2"))
    profile = profile_of(state, shop.catalogue, shop.offers.terms.price, VECTORS)
    assert [shop.catalogue.ids[row] for row in profile.disliked] == ["lamp-2", "lamp-1"]


def test_categories_are_shares_of_the_positive_weight(shop: Shop) -> None:
    events = [("like", "lamp-1"), ("click", "rug-1"), ("hide", "vase-1")]
    profile = profile_of(shop.user("ann", events), shop.catalogue, shop.offers.terms.price, VECTORS)
    assert profile.categories == (("lamp", 0.75), ("rug", 0.25))


def test_items_that_the_catalogue_does_not_know_are_no_taste(shop: Shop) -> None:
    state = shop.user("ann", [("click", "gone")], hidden=("gone too",))
    profile = profile_of(state, shop.catalogue, shop.offers.terms.price, VECTORS)
    assert not profile.known
    assert profile.liked == ()
    assert profile.history.tolist() == [-1]


def test_a_state_of_another_space_is_computed_anew_from_its_history(shop: Shop) -> None:
    state = shop.user("ann", [("click", "lamp-1")])
    other = Catalogue("other", 8)
    vector = np.eye(8, dtype=np.float16)[0]
    item = shop.items[1]
    moved = type(item)(
        **{name: getattr(item, name) for name in item.__struct_fields__}
        | {"space": "other", "vector": vector}
    )
    other.apply([Change("lamp-1", 1, moved)])
    session = merged([state], other, VECTORS).session
    assert session is not None
    assert session @ vector == pytest.approx(1, abs=0.01)


def test_items_that_came_after_their_events_count_now(shop: Shop) -> None:
    history = [(keys.item_key("lamp-1"), 1, 0, 0.0, 2, 0)]
    nowhere = Catalogue(shop.catalogue.space, shop.catalogue.dim)
    before = state_of(history=history)
    vectors = session_vectors([before.history_bytes], nowhere, VECTORS)[0]
    state = state_of(history=history, vectors=vectors)
    assert state.session is None
    assert merged([state], shop.catalogue, VECTORS).session is not None


def test_an_item_that_came_after_its_event_joins_what_was_known_then(shop: Shop) -> None:
    history = [(keys.item_key(item), 1, 0, 0.0, 2, 0) for item in ("lamp-1", "rug-late")]
    (marked_,) = marked([state_of(history=history).history_bytes], shop.catalogue)
    vectors = session_vectors([marked_], shop.catalogue, VECTORS)[0]
    state = UserState(guard={0: 7}, history_bytes=marked_, vectors=vectors)
    assert completed(state, shop.catalogue, VECTORS) is state
    rug = near(2, 1)
    shop.put([item_vector("rug-late", rug)])
    now = completed(state, shop.catalogue, VECTORS)
    assert now.guard == state.guard
    assert now.session is not None
    assert now.session @ rug == pytest.approx(0.7, abs=0.1)
    assert len(now.interests) == 2


def test_a_user_of_whom_the_catalogue_knows_no_item_has_a_profile() -> None:
    nothing = Shop(each=0)
    state = nothing.user("ann", [("click", "lamp-1"), ("dislike", "rug-1")], hidden=("rug-1",))
    profile = profile_of(state, nothing.catalogue, nothing.offers.terms.price, VECTORS)
    assert not profile.known
    assert profile.categories == ()


def test_merged_histories_stand_in_the_order_of_time_and_keep_what_is_excluded(
    shop: Shop,
) -> None:
    one = state_of(
        history=[(keys.item_key("lamp-1"), 10, 0, 0.0, 2, 0)], hidden=(1,), purchased=(3,)
    )
    other = state_of(history=[(keys.item_key("rug-1"), 5, 0, 0.0, 2, 0)], hidden=(2, 1))
    both = merged([one, other], shop.catalogue, VECTORS)
    assert both.history["seconds"].tolist() == [5, 10]
    assert both.excluded == (1, 2)
    assert both.purchased == (3,)
    assert len(both.interests) == 2


def test_merged_states_forget_nothing_that_either_hid_disliked_or_bought(shop: Shop) -> None:
    one = state_of(hidden=tuple(range(900)), purchased=tuple(range(300)))
    other = state_of(hidden=tuple(range(500, 1_500)), disliked=tuple(range(1_500, 1_800)))
    both = merged([one, other], shop.catalogue, VECTORS)
    assert set(both.excluded) == set(range(1_800))
    assert set(both.purchased) == set(range(300))


def test_neither_what_was_undone_nor_what_undid_it_counts_as_seen_or_liked(shop: Shop) -> None:
    codes = (event_types.HIDE + event_types.UNDONE, event_types.UNHIDE, event_types.VIEW)
    items = ("lamp-1", "lamp-1", "rug-1")
    history = [
        (keys.item_key(item), 1, 0, 0.0, code, 0) for item, code in zip(items, codes, strict=True)
    ]
    profile = profile_of(
        state_of(history=history), shop.catalogue, shop.offers.terms.price, VECTORS
    )
    assert [shop.catalogue.ids[row] for row in profile.history] == ["rug-1"]
    assert [shop.catalogue.ids[like.row] for like in profile.liked] == ["rug-1"]
    assert len(profile.disliked) == 0


def test_of_long_histories_the_newest_events_stay(shop: Shop) -> None:
    def state(first: int) -> states.UserState:
        key = keys.item_key("lamp-1")
        return state_of(history=[(key, first + 2 * n, 0, 0.0, 2, 0) for n in range(50)])

    both = merged([state(0), state(1)], shop.catalogue, VECTORS)
    assert both.history["seconds"].tolist() == list(range(50, 100))
