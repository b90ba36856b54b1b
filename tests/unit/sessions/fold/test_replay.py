from __future__ import annotations

import numpy as np
import pytest

from freshet.settings import BadSetting, from_environment
from services.sessions.fold.fold import fold
from services.sessions.fold.increments import merge
from services.sessions.fold.settings import FoldSettings
from shared.users.states import empty
from tests.unit.sessions.fold.replay import replay
from tests.unit.sessions.kit import NOW_S, Log, MemoryItems

ITEMS = MemoryItems(np.eye(4), [("a",), ("b",), ("a", "b"), ()])
SETTINGS = FoldSettings()


def test_a_replay_is_each_users_fold() -> None:
    log = Log()
    events = [
        log.event(n % 4, at_s=NOW_S + n, user=("ann", "ben", "cid")[n % 3], partition=n % 2)
        for n in range(100)
    ]
    whole = replay(iter(events), ITEMS, SETTINGS, batch_events=7)
    covisits: dict[tuple[int, int], float] = {}
    for user in ("ann", "ben", "cid"):
        own = [event for event in events if event.event.user_id == user]
        state, followed, _ = fold(empty(), own, ITEMS, SETTINGS)
        assert whole.states[user] == state
        merge(covisits, followed)
    assert whole.covisits == pytest.approx(covisits, abs=1e-9)


def test_a_replay_of_nothing_is_empty() -> None:
    whole = replay([], ITEMS, SETTINGS)
    assert (whole.states, whole.covisits, whole.trends) == ({}, {}, {})


def test_settings_come_from_the_environment() -> None:
    settings = from_environment(
        FoldSettings,
        {"FRESHET_FUTURE_MS": "5", "FRESHET_SESSION_GAP_S": "60", "FRESHET_WEIGHT_VIEW": "0"},
    )
    assert settings.future_ms == 5
    assert settings.vectors.session_gap_s == 60
    assert settings.vectors.weights.view == 0
    with pytest.raises(BadSetting, match="FRESHET_COVISIT_REACH must be"):
        from_environment(FoldSettings, {"FRESHET_COVISIT_REACH": "21"})


def test_a_reach_of_none_makes_no_co_visits() -> None:
    log = Log()
    events = [log.event(0), log.event(1)]
    state, covisits, trends = fold(empty(), events, ITEMS, FoldSettings(covisit_reach=0))
    assert covisits == {}
    assert len(state.history) == 2
    assert trends
