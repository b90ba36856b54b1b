"""What holds for every log, however it is cut, redelivered or mixed up (hypothesis)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.sessions.fold.fold import FoldEvent, fold, fold_many
from services.sessions.fold.increments import merge
from services.sessions.fold.settings import FoldSettings
from shared.users.session_vectors import VectorSettings
from shared.users.states import UserState, empty, pack, unpack
from tests.unit.sessions.fold.plain_fold import PlainFold
from tests.unit.sessions.fold.replay import Replayed, replay
from tests.unit.sessions.kit import NOW_S, Log, MemoryItems

SETTINGS = FoldSettings()
LONGER = FoldSettings(vectors=VectorSettings(history=60))
ITEMS = MemoryItems(
    np.random.default_rng(1).standard_normal((8, 16)),
    [("shoe",), ("shoe", "red"), ("red",), (), ("hat",), ("hat", "red"), ("bag",), ("bag",)],
)
some = settings(max_examples=50, deadline=None)  # other work on the machine decides no test
KINDS = ("view", "click", "click", "like", "cart", "purchase", "rate", "dislike", "hide", "remove")
UNDOING = ("unhide", "undislike", "refund")

some_events = st.lists(
    st.fixed_dictionaries(
        {
            "user": st.sampled_from(["ann", "ann", "ben"]),
            "item": st.integers(0, 9),  # two of them unknown to the catalogue
            "type": st.sampled_from([*KINDS, *UNDOING, "listen", "Wish List", "forget"]),
            # Own time less the record's: late, in order, same second, in the future, none.
            "ahead_s": st.sampled_from([None, -4_000, -90, -1, 0, 0, 0, 0, 0.4, 30, 3_000]),
            "passed_s": st.sampled_from([0, 0.2, 1, 20, 400, 2_000]),
            "partition": st.sampled_from([0, 0, 0, 1]),
            "event_id": st.sampled_from([None, None, None, "a", "b"]),
            "session_id": st.sampled_from([None, None, "monday", "tuesday"]),
            "value": st.sampled_from([None, 1.0, 3.0, 4.5, 1e9]),
            "segment": st.sampled_from([None, None, "PL"]),
        }
    ),
    max_size=40,
)
# Some users' histories are nearly full already: entries fall out, late events are too old.
logs = st.tuples(st.sampled_from([0, 0, 3, 48, 60, 70]), some_events).map(lambda two: log_of(*two))


def log_of(filled: int, drawn: list[dict[str, Any]]) -> list[FoldEvent]:
    log, now = Log(), float(NOW_S)
    events = []
    for n in range(filled):
        now += 45
        events.append(log.event(n % 8, KINDS[n % 4], at_s=now, user=("ann", "ben")[n % 5 == 0]))
    for fields in drawn:
        now += fields["passed_s"]
        ahead = fields["ahead_s"]
        segment = fields["segment"]
        events.append(
            log.event(
                at_s=None if ahead is None else now + ahead,
                record_s=now,
                context={"segment": segment} if segment else {},
                **{
                    name: fields[name]
                    for name in ("user", "item", "type", "partition")
                    + ("event_id", "session_id", "value")
                },
            )
        )
    return events


def folded_in(parts: list[list[FoldEvent]], with_settings: FoldSettings = SETTINGS) -> Replayed:
    whole = Replayed()
    for part in parts:
        folded = fold_many(whole.states, part, ITEMS, with_settings)
        whole.states.update(folded.states)
        merge(whole.covisits, folded.covisits)
        merge(whole.trends, folded.trends)
    return whole


def packed(states: dict[str, UserState]) -> dict[str, bytes]:
    return {user: pack(state) for user, state in states.items()}


def assert_same(one: Replayed, other: Replayed) -> None:
    assert packed(one.states) == packed(other.states)
    assert one.covisits == pytest.approx(other.covisits, abs=1e-9)
    assert one.trends == pytest.approx(other.trends, abs=1e-9)


@pytest.mark.parametrize("with_settings", [SETTINGS, LONGER], ids=["usual", "longer"])
@some
@given(events=logs, cuts=st.lists(st.integers(0, 100), max_size=6))
def test_any_cuts_into_batches_give_the_same(
    events: list[FoldEvent], cuts: list[int], with_settings: FoldSettings
) -> None:
    ends = [0, *sorted(min(cut, len(events)) for cut in cuts), len(events)]
    parts = [events[a:b] for a, b in zip(ends, ends[1:], strict=False)]
    assert_same(folded_in(parts, with_settings), folded_in([events], with_settings))


@some
@given(logs, st.integers(0, 100), st.integers(0, 100), st.integers(1, 3))
def test_redelivered_suffixes_change_nothing(
    events: list[FoldEvent], stop: int, back: int, times: int
) -> None:
    stop = min(stop, len(events))
    back = min(back, stop)
    parts = [events[:stop], *[events[back:stop]] * times, events[back:]]
    assert_same(folded_in(parts), folded_in([events]))


@some
@given(logs)
def test_a_log_redelivered_whole_has_no_effect(events: list[FoldEvent]) -> None:
    states = folded_in([events]).states
    again = fold_many(states, events, ITEMS, SETTINGS)
    assert again.chunks == []
    assert again.effects["covered"] == len(events)


@some
@given(logs)
def test_users_of_one_batch_do_not_touch_each_other(events: list[FoldEvent]) -> None:
    together = folded_in([events])
    alone = folded_in([[e for e in events if e.event.user_id == user] for user in together.states])
    assert_same(together, alone)


@some
@given(logs, st.integers(1, 7), st.integers(1, 40))
def test_chunks_of_any_size_give_the_same(
    events: list[FoldEvent], chunk_events: int, chunk_increments: int
) -> None:
    small = FoldSettings(chunk_events=chunk_events, chunk_increments=chunk_increments)
    assert_same(folded_in([events], small), folded_in([events]))


@some
@given(logs, st.integers(1, 7))
def test_writes_of_chunks_follow_each_other(events: list[FoldEvent], chunk_events: int) -> None:
    folded = fold_many({}, events, ITEMS, FoldSettings(chunk_events=chunk_events))
    states: dict[str, UserState] = {}
    for chunk in folded.chunks:
        assert 0 < chunk.events <= chunk_events
        users = [change.user_id for change in chunk.changes]
        assert len(set(users)) == len(users) > 0
        for change in chunk.changes:
            assert change.before == states.get(change.user_id, empty())
            assert change.after.guard != change.before.guard
            states[change.user_id] = change.after
    assert states == folded.states
    assert sum(chunk.events for chunk in folded.chunks) == len(events)


@some
@given(logs, st.integers(0, 100))
def test_fold_of_one_user_is_associative(events: list[FoldEvent], cut: int) -> None:
    events = [event for event in events if event.event.user_id == "ann"]
    first, _, _ = fold(empty(), events[:cut], ITEMS, SETTINGS)
    second, _, _ = fold(first, events[cut:], ITEMS, SETTINGS)
    assert pack(second) == pack(fold(empty(), events, ITEMS, SETTINGS)[0])


@some
@given(logs)
def test_states_survive_redis(events: list[FoldEvent]) -> None:
    for state in folded_in([events]).states.values():
        assert unpack(pack(state)) == state


@pytest.mark.parametrize("with_settings", [SETTINGS, LONGER], ids=["usual", "longer"])
@settings(max_examples=100, deadline=None)
@given(events=logs)
def test_the_fold_does_what_its_description_says(
    events: list[FoldEvent], with_settings: FoldSettings
) -> None:
    plain = PlainFold(ITEMS, with_settings)
    for event in events:
        plain.apply(event)
    replayed = replay(events, ITEMS, with_settings, batch_events=17)
    assert replayed.covisits == pytest.approx(plain.covisits, abs=1e-9)
    assert replayed.trends == pytest.approx(plain.trends, abs=1e-9)
    assert replayed.states.keys() == plain.users.keys()
    for user_id, state in replayed.states.items():
        user = plain.users[user_id]
        assert state.guard == user.guard
        assert state.forgotten_at_ms == user.forgotten_at_ms
        assert state.history["item"].tolist() == [entry.item for entry in user.history]
        assert state.history["seconds"].tolist() == [entry.second for entry in user.history]
        starts = [bool(flags & 1) for flags in state.history["flags"].tolist()]
        assert starts == [entry.starts_session for entry in user.history]
        names = [
            SETTINGS.vectors.weights.name_of(code, state.type_names)
            for code in state.history["type"].tolist()
        ]
        assert names == [entry.type for entry in user.history]
        assert set(state.type_names) == set(names) & {"listen", "wish list"}
        assert {
            "hide": list(state.hidden),
            "dislike": list(state.disliked),
            "purchase": list(state.purchased),
        } == user.lists
        for held, right in zip(
            (state.session, state.long_term), plain.vectors(user_id), strict=True
        ):
            assert (held if held is not None else 0 * right) == pytest.approx(right, abs=0.01)
