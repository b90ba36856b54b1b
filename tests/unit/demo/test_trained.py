"""The bundle that the demo serves by: small, of this shop, and what it adds is measured fairly."""

from __future__ import annotations

import io

import numpy as np
import pytest

from freshet import Client, Event, RankedItem
from freshet.replies import RankedList
from services.cli.demo import catalogue, shoppers
from services.cli.demo.kinds import KINDS
from services.cli.demo.styles import STYLES
from services.cli.demo.trained import BUNDLE, compare
from shared.bundles.bundle import ENCODER_FILES, SESSION, TOWER, TOWER_ROWS, Bundle
from shared.bundles.content import text_of
from shared.bundles.encoders import Encoders
from shared.bundles.fusion import Fusion
from shared.bundles.picture import decode
from shared.bundles.towers import OnnxItemTower, item_tower_of, session_tower_of
from shared.users.keys import item_key

NOW_MS = 1_800_000_000_000
BYTES_AT_MOST = 500_000


@pytest.fixture(scope="module")
def trained() -> Bundle:
    return Bundle.load(BUNDLE)  # which verifies each file by size and sha256


@pytest.fixture(scope="module")
def tower(trained: Bundle) -> OnnxItemTower:
    tower = item_tower_of(trained)  # which compares it with the manifest's golden vectors
    assert tower is not None
    return tower


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the pictures out: drawing them takes seconds."""
    monkeypatch.setattr(catalogue, "draw", lambda *_: b"")


def test_it_is_small_as_its_encoders_are_day_zeros() -> None:
    for name in ENCODER_FILES:
        assert (BUNDLE / name).readlink().as_posix() == f"../day-zero/{name}"
    own = [path for path in BUNDLE.iterdir() if not path.is_symlink()]
    assert sum(path.stat().st_size for path in own) <= BYTES_AT_MOST


@pytest.mark.usefixtures("undrawn")
def test_it_was_trained_on_this_catalogue_and_on_these_earlier_shoppers(trained: Bundle) -> None:
    items = list(catalogue.items(NOW_MS))
    with np.load(io.BytesIO(trained.files[TOWER_ROWS])) as rows:
        assert rows["keys"].tolist() == sorted(item_key(item.item_id) for item in items)
    learnt = len(shoppers.earlier_events(items, NOW_MS)) - 2 * len(shoppers.EARLIER)
    assert trained.evaluation["events"] == learnt, "all but each shopper's last two"


def test_things_look_as_they_did_when_it_was_trained(
    trained: Bundle, tower: OnnxItemTower, encoders: Encoders, fusion: Fusion
) -> None:
    """What the item tower makes of a thing's looks is near what shoppers taught of it."""
    style = STYLES[1]
    items = [catalogue.item(kind, style, 3) for kind in KINDS]
    pictures = encoders.encode_images(np.stack([decode(each.image_bytes or b"") for each in items]))
    contents = fusion.fuse(
        pictures, encoders.encode_texts([text_of(each) for each in items])
    ).vector
    keys = np.array([item_key(each.item_id) for each in items], np.uint64)
    learnt = tower.vectors(keys, contents)
    cosines = tower.of_content(contents) @ learnt.T
    assert (cosines.argmax(axis=0) == np.arange(len(items))).all()


def test_it_is_past_the_gate_by_figures_of_its_own_shop(trained: Bundle) -> None:
    day_zero = trained.evaluation["day_zero"]
    for name in ("hr@10", "ndcg@10"):
        assert trained.evaluation[name] > day_zero[name]


def test_it_brings_both_towers_and_its_sessions_are_those_of_its_manifest(trained: Bundle) -> None:
    assert set(trained.files) == {*ENCODER_FILES, TOWER, TOWER_ROWS, SESSION}
    assert session_tower_of(trained) is not None


class Lists:
    """Answers every question with one list."""

    def __init__(self, *item_ids: str) -> None:
        self._items = tuple(RankedItem(item_id, 0.0) for item_id in item_ids)
        self.asked: list[tuple[str, int | None]] = []

    async def recommend(self, user_id: str, *, at_ms: int, **_: float) -> RankedList:
        self.asked.append((user_id, at_ms))
        return RankedList(self._items)


async def test_both_rankings_are_asked_for_each_find_as_of_its_time() -> None:
    finds = [
        Event(user_id="ada", item_id="i1", type="click", time_ms=NOW_MS),
        Event(user_id="bob", item_id="i2", type="click", time_ms=NOW_MS + 1),
    ]
    first, second = Lists("i1", "i2"), Lists("i0", "i1")
    trained: Client = first  # type: ignore[assignment]
    untrained: Client = second  # type: ignore[assignment]
    told: list[int] = []

    assert await compare(trained, untrained, finds, 3, told.append) == {
        "trained_hr_at_10": 1.0,
        "trained_ndcg_at_10": 0.8155,  # (1 + 1 / log2(3)) / 2
        "day_zero_hr_at_10": 0.5,
        "day_zero_ndcg_at_10": 0.3155,
    }
    assert first.asked == second.asked == [("ada", NOW_MS), ("bob", NOW_MS + 1)]
    assert told == [1, 2]
