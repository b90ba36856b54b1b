"""What each kind of event does, one sentence a test (services/sessions/README.md has the table)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from typing import Any
from zlib import crc32

import numpy as np
import pytest
from numpy.typing import NDArray

from services.sessions.fold.fold import FoldEvent, fold, fold_many
from services.sessions.fold.increments import Covisits, Trends
from services.sessions.fold.settings import FoldSettings
from shared.users import keys, log2_weights
from shared.users.event_types import CODES, EventWeights
from shared.users.exclusions import ExclusionSettings
from shared.users.session_vectors import VectorSettings
from shared.users.states import HAS_VALUE, STARTS_SESSION, UserState, empty, pack, unpack
from tests.unit.sessions.kit import NOW_MS, NOW_S, Log, MemoryItems, key_of, name_of
from tests.unit.shared.users.makers import state_of

SETTINGS = FoldSettings()
# item-0 to item-59 on an axis each; item-60 and up are not in the catalogue.
ITEMS = MemoryItems(np.eye(60), [("shoe",), ("shoe", "red"), ("hat",), *[()] * 57])
LIVES = SETTINGS.half_lives


@pytest.fixture
def log() -> Log:
    return Log()


def folded(
    events: Sequence[FoldEvent], state: UserState | None = None, settings: FoldSettings = SETTINGS
) -> tuple[UserState, Covisits, Trends]:
    return fold(state or empty(), events, ITEMS, settings)


def effect_of(event: FoldEvent, state: UserState) -> str:
    effects = fold_many({event.event.user_id: state}, [event], ITEMS, SETTINGS).effects
    (name,) = [name for name, count in effects.items() if count]
    return name


def rows_of(state: UserState) -> list[int]:
    row = {key_of(n): n for n in range(200)}
    return [row[key] for key in state.history["item"].tolist()]


def weight_of(score: float, half_life_s: float, at_ms: int = NOW_MS) -> float:
    return log2_weights.weight_at(score, at_ms, half_life_s)


def only(entry: NDArray[np.void]) -> Any:
    assert len(entry) == 1
    return entry[0]


# Time


def test_an_event_stands_at_its_own_second(log: Log) -> None:
    state, _, _ = folded([log.event(at_s=NOW_S - 500.2, record_s=NOW_S)])
    assert only(state.history)["seconds"] == NOW_S - 501


def test_an_event_without_time_has_its_records(log: Log) -> None:
    state, _, trends = folded([log.event(at_s=None, record_s=NOW_S)])
    assert only(state.history)["seconds"] == NOW_S
    assert weight_of(trends["all", key_of(0)], LIVES.trending_s) == pytest.approx(1)


def test_a_time_up_to_a_minute_ahead_of_the_record_is_believed(log: Log) -> None:
    state, _, _ = folded([log.event(at_s=NOW_S + 60, record_s=NOW_S)])
    assert only(state.history)["seconds"] == NOW_S + 60


def test_a_future_dated_event_stands_a_minute_after_its_record(log: Log) -> None:
    state, _, trends = folded([log.event(at_s=NOW_S + 86_400, record_s=NOW_S)])
    assert only(state.history)["seconds"] == NOW_S + 60
    later = NOW_MS + 60_000
    assert weight_of(trends["all", key_of(0)], LIVES.trending_s, later) == pytest.approx(1)


def test_times_before_1970_and_after_2106_do_not_stop_the_fold(log: Log) -> None:
    state, _, _ = folded([log.event(at_s=-5, record_s=1), log.event(at_s=1e15, record_s=1e15)])
    assert state.history["seconds"].tolist() == [0, 2**32 - 1]


def test_a_late_event_is_put_in_its_place(log: Log) -> None:
    events = [log.event(0, at_s=NOW_S), log.event(1, at_s=NOW_S + 60)]
    state, _, _ = folded(events)
    late = log.event(2, at_s=NOW_S + 30, record_s=NOW_S + 90)
    assert effect_of(late, state) == "late"
    state, _, _ = folded([late], state)
    assert rows_of(state) == [0, 2, 1]


def test_events_of_one_second_stand_in_the_order_they_came(log: Log) -> None:
    state, _, _ = folded([log.event(n, at_s=NOW_S + 0.9 - n / 10) for n in range(4)])
    assert rows_of(state) == [0, 1, 2, 3]


def test_a_late_event_stands_behind_those_of_its_second(log: Log) -> None:
    state, _, _ = folded([log.event(n, at_s=at) for n, at in enumerate((5, 5, 9, 5))])
    assert rows_of(state) == [0, 1, 3, 2]


def test_the_history_keeps_the_last_50(log: Log) -> None:
    state, _, _ = folded([log.event(n, at_s=NOW_S + n) for n in range(60)])
    assert rows_of(state) == list(range(10, 60))


def test_a_longer_history_keeps_as_many_as_its_setting_says_in_the_same_format(log: Log) -> None:
    longest = FoldSettings(vectors=VectorSettings(history=200))
    state, _, _ = folded([log.event(n % 199, at_s=NOW_S + n) for n in range(230)], None, longest)
    assert rows_of(state) == [n % 199 for n in range(30, 230)]
    assert unpack(pack(state)) == state
    assert pack(state)[0] == 1


def test_a_history_that_is_longer_than_the_setting_says_now_is_cut_by_the_next_event(
    log: Log,
) -> None:
    longer = FoldSettings(vectors=VectorSettings(history=70))
    state, _, _ = folded([log.event(n, at_s=NOW_S + n) for n in range(70)], None, longer)
    assert len(state.history) == 70
    late, _, _ = folded([log.event(99, at_s=NOW_S + 60, record_s=NOW_S + 99)], state)
    assert rows_of(late) == [*range(21, 61), 99, *range(61, 70)]
    newest, _, _ = folded([log.event(99, at_s=NOW_S + 70)], state)
    assert rows_of(newest) == [*range(21, 70), 99]
    assert effect_of(log.event(9, at_s=NOW_S + 3, record_s=NOW_S + 99), state) == "too_old"


def test_a_late_event_within_a_full_history_drops_the_oldest(log: Log) -> None:
    state, _, _ = folded([log.event(n, at_s=NOW_S + 2 * n) for n in range(50)])
    state, _, _ = folded([log.event(99, at_s=NOW_S + 3, record_s=NOW_S + 200)], state)
    assert rows_of(state) == [1, 99, *range(2, 50)]


def test_what_is_older_than_a_full_history_counts_for_nothing(log: Log) -> None:
    """Whether it was counted already, under the same event id even, nobody can tell any more."""
    full, _, _ = folded([log.event(n, at_s=NOW_S + n) for n in range(50)])
    old = log.event(3, "purchase", at_s=NOW_S - 1, record_s=NOW_S + 99, event_id="a")
    assert effect_of(old, full) == "too_old"
    state, covisits, trends = folded([old], full)
    assert state.history_bytes == full.history_bytes
    assert state.purchased == ()
    assert (covisits, trends) == ({}, {})
    assert state.guard == {0: 50}


def test_an_event_as_old_as_the_oldest_of_a_full_history_takes_its_place(log: Log) -> None:
    full, _, _ = folded([log.event(n, at_s=NOW_S + n) for n in range(50)])
    state, covisits, _ = folded([log.event(99, at_s=NOW_S, record_s=NOW_S + 99)], full)
    assert rows_of(state) == [99, *range(1, 50)]
    assert covisits == {}


# What comes twice


def test_a_redelivered_event_changes_nothing(log: Log) -> None:
    event = log.event()
    state, _, _ = folded([event])
    again, covisits, trends = folded([event], state)
    assert again is state
    assert (covisits, trends) == ({}, {})


def test_a_repeated_event_id_moves_the_guard_and_nothing_else(log: Log) -> None:
    state, _, _ = folded([log.event(0, event_id="a", session_id="s")])
    repeated = log.event(1, "hide", at_s=NOW_S + 9, event_id="a", session_id="t")
    assert effect_of(repeated, state) == "repeated"
    again, covisits, trends = folded([repeated], state)
    assert again.guard == {0: 1}
    assert pack(again)[15:] == pack(state)[15:]
    assert (covisits, trends) == ({}, {})


def test_an_event_id_may_come_again_once_it_left_the_history(log: Log) -> None:
    state, _, _ = folded([log.event(0, event_id="a")])
    state, _, _ = folded([log.event(n, at_s=NOW_S + n) for n in range(1, 51)], state)
    assert effect_of(log.event(1, at_s=NOW_S + 99, event_id="a"), state) == "applied"


def test_bytes_that_only_look_like_an_event_id_repeat_nothing(log: Log) -> None:
    looks = crc32(b"a")
    history = [(1, looks, 0, 0, 1, 0), (2, looks, looks & 0xFF, 0, 1, 0)]  # the second, as a time
    state = state_of(guard={0: -1}, history=history)
    assert effect_of(log.event(at_s=looks, event_id="a"), state) == "applied"


def test_the_same_click_without_event_id_stands_in_the_history_each_time(log: Log) -> None:
    state, _, _ = folded([log.event(), log.event()])
    assert rows_of(state) == [0, 0]


def test_a_user_on_two_partitions_is_counted_once_on_each(log: Log) -> None:
    events = [log.event(n, at_s=NOW_S + n, partition=n % 2) for n in range(4)]
    state, _, _ = folded(events)
    assert state.guard == {0: 1, 1: 1}
    assert rows_of(state) == [0, 1, 2, 3]
    assert folded(events, state)[0] is state


def test_guards_of_partitions_do_not_cover_each_other(log: Log) -> None:
    first = [log.event(n, at_s=NOW_S + n, partition=0) for n in range(3)]
    state, _, _ = folded(first)
    assert effect_of(log.event(3, at_s=NOW_S + 9, partition=1), state) == "applied"


def test_a_dead_letter_replayed_twice_counts_once(log: Log) -> None:
    origin = "clicks:1:77"  # its id, for the event has none of its own
    letters = [log.event(at_s=None, record_s=NOW_S - 900, event_id=origin) for _ in range(2)]
    state, _, trends = folded(letters)
    assert only(state.history)["seconds"] == NOW_S - 900
    assert state.guard == {0: 1}
    assert len(trends) == 3


# Sessions


def test_a_new_session_id_starts_a_session(log: Log) -> None:
    ids = ["s", "s", None, "t", "t"]
    state, _, _ = folded([log.event(n, session_id=name) for n, name in enumerate(ids)])
    starts = (state.history["flags"] & STARTS_SESSION).tolist()
    assert starts == [1, 0, 0, 1, 0]


def test_a_late_event_starts_no_session(log: Log) -> None:
    state, _, _ = folded([log.event(0, session_id="today")])
    late = log.event(1, at_s=NOW_S - 60, record_s=NOW_S, session_id="yesterday")
    state, _, _ = folded([late, log.event(2, session_id="today")], state)
    assert rows_of(state) == [1, 0, 2]
    assert (state.history["flags"] & STARTS_SESSION).tolist() == [0, 1, 0]


# Exclusions


def test_hidden_disliked_and_bought_items_are_listed_beyond_the_history(log: Log) -> None:
    kinds = ("hide", "dislike", "purchase")
    state, _, _ = folded([log.event(n, kind, at_s=NOW_S) for n, kind in enumerate(kinds)])
    state, _, _ = folded([log.event(9, at_s=NOW_S + n) for n in range(50)], state)
    assert set(rows_of(state)) == {9}
    assert (state.hidden, state.disliked) == ((key_of(0),), (key_of(1),))
    assert state.purchased == (key_of(2),)


def test_an_item_is_listed_once_at_its_last_time(log: Log) -> None:
    state, _, _ = folded([log.event(n, "purchase") for n in (0, 1, 2, 0)])
    assert state.purchased == (key_of(1), key_of(2), key_of(0))


def test_a_key_that_only_spans_two_others_is_listed_anew(log: Log) -> None:
    spanning = b"head" + key_of(0).to_bytes(8, "little") + b"tail"
    others = (
        int.from_bytes(spanning[:8], "little"),
        int.from_bytes(spanning[8:], "little"),
    )
    state, _, _ = folded([log.event(0, "hide")], state_of(hidden=others))
    assert state.hidden == (*others, key_of(0))


def test_the_201st_hide_brings_back_nothing(log: Log) -> None:
    state, _, _ = folded([log.event(n, "hide") for n in range(205)])
    assert state.hidden == tuple(key_of(n) for n in range(205))


@pytest.mark.parametrize("kind", ["hide", "dislike", "purchase"])
def test_a_full_list_lets_the_oldest_go_and_counts_it(log: Log, kind: str) -> None:
    state, _, _ = folded([log.event(n, kind) for n in range(999)])
    assert SETTINGS.exclusions.full(state) == []
    folding = fold_many({"ann": state}, [log.event(n, kind) for n in (999, 5)], ITEMS, SETTINGS)
    state = folding.states["ann"]
    name = {"hide": "hidden", "dislike": "disliked", "purchase": "purchased"}[kind]
    assert SETTINGS.exclusions.full(state) == [name]
    assert sum(chunk.dropped for chunk in folding.chunks) == 0
    folding = fold_many({"ann": state}, [log.event(n, kind) for n in (7777, 5)], ITEMS, SETTINGS)
    listed = getattr(folding.states["ann"], name)
    assert (len(listed), listed[0], listed[-1]) == (1_000, key_of(1), key_of(5))
    assert sum(chunk.dropped for chunk in folding.chunks) == 1


def test_a_bound_that_was_lowered_holds_from_the_next_item_on(log: Log) -> None:
    state, _, _ = folded([log.event(n, "hide") for n in range(9)])
    small = FoldSettings(exclusions=ExclusionSettings(at_most=3))
    folding = fold_many({"ann": state}, [log.event(9, "hide")], ITEMS, small)
    assert folding.states["ann"].hidden == tuple(key_of(n) for n in (7, 8, 9))
    assert folding.chunks[0].dropped == 7


def test_a_late_hide_hides_all_the_same(log: Log) -> None:
    state, _, _ = folded([log.event(0), log.event(1, "hide", at_s=NOW_S - 60, record_s=NOW_S)])
    assert state.hidden == (key_of(1),)


# Undoing

UNDOING = [
    ("hide", "unhide"),
    ("dislike", "undislike"),
    ("dislike", "like"),
    ("purchase", "refund"),
]


def names_of(state: UserState) -> list[str]:
    weights = SETTINGS.vectors.weights
    return [weights.name_of(code, state.type_names) for code in state.history["type"].tolist()]


def listed_in(state: UserState) -> set[int]:
    return {*state.excluded, *state.purchased}


@pytest.mark.parametrize(("said", "undo"), UNDOING)
def test_what_undoes_takes_the_item_off_its_list_and_the_weight_away(
    log: Log, said: str, undo: str
) -> None:
    state, _, _ = folded([log.event(0, said, event_id="a"), log.event(1, said), log.event(2, said)])
    state, _, _ = folded([log.event(1, undo, at_s=NOW_S + 9)], state)
    assert listed_in(state) == {key_of(0), key_of(2)}
    assert names_of(state) == [said, f"{said} (undone)", said, undo]
    alone, _, _ = folded([log.event(0, said), log.event(2, said), log.event(1, undo)])
    weights = SETTINGS.vectors.weights.of
    assert weights(state.history).tolist()[1] == 0
    assert weights(state.history).sum() == weights(alone.history).sum()
    assert effect_of(log.event(1, said, event_id="a"), state) == "repeated"


@pytest.mark.parametrize(("said", "undo"), UNDOING)
def test_what_was_said_beyond_the_history_is_undone(log: Log, said: str, undo: str) -> None:
    state, _, _ = folded([log.event(0, said)])
    state, _, _ = folded([log.event(9, at_s=NOW_S + n) for n in range(60)], state)
    assert listed_in(state) == {key_of(0)}
    state, _, _ = folded([log.event(0, undo, at_s=NOW_S + 99)], state)
    assert listed_in(state) == set()


@pytest.mark.parametrize("undo", ["undislike", "like", "refund", "view", "click"])
def test_a_hide_is_undone_by_an_unhide_alone(log: Log, undo: str) -> None:
    state, _, _ = folded([log.event(0, "hide"), log.event(0, "dislike"), log.event(0, undo)])
    assert state.hidden == (key_of(0),)
    assert key_of(0) in state.excluded


def test_an_unhide_leaves_a_dislike(log: Log) -> None:
    state, _, _ = folded([log.event(0, "hide"), log.event(0, "dislike"), log.event(0, "unhide")])
    assert (state.hidden, state.disliked) == ((), (key_of(0),))
    assert names_of(state) == ["hide (undone)", "dislike", "unhide"]


@pytest.mark.parametrize(("said", "undo"), UNDOING)
def test_what_was_undone_may_be_said_again(log: Log, said: str, undo: str) -> None:
    state, _, _ = folded([log.event(0, said), log.event(0, undo), log.event(0, said)])
    assert listed_in(state) == {key_of(0)}
    assert names_of(state) == [f"{said} (undone)", undo, said]


@pytest.mark.parametrize(("said", "undo"), UNDOING)
def test_times_decide_what_is_undone_not_the_order_of_arrival(
    log: Log, said: str, undo: str
) -> None:
    events = [
        log.event(0, said, at_s=NOW_S),
        log.event(0, undo, at_s=NOW_S + 5),
        log.event(1, said, at_s=NOW_S + 6),
        log.event(0, said, at_s=NOW_S + 7),
    ]
    for order in permutations(events):
        log = Log()
        arriving = [log.event(0, at_s=None, record_s=NOW_S + 9)]  # all that comes is late
        arriving += [
            FoldEvent(each.event, 1, offset, (NOW_S + 9) * 1000)
            for offset, each in enumerate(order)
        ]
        state, _, _ = folded(arriving)
        assert names_of(state) == [f"{said} (undone)", undo, said, said, "click"]
        assert listed_in(state) == {key_of(0), key_of(1)}


def test_a_late_hide_that_was_undone_since_hides_nothing(log: Log) -> None:
    state, _, _ = folded([log.event(0, "unhide", at_s=NOW_S + 5)])
    state, _, _ = folded([log.event(0, "hide", at_s=NOW_S, record_s=NOW_S + 9)], state)
    assert state.hidden == ()
    assert names_of(state) == ["hide (undone)", "unhide"]


def test_an_undoing_of_nothing_is_an_event_without_weight(log: Log) -> None:
    state, covisits, trends = folded([log.event(0), log.event(1, "unhide")])
    assert names_of(state) == ["click", "unhide"]
    assert (covisits, trends.keys()) == ({}, folded([log.event(0)])[2].keys())


def test_a_refund_takes_back_no_co_visit_and_no_trend(log: Log) -> None:
    bought = [log.event(1), log.event(0, "purchase")]
    _, covisits, trends = folded(bought)
    _, after_covisits, after_trends = folded([*bought, log.event(0, "refund")])
    assert (after_covisits, after_trends) == (covisits, trends)


# Co-visits


def test_an_item_follows_the_eight_before_it_the_nearest_most(log: Log) -> None:
    state, _, _ = folded([log.event(n) for n in range(9)])
    _, covisits, _ = folded([log.event(9)], state)
    weights = {pair: weight_of(score, LIVES.covisits_s) for pair, score in covisits.items()}
    assert weights == pytest.approx(
        {(key_of(9 - distance), key_of(9)): distance**-0.5 for distance in range(1, 9)}
    )


def test_an_item_is_followed_from_its_first_visit_and_never_follows_itself(log: Log) -> None:
    state, _, _ = folded([log.event(n) for n in (1, 2, 3, 2, 2)])
    _, covisits, _ = folded([log.event(9)], state)
    weights = {pair[0]: weight_of(score, LIVES.covisits_s) for pair, score in covisits.items()}
    assert weights == pytest.approx({key_of(3): 1, key_of(2): 2**-0.5, key_of(1): 3**-0.5})


def test_only_visits_make_co_visits(log: Log) -> None:
    state, _, _ = folded([log.event(0), log.event(1, "dislike"), log.event(2, "remove")])
    _, covisits, _ = folded([log.event(3)], state)
    assert covisits.keys() == {(key_of(0), key_of(3))}
    for kind in ("dislike", "hide", "remove"):
        assert folded([log.event(4, kind)], state)[1] == {}


@pytest.mark.parametrize("value", [None, 1.0, 3.0, 5.0])
def test_who_rates_has_tried_whatever_came_of_it(log: Log, value: float | None) -> None:
    state, _, _ = folded([log.event(0, "rate", value=value)])
    _, covisits, trends = folded([log.event(1, "rate", value=value)], state)
    assert covisits.keys() == {(key_of(0), key_of(1))}
    assert weight_of(trends["popular", key_of(1)], LIVES.covisits_s) == pytest.approx(1)


def test_co_visits_are_found_behind_many_events_that_are_not_positive(log: Log) -> None:
    state, _, _ = folded([log.event(n) for n in range(5)])
    state, _, _ = folded([log.event(6, "remove") for _ in range(44)], state)
    _, covisits, _ = folded([log.event(7)], state)
    assert covisits.keys() == {(key_of(n), key_of(7)) for n in range(5)}


def test_a_late_event_follows_what_was_before_it_and_is_not_followed_again(log: Log) -> None:
    state, _, _ = folded([log.event(0, at_s=NOW_S), log.event(1, at_s=NOW_S + 60)])
    _, covisits, _ = folded([log.event(2, at_s=NOW_S + 30, record_s=NOW_S + 90)], state)
    assert covisits.keys() == {(key_of(0), key_of(2))}


def test_co_visits_of_one_pair_add_up(log: Log) -> None:
    events = [log.event(n, user=user) for user in ("ann", "bob") for n in (0, 1)]
    pair = fold_many({}, events, ITEMS, SETTINGS).covisits[key_of(0), key_of(1)]
    assert weight_of(pair, LIVES.covisits_s) == pytest.approx(2)


def test_a_co_visit_and_a_visit_weigh_half_after_a_year(log: Log) -> None:
    _, covisits, trends = folded([log.event(0), log.event(1)])
    (covisit,) = covisits.values()
    later = NOW_MS + 365 * 86_400_000
    for score in (covisit, trends["popular", key_of(1)]):
        assert weight_of(score, LIVES.covisits_s, later) == pytest.approx(0.5)


# Trending


def test_an_event_counts_for_all_its_categories_and_its_segment(log: Log) -> None:
    _, _, trends = folded([log.event(1, "like", context={"segment": "PL", "page": "home"})])
    scopes = (keys.ALL_SCOPE, "c:shoe", "c:red", "s:PL")
    assert trends.keys() == {(scope, key_of(1)) for scope in (*scopes, keys.POPULAR_SCOPE)}
    for scope in scopes:
        assert weight_of(trends[scope, key_of(1)], LIVES.trending_s) == pytest.approx(3)


def test_an_item_that_the_catalogue_does_not_know_counts_for_its_user_alone(log: Log) -> None:
    state, covisits, trends = folded([log.event(n) for n in (77, 0, 77, 1)])
    assert rows_of(state) == [77, 0, 77, 1]
    assert covisits.keys() == {(key_of(0), key_of(1))}
    assert {item for _, item in trends} == {key_of(0), key_of(1)}


def test_an_item_counts_for_others_from_when_the_catalogue_knows_it(log: Log) -> None:
    fewer = MemoryItems(np.eye(60)[:5])
    state, _, _ = fold(empty(), [log.event(7, "purchase")], fewer, SETTINGS)
    later, covisits, trends = folded([log.event(7), log.event(1)], state)
    assert rows_of(later) == [7, 7, 1]
    assert covisits.keys() == {(key_of(7), key_of(1))}
    assert weight_of(trends["all", key_of(7)], LIVES.trending_s) == pytest.approx(1)


HOUR_S = 3_600


def weights_of(trends: Trends, at_ms: int = NOW_MS) -> dict[int, float]:
    """Return what items weigh in the scope of all."""
    return {
        item: weight_of(score, LIVES.trending_s, at_ms)
        for (scope, item), score in trends.items()
        if scope == "all"
    }


def test_one_user_counts_once_per_item_and_half_life(log: Log) -> None:
    clicks = [log.event(0, at_s=NOW_S + n) for n in range(5_000)]
    _, _, trends = folded(clicks)
    assert weights_of(trends) == pytest.approx({key_of(0): 1})
    assert weight_of(trends["popular", key_of(0)], LIVES.covisits_s) == pytest.approx(1)
    _, _, trends = folded([log.event(0, at_s=NOW_S + 4 * HOUR_S * n) for n in range(4)])
    # The half-life that begins three hours after NOW_S has the visits at 4 and 8 hours.
    assert weights_of(trends, NOW_MS + 12 * HOUR_S * 1000) == pytest.approx(
        {key_of(0): 2 ** (-12 / 6) + 2 ** (-8 / 6) + 1}
    )


def test_a_stronger_visit_counts_what_it_weighs_above_the_ones_before(log: Log) -> None:
    kinds = ("view", "click", "view", "purchase", "refund", "purchase", "cart")
    _, _, trends = folded([log.event(0, kind) for kind in kinds])
    assert weights_of(trends) == pytest.approx({key_of(0): 5})


def test_a_user_of_more_items_than_a_history_holds_counts_about_once_for_each(log: Log) -> None:
    clicks = [log.event(n % 60, at_s=NOW_S + n) for n in range(6_000)]
    _, _, trends = folded(clicks)
    weights = weights_of(trends, NOW_MS + 6_000_000)
    assert 50 <= sum(weights.values()) <= 70
    assert max(weights.values()) < 2


def test_a_user_weighs_only_so_much_in_what_follows_an_item(log: Log) -> None:
    once = folded([log.event(n) for n in range(9)])[1]
    for_one = [pair for pair in once if pair[0] == key_of(0)]
    again = [log.event(n) for _ in range(600) for n in (0, *range(1, 9))]
    _, covisits, _ = folded([*again, *(log.event(n) for n in (0, 20, 0, 21, 0, 22))])
    assert {pair for pair in covisits if pair[0] == key_of(0)} == set(for_one)
    assert sum(weight_of(covisits[pair], LIVES.covisits_s) for pair in for_one) == pytest.approx(
        sum(d**-0.5 for d in range(1, 9))
    )


def test_trending_weighs_half_after_six_hours(log: Log) -> None:
    _, _, trends = folded([log.event()])
    score = trends["all", key_of(0)]
    assert weight_of(score, LIVES.trending_s, NOW_MS + 6 * 3_600_000) == pytest.approx(0.5)


@pytest.mark.parametrize("kind", ["dislike", "hide", "remove", "rate"])
def test_what_is_not_positive_leaves_trending_alone(log: Log, kind: str) -> None:
    assert folded([log.event(0, kind)])[2].keys() <= {("popular", key_of(0))}


# Kinds of events


@pytest.mark.parametrize(
    ("kind", "weight"),
    [("view", 0.5), ("click", 1), ("like", 3), ("share", 3), ("cart", 3), ("purchase", 5)],
)
def test_kinds_weigh_what_the_settings_say(log: Log, kind: str, weight: float) -> None:
    state, _, trends = folded([log.event(0, kind)])
    assert only(state.history)["type"] == CODES[kind]
    assert weight_of(trends["all", key_of(0)], LIVES.trending_s) == pytest.approx(weight)


@pytest.mark.parametrize(("value", "weight"), [(5.0, 2), (3.5, 0.5), (400.0, 5), (1e300, 5)])
def test_a_rating_weighs_what_it_is_above_three(log: Log, value: float, weight: float) -> None:
    state, _, trends = folded([log.event(0, "rate", value=value)])
    assert only(state.history)["flags"] == HAS_VALUE
    assert weight_of(trends["all", key_of(0)], LIVES.trending_s) == pytest.approx(weight)


def test_a_value_is_kept_as_float16(log: Log) -> None:
    state, _, _ = folded([log.event(0, "view", value=12.345), log.event(0, "view")])
    assert state.history["value"].tolist() == [float(np.float16(12.345)), 0.0]
    assert (state.history["flags"] & HAS_VALUE).tolist() == [HAS_VALUE, 0]


def test_an_unknown_type_passes_with_the_weight_of_others(log: Log) -> None:
    state, _, trends = folded([log.event(0, "listen")])
    assert names_of(state) == ["listen"]
    assert weight_of(trends["all", key_of(0)], LIVES.trending_s) == pytest.approx(0.5)


def test_a_state_keeps_the_names_of_unknown_types_as_long_as_their_events(log: Log) -> None:
    names = ["listen", "swipe", "listen", "click", "zoom"]
    state, _, _ = folded([log.event(n, name, at_s=NOW_S + n) for n, name in enumerate(names)])
    assert names_of(state) == names
    assert state.type_names == ("listen", "swipe", "zoom")
    state, _, _ = folded([log.event(9, at_s=NOW_S + 9 + n) for n in range(47)], state)
    assert names_of(state)[:3] == ["listen", "click", "zoom"]
    assert state.type_names == ("listen", "zoom")
    state, _, _ = folded([log.event(9, at_s=NOW_S + 99 + n) for n in range(3)], state)
    assert state.type_names == ()
    assert pack(state)[0] == 1


def test_fifty_unknown_types_keep_their_names(log: Log) -> None:
    names = [f"type {n}" for n in range(60)]
    state, _, _ = folded([log.event(n, name, at_s=NOW_S + n) for n, name in enumerate(names)])
    assert names_of(state) == names[10:]
    late = log.event(0, "too old", at_s=NOW_S - 9, record_s=NOW_S + 99)
    assert effect_of(late, state) == "too_old"
    assert folded([late], state)[0].type_names == state.type_names
    assert SETTINGS.vectors.weights.of(state.history).tolist() == [0.5] * 50


def test_beyond_64_unknown_types_in_a_longer_history_one_is_of_no_name(log: Log) -> None:
    longest = FoldSettings(vectors=VectorSettings(history=200))
    names = [f"type {n}" for n in range(70)]
    events = [log.event(n, name, at_s=NOW_S + n) for n, name in enumerate(names)]
    state, _, _ = folded(events, None, longest)
    assert names_of(state) == [*names[:64], *["other"] * 6]
    assert unpack(pack(state)) == state


@pytest.mark.parametrize(
    ("sent", "is_"), [("DISLIKE", "dislike"), ("Like", "like"), (" Hide ", "hide")]
)
def test_case_and_blanks_tell_no_types_apart(log: Log, sent: str, is_: str) -> None:
    assert pack(folded([log.event(0, sent)])[0]) == pack(folded([Log().event(0, is_)])[0])


def test_a_named_type_has_its_own_weight(log: Log) -> None:
    weights = EventWeights(named=("listen=2", "return=-4"))
    settings = FoldSettings(vectors=VectorSettings(weights=weights))
    state, _, trends = folded([log.event(0, "listen"), log.event(1, "return")], settings=settings)
    assert weight_of(trends["all", key_of(0)], LIVES.trending_s) == pytest.approx(2)
    assert ("all", key_of(1)) not in trends
    names = [weights.name_of(code) for code in state.history["type"].tolist()]
    assert names == ["listen", "return"]


# Forget


def test_forget_empties_all_but_the_guard(log: Log) -> None:
    state, _, _ = folded([log.event(0, "hide", session_id="s"), log.event(1, "purchase")])
    forget = log.event(type="forget", at_s=None, record_s=NOW_S + 5)
    assert effect_of(forget, state) == "forgot"
    state, covisits, trends = folded([forget], state)
    assert (covisits, trends) == ({}, {})
    assert (state.guard, state.forgotten_at_ms) == ({0: 2}, NOW_MS + 5000)
    assert (state.history_bytes, state.excluded, state.purchased) == (b"", (), ())
    assert state.session_hash == 0
    assert state.session is None
    assert state.long_term is None
    assert len(state.interests) == 0


def forgotten(log: Log) -> UserState:
    return folded([log.event(0), log.event(type="forget", at_s=None, record_s=NOW_S + 5)])[0]


@pytest.mark.parametrize(
    ("own_s", "record_s"),
    [(NOW_S, NOW_S + 60), (NOW_S + 5, NOW_S + 60), (NOW_S + 30, NOW_S + 4), (None, NOW_S + 5)],
)
def test_what_is_not_later_than_a_forget_stays_forgotten(
    log: Log, own_s: float | None, record_s: float
) -> None:
    state = forgotten(log)
    event = log.event(1, "purchase", at_s=own_s, record_s=record_s)
    assert effect_of(event, state) == "forgotten"
    after, covisits, trends = folded([event], state)
    assert (after.history_bytes, after.purchased, covisits, trends) == (b"", (), {}, {})
    assert after.guard == {0: 2}


def test_what_is_later_than_a_forget_counts(log: Log) -> None:
    state = forgotten(log)
    state, _, _ = folded([log.event(1, at_s=NOW_S + 5.001, record_s=NOW_S + 6)], state)
    assert rows_of(state) == [1]
    assert state.forgotten_at_ms == NOW_MS + 5000


def test_the_first_event_after_a_forget_is_the_newest_whatever_was_before(log: Log) -> None:
    events = [
        log.event(0, at_s=NOW_S + 60, record_s=NOW_S),  # ahead of the forget
        log.event(type="forget", at_s=None, record_s=NOW_S + 5),
        log.event(1, at_s=NOW_S + 10, session_id="s"),
    ]
    state, _, _ = folded(events)
    assert rows_of(state) == [1]
    assert only(state.history)["flags"] == STARTS_SESSION


def test_a_forget_older_than_the_last_one_changes_nothing(log: Log) -> None:
    state = forgotten(log)
    state, _, _ = folded([log.event(1, at_s=NOW_S + 9)], state)
    again, _, _ = folded([log.event(type="forget", record_s=NOW_S + 3)], state)
    assert rows_of(again) == [1]
    assert again.forgotten_at_ms == NOW_MS + 5000


# The rest


def test_folding_nothing_returns_the_state_itself() -> None:
    state = empty()
    assert folded([], state) == (state, {}, {})


def test_vectors_of_another_space_are_computed_again(log: Log) -> None:
    state, _, _ = folded([log.event(0)])
    turned = MemoryItems(np.roll(np.eye(60), 1, axis=1), space="newer")
    state, _, _ = fold(state, [log.event(0, at_s=NOW_S + 1)], turned, SETTINGS)
    assert state.space == "newer"
    assert state.long_term == pytest.approx(np.eye(60)[1], abs=1e-3)


def test_an_item_counts_once_it_has_a_vector(log: Log) -> None:
    state, _, _ = folded([log.event(60)])
    assert state.session is None
    grown = MemoryItems(np.eye(61))
    state, _, _ = fold(state, [log.event(0, "remove", at_s=NOW_S + 1)], grown, SETTINGS)
    assert state.session is not None
    assert state.session[60] > 0.5


def test_an_empty_catalogue_leaves_vectors_out(log: Log) -> None:
    nothing = MemoryItems(np.empty((0, 60)))
    state, _, trends = fold(empty(), [log.event(0)], nothing, SETTINGS)
    assert rows_of(state) == [0]
    assert state.session is None
    assert trends == {}


def test_a_chunk_ends_after_its_increments(log: Log) -> None:
    events = [log.event(n, user=name_of(n)) for n in range(10)]  # 10 at most each
    settings = FoldSettings(chunk_increments=20)
    chunks = fold_many({}, events, ITEMS, settings).chunks
    assert [chunk.events for chunk in chunks] == [2, 2, 2, 2, 2]
