"""A small shop in memory for ranking's tests: kinds of items around directions of their own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freshet.contract.items import Item
from services.ranking.live.state_reader import MemoryReader
from services.ranking.serving_space import ServingSpace
from services.ranking.settings import RankingSettings
from services.ranking.stages.signals import Weighted
from shared.bundles.bundle import SESSION, Bundle, TowerShape
from shared.bundles.towers import OnnxSessionTower
from shared.catalogue.catalogue import Catalogue, Change
from shared.catalogue.item_vectors import ItemVector
from shared.users import event_types, keys, log2_weights, states
from shared.users.log2_weights import HalfLives
from shared.users.session_vectors import VectorSettings, session_vectors
from shared.users.states import HAS_VALUE
from tests.unit.shared.bundles.graphs import session_model
from tests.unit.shared.users.makers import state_of

SPACE = "test"
DIM = 16
TOWER_DIM = 8
NOW_MS = 1_800_000_000_000
DAY_MS = 86_400_000
KINDS = ("lamp", "chair", "rug", "vase")
EMPTY = np.empty(0, np.float16)
VECTORS = VectorSettings()
COVISITS_S = HalfLives().covisits_s


def near(kind: int, seed: int, spread: float = 0.1) -> NDArray[np.float16]:
    """Return a unit vector around a kind's direction."""
    direction = np.zeros(DIM)
    direction[kind] = 1
    vector = direction + spread * np.random.default_rng(seed).standard_normal(DIM)
    return (vector / np.linalg.norm(vector)).astype(np.float16)


def item_vector(item_id: str, vector: NDArray[np.float16], **fields: Any) -> ItemVector:
    """Return an encoded item; fields: of Item, and those of ItemVector that differ."""
    own = {
        name: fields.pop(name, EMPTY) for name in ("image_vector", "text_vector", "tower_vector")
    }
    arrived_ms = fields.pop("arrived_ms", NOW_MS - DAY_MS)
    missing = fields.pop("picture_missing", "")
    fields.setdefault("title", item_id.title())
    return ItemVector(
        item_id=item_id,
        space=SPACE,
        vector=vector,
        content_hash=b"",
        item=Item(item_id=item_id, **fields),
        version=1,
        arrived_ms=arrived_ms,
        encoded_ms=arrived_ms,
        picture_missing=missing,
        **own,
    )


def towering(number: int, seed: int = 0) -> NDArray[np.float16]:
    """Return a tower vector: items of one number go together, of whatever kind they are."""
    vector = np.eye(TOWER_DIM)[number % TOWER_DIM]
    vector = vector + 0.05 * np.random.default_rng(seed).standard_normal(TOWER_DIM)
    return np.asarray(vector / np.linalg.norm(vector), np.float16)


def session_tower(length: int = 10) -> OnnxSessionTower:
    """Return a tower that looks for what is like the last items that were chosen."""
    files = {SESSION: session_model(TOWER_DIM, length)}
    shape = TowerShape(dim=TOWER_DIM, model="mean", length=length)
    return OnnxSessionTower(Bundle(SPACE, DIM, 0, 0, 0, {}, files, shape))


class Shop:
    """A space over a catalogue that tests fill, and users as they wish them."""

    def __init__(
        self, each: int = 30, *, towers: bool = False, settings: RankingSettings | None = None
    ) -> None:
        """each: items `KIND-N` of each kind, the higher N the newer; towers: which N tell apart."""
        self._version = 0
        self.catalogue = Catalogue(SPACE, DIM)
        self.reader = MemoryReader()
        self.space = ServingSpace.build(
            self.catalogue,
            self.reader,
            settings or RankingSettings(),
            tower=session_tower() if towers else None,
            now_ms=lambda: NOW_MS,
        )
        self.offers = self.space.offers
        self.items = [
            item_vector(
                f"{kind}-{n}",
                near(number, 1000 * number + n),
                categories=(kind,),
                price=float(10 * (n + 1)),
                arrived_ms=NOW_MS - 30 * DAY_MS + 1000 * n + number,
                tower_vector=towering(n, 1000 * number + n) if towers else EMPTY,
            )
            for number, kind in enumerate(KINDS)
            for n in range(each)
        ]
        self.put(self.items)

    def put(self, items: Iterable[ItemVector]) -> None:
        """Let items arrive, or come anew."""
        self._version += 1
        changes = [Change(item.item_id, self._version, item) for item in items]
        self.catalogue.apply(changes, now_ms=NOW_MS)

    def delete(self, item_id: str) -> None:
        """Delete an item."""
        self._version += 1
        self.catalogue.apply([Change(item_id, self._version, None)], now_ms=NOW_MS)

    def user(
        self,
        user_id: str,
        events: Iterable[tuple[str, str]],
        *,
        offset: int = 1,
        hidden: tuple[str, ...] = (),
        purchased: tuple[str, ...] = (),
    ) -> states.UserState:
        """Give a user a history of (type, item), a minute apart, the last one now.

        Ratings are 0.
        """
        listed = list(events)
        history = [
            (
                keys.item_key(item_id),
                NOW_MS // 1000 - 60 * (len(listed) - 1 - n),
                0,
                0.0,
                event_types.CODES[kind],
                HAS_VALUE if kind == "rate" else 0,
            )
            for n, (kind, item_id) in enumerate(listed)
        ]
        state = state_of(
            guard={0: offset},
            history=history,
            hidden=tuple(keys.item_key(item_id) for item_id in hidden),
            purchased=tuple(keys.item_key(item_id) for item_id in purchased),
        )
        vectors = session_vectors([state.history_bytes], self.catalogue, VECTORS)[0]
        state = state_of(
            guard=state.guard,
            history=history,
            hidden=state.hidden,
            purchased=state.purchased,
            vectors=vectors,
        )
        self.reader.users[user_id] = state
        return state

    def follows(self, item_id: str, followers: Mapping[str, float]) -> None:
        """Let items follow an item, with weights given now."""
        self.reader.covisits[keys.item_key(item_id)] = weighted(followers, COVISITS_S)

    def trends(self, scope: str, items: Mapping[str, float]) -> None:
        """Let items trend in a scope, or be popular, with weights given now."""
        self.reader.trending[scope] = weighted(items, 6 * 3600.0)


def weighted(items: Mapping[str, float], half_life_s: float) -> Weighted:
    """Return items with weights given now, the heaviest first."""
    ordered = sorted(items.items(), key=lambda entry: -entry[1])
    return Weighted(
        np.array([keys.item_key(item_id) for item_id, _ in ordered], np.uint64),
        np.array([log2_weights.score_of(weight, NOW_MS, half_life_s) for _, weight in ordered]),
    )
