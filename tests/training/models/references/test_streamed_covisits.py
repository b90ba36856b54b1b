"""What a stream counts as co-visits, event by event, is what the batch counts."""

from __future__ import annotations

import numpy as np
import pytest

from services.sessions.fold.settings import FoldSettings
from services.training.models.references.covisits import followers
from services.training.models.references.item_to_item import recency
from shared.users.log2_weights import weight_at
from tests.unit.sessions.fold.replay import replay
from tests.unit.sessions.kit import NOW_MS, NOW_S, Log, MemoryItems, key_of
from tests.unit.training.logs import dataset

ITEMS = 30
SETTINGS = FoldSettings()


@pytest.mark.parametrize("batch_events", [1, 7, 4_096])
def test_streamed_co_visits_are_those_of_the_batch(batch_events: int) -> None:
    rng = np.random.default_rng(0)
    histories = [rng.permutation(ITEMS)[: 5 + user].tolist() for user in range(12)]
    by_turns = sorted(  # users come and go, each with the items in their order
        (
            (place, user, item)
            for user, items in enumerate(histories)
            for place, item in enumerate(items)
        )
    )
    log = Log()
    events = [
        log.event(item, user=f"user-{user}", at_s=NOW_S + second, partition=user % 3)
        for second, (_, user, item) in enumerate(by_turns)
    ]

    catalogue = MemoryItems(rng.standard_normal((ITEMS, 4)))
    streamed = replay(events, catalogue, SETTINGS, batch_events=batch_events).covisits

    half_life_s = SETTINGS.half_lives.covisits_s
    number_of = {key_of(item): item for item in range(ITEMS)}
    found = np.zeros((ITEMS, ITEMS))
    for (before, after), score in streamed.items():
        found[number_of[before], number_of[after]] = weight_at(score, NOW_MS, half_life_s)
    of_distance = recency(np.arange(SETTINGS.covisit_reach), 0.5)  # 1 / √distance
    counted = followers(dataset(histories, ITEMS).events, ITEMS, of_distance).toarray()
    # Minutes of a half-life of a year are all that the two differ by.
    np.testing.assert_allclose(found, counted, rtol=1e-4)
