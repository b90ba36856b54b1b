"""What training sees of events is what the services make of them, bit for bit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import numpy as np
import pytest

from services.ranking.recommend import rank, recommend
from services.ranking.requests import RecommendQuery
from services.ranking.serving_space import ServingSpace
from services.ranking.settings import RankingSettings
from services.ranking.stages.blend import PARTS
from services.ranking.stages.sources import Candidates
from services.sessions.fold.fold import FoldEvent, fold
from services.sessions.fold.settings import FoldSettings
from services.training.data.dataset import Dataset
from services.training.data.histories import Floats, Histories
from services.training.data.splits import leave_last_out
from services.training.live.imported import NOW_MS, catalogue_of, log_of
from services.training.live.scoring import LiveScoring
from services.training.live.system import LiveSystem
from shared.bundles.bundle import SESSION, TOWER, Bundle, TowerShape
from shared.bundles.candidates import FeatureColumn
from shared.bundles.towers import OnnxSessionTower
from shared.runtime.deadline import Costs, Deadline
from shared.users import states
from tests.bench.offline import Offline
from tests.training.models.planted import ITEMS, contents, log
from tests.unit.shared.bundles.graphs import session_model, tower_model

DIM, TOWER_DIM, LENGTH = 5, 4, 6
LAST_S = 1_000_000 + 60 * 8
DATA = log(ratings=True)


def bundle(*, tower: bool = True) -> Bundle:
    if not tower:
        return Bundle("test", DIM, 0, 0, 0, {}, {})
    matrix = np.random.default_rng(0).standard_normal((DIM, TOWER_DIM)).astype(np.float32)
    files = {SESSION: session_model(TOWER_DIM, LENGTH), TOWER: tower_model(matrix)}
    return Bundle("test", DIM, 0, 0, 0, {}, files, TowerShape(TOWER_DIM, "random", LENGTH))


def served_features(data: Dataset, history: Sequence[FoldEvent]) -> Floats:
    """Return ranking's own features of all items, after sessions' own fold of the data."""
    catalogue = catalogue_of(data, contents(data), bundle())
    offline = Offline(catalogue, RankingSettings(), lambda: NOW_MS)
    offline.space = space = ServingSpace.build(
        catalogue,
        offline.reader,
        RankingSettings(),
        tower=OnnxSessionTower(bundle()),
        now_ms=lambda: NOW_MS,
    )
    offline.fold(log_of(data.events, LAST_S, data.item_ids))
    state, _, _ = fold(states.empty(), history, space.catalogue, FoldSettings())
    offline.reader.users["asked"] = state

    async def described() -> Floats:
        await space.trending.renew()
        deadline = Deadline(time.monotonic() + 60, time.monotonic, Costs())
        made = await recommend(RecommendQuery(("asked",)), space, deadline)
        everything = Candidates(np.arange(ITEMS), np.zeros(ITEMS, np.int64))
        ranked = await rank(everything, made.input, space, deadline)
        return ranked.features[np.argsort(ranked.rows)]

    return asyncio.run(described())


def of_user(histories: Histories, row: int) -> list[FoldEvent]:
    return log_of(histories.take(np.array([row])), LAST_S, DATA.item_ids)


def test_features_are_those_that_ranking_serves() -> None:
    tower = OnnxSessionTower(bundle())
    live = LiveSystem(catalogue_of(DATA, contents(DATA), bundle()), NOW_MS, tower)
    live.tell(log_of(DATA.events, LAST_S, DATA.item_ids))
    for row in (0, 7, 50):
        history = of_user(DATA.events, row)
        found = live.features(history, np.arange(ITEMS))
        assert found.tobytes() == served_features(DATA, history).tobytes()
        silent = {name for name, part in zip(PARTS, found.T, strict=False) if not part.any()}
        assert silent <= {"dislike", "freshness"}


def test_of_nobody_only_what_all_do_is_known() -> None:
    live = LiveSystem(catalogue_of(DATA, contents(DATA), bundle(tower=False)), NOW_MS)
    live.tell(log_of(DATA.events, LAST_S, DATA.item_ids))
    found = live.features([], np.arange(ITEMS))
    assert found[:, FeatureColumn.POPULARITY].any()
    assert not found[:, [FeatureColumn.COVISITS, FeatureColumn.SESSION, FeatureColumn.TOWER]].any()


def test_without_times_events_are_a_minute_apart() -> None:
    ordered = Histories(np.array([0]), np.array([0, 3]), np.array([2, 1, 0]))
    told = log_of(ordered, 0, ("a", "b", "c"))
    assert [event.event.item_id for event in told] == ["c", "b", "a"]
    assert [event.event.time_ms for event in told] == [NOW_MS - 120_000, NOW_MS - 60_000, NOW_MS]
    assert {event.event.type for event in told} == {"click"}


@pytest.fixture(scope="module")
def scoring() -> LiveScoring:
    return LiveScoring(leave_last_out(DATA).train, LAST_S, contents(DATA), bundle(tower=False))


def by_covisits(table: Floats) -> Floats:
    scores: Floats = table[:, FeatureColumn.COVISITS].copy()
    return scores


def test_ranks_are_those_of_the_protocol(scoring: LiveScoring) -> None:
    asked = leave_last_out(DATA).test
    ranks = scoring.ranks(asked, {"covisits": by_covisits, "none": lambda table: table[:, 0] * 0})
    assert ranks["covisits"].mean() < ITEMS / 6  # what is planted is what follows
    left = ITEMS - np.array([len(set(asked.histories.of(row))) for row in range(len(asked))])
    np.testing.assert_allclose(ranks["none"], (left - 1) / 2)  # all alike: the middle


def test_examples_hold_no_item_of_the_own_history(scoring: LiveScoring) -> None:
    asked = leave_last_out(DATA).validation
    for at_most in (5, ITEMS):
        examples = list(scoring.examples(asked, by_covisits, at_most))
        assert 0 < len(examples) <= len(asked)
        assert all(example.chosen < len(example.features) <= at_most for example in examples)
        assert max(len(example.features) for example in examples) <= ITEMS - 1


def test_a_choice_that_scores_too_low_is_no_example(scoring: LiveScoring) -> None:
    asked = leave_last_out(DATA).validation
    some, every = (
        len(list(scoring.examples(asked, lambda table: -by_covisits(table), at_most)))
        for at_most in (2, ITEMS)
    )
    assert some < every


def test_an_item_of_which_nothing_is_known_is_served_to_nobody() -> None:
    split, known = leave_last_out(DATA), contents(DATA)
    known.fused[3] = 0
    scoring = LiveScoring(split.train, LAST_S, known, bundle(tower=False))
    ranks = scoring.ranks(split.test, {"covisits": by_covisits})["covisits"]
    lacking = split.test.targets == 3
    had = np.array(
        [len(set(split.test.histories.of(row))) for row in np.flatnonzero(lacking).tolist()]
    )
    assert lacking.any()
    assert (ranks[lacking] >= ITEMS - 1 - had).all()  # behind all that is left
    for example in scoring.examples(split.validation, by_covisits, ITEMS):
        assert len(example.features) < ITEMS - 1
