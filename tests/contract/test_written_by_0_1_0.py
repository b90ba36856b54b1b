"""A move changes no byte: what 0.1.0 wrote is read, and written again, the same."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from freshet.contract import topics
from freshet.contract.events import decode_event
from freshet.contract.records import JSON
from services.sessions.effect import store
from services.sessions.effect.store import UserWrite
from services.sessions.fold.event_columns import FoldEvent
from services.sessions.fold.fold import Folded, fold_many
from services.sessions.fold.settings import FoldSettings
from shared.catalogue.arrow import from_table, read_table, to_table
from shared.catalogue.catalogue import Catalogue, Change
from shared.catalogue.item_vectors import decode_item_vector, encode_item_vector
from shared.catalogue.offers import PRICE, STOCK, WINDOW
from shared.runtime import metrics
from shared.users import keys, log2_weights, positions
from shared.users.event_types import OTHER, UNDONE, UNKNOWN, EventWeights
from shared.users.log2_weights import HalfLives
from shared.users.positions import Position
from shared.users.states import (
    LACKS_VECTOR,
    NEVER_COUNTED,
    NO_VECTORS,
    REPEATS_VISIT,
    UserState,
    pack,
    unpack,
)

FOLDER = Path(__file__).parent / "written_by_0_1_0"
WRITTEN: dict[str, Any] = json.loads((FOLDER / "written.json").read_text())
ITEM_VECTORS = {
    item_id: bytes.fromhex(text)
    for item_id, text in json.loads((FOLDER / "item_vectors.json").read_text()).items()
}


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    found = Catalogue("golden", 16)
    items = [decode_item_vector(value) for value in ITEM_VECTORS.values()]
    found.apply([Change(item.item_id, item.version, item) for item in items])
    found.apply([Change("item-3", 5000, None)])
    return found


@pytest.fixture(scope="module")
def events() -> list[FoldEvent]:
    events = []
    for line in (FOLDER / "events.tsv").read_text().splitlines():
        _, value, partition, offset, record_ms = line.split("\t")
        event = decode_event(value.encode(), JSON)
        events.append(FoldEvent(event, int(partition), int(offset), int(record_ms)))
    return events


@pytest.fixture(scope="module")
def folded(events: list[FoldEvent], catalogue: Catalogue) -> Folded:
    return fold_many({}, events, catalogue, FoldSettings())


def as_then(state: UserState) -> UserState:
    """Return what 0.1.0 kept as well: no vectors, marks or names, nothing undone or apart."""
    history = state.history.copy()
    history["flags"] &= ~np.uint8(LACKS_VECTOR | REPEATS_VISIT | NEVER_COUNTED)
    types = history["type"]
    types[(types >= UNDONE) & (types < UNKNOWN)] -= UNDONE
    types[(types >= UNKNOWN) & (types < UNKNOWN + len(state.type_names))] = OTHER
    return msgspec.structs.replace(
        state,
        history_bytes=history.tobytes(),
        hidden_bytes=b"",
        disliked_bytes=b"",
        type_names=(),
        vectors=NO_VECTORS,
    )


def test_the_same_events_fold_to_the_same_states(folded: Folded, events: list[FoldEvent]) -> None:
    then = {user: unpack(bytes.fromhex(text)) for user, text in WRITTEN["states"].items()}

    assert folded.effects == WRITTEN["effects"]
    assert folded.states.keys() == then.keys()
    for user, state in folded.states.items():
        assert pack(as_then(state)) == pack(as_then(then[user]))
        own = [each.event for each in events if each.event.user_id == user]
        liked = {keys.item_key(event.item_id) for event in own if event.type == "like"}
        assert set(state.excluded) <= set(then[user].hidden) <= set(state.excluded) | liked
        types = state.history["type"]
        if ((types >= UNDONE) & (types < UNKNOWN)).any():
            continue  # a like undid a dislike, which weighed then
        if (EventWeights().of(state.history) < 0).any():
            continue  # then a dislike pushed the vectors away
        # Sums of float32 round differently on other processors; on one they are the same bytes.
        assert state.vectors.present == then[user].vectors.present
        for now, before in zip(state.vectors.decoded(), then[user].vectors.decoded(), strict=True):
            assert (now is None) == (before is None)
            assert now is None or before is None or np.allclose(now, before, atol=0.02)


def test_a_state_that_was_written_is_read_and_written_again_the_same() -> None:
    for text in WRITTEN["states"].values():
        assert pack(unpack(bytes.fromhex(text))).hex() == text


def test_trending_gains_the_same_but_for_unknown_items_and_repeated_visits(
    folded: Folded, catalogue: Catalogue
) -> None:
    trends = {f"{scope} {item:016x}": weight for (scope, item), weight in folded.trends.items()}
    trending = {m: w for m, w in trends.items() if not m.startswith(keys.POPULAR_SCOPE)}
    known = {f"{key:016x}" for key in catalogue.keys[catalogue.alive].tolist()}
    then = {m: w for m, w in WRITTEN["trends"].items() if m.rpartition(" ")[2] in known}

    assert trending.keys() <= then.keys()
    in_all = {member for member in then if member.startswith(keys.ALL_SCOPE)}
    assert in_all <= trending.keys()
    assert all(trending[member] <= then[member] + 1e-9 for member in trending)


def test_a_covisit_that_was_written_goes_on_with_the_weight_it_had_come_to() -> None:
    covisits_s, then_s = HalfLives().covisits_s, 30 * 86_400
    a_year_on_ms = log2_weights.ANCHOR_MS + 365 * 86_400_000

    for score in WRITTEN["covisits"].values():
        then = log2_weights.weight_at(score, log2_weights.ANCHOR_MS, then_s)
        now = log2_weights.weight_at(score, log2_weights.ANCHOR_MS, covisits_s)
        later = log2_weights.weight_at(score, a_year_on_ms, covisits_s)
        assert now == pytest.approx(then)
        assert later == pytest.approx(then / 2)


def test_redis_gets_the_same_command_for_a_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    members, ttl_s, *others = store._LIMITS[1:]
    assert (members, ttl_s) == (200, 90 * 86_400)
    monkeypatch.setattr(store, "_LIMITS", (store._LIMITS[0], 100, ttl_s, *others))  # as then
    chunk = store.WriteChunk(
        Position(1, 2, b"a" * 16).pack(),
        Position(3, 4, b"b" * 16).pack(),
        [UserWrite("ada", b"", b"new"), UserWrite("bob", b"guard", b"state")],
        {(1, 2): 0.5, (1, 3): -1.25, (7, 2): 9.0},
        {("all", 5): 2.0, ("c:lamps", 2**64 - 1): 3.5},
    )
    digest = hashlib.sha256()
    for part in store._command(keys.position("clicks", 0), chunk):
        digest.update(repr(part).encode() + b"\n")

    assert hashlib.sha1(store.SCRIPT).hexdigest() == WRITTEN["script_sha1"]
    assert digest.hexdigest() == WRITTEN["command_sha256"]


def test_a_position_is_the_same_bytes() -> None:
    position = Position(42, 1_750_000_000_000, bytes(range(16)))

    assert position.pack().hex() == WRITTEN["position"]
    assert positions.unpack(bytes.fromhex(WRITTEN["position"])) == position


def test_item_vectors_are_the_same_bytes() -> None:
    again = {
        item_id: encode_item_vector(decode_item_vector(v)) for item_id, v in ITEM_VECTORS.items()
    }

    assert again == ITEM_VECTORS


def test_a_snapshots_catalogue_is_read_and_written_again_the_same(catalogue: Catalogue) -> None:
    """What came since is left out: the shop's own times, and a bit for the currency."""
    written = read_table(FOLDER / "catalogue.arrow")
    restored = Catalogue("golden", 16)
    restored.restore(from_table(written))
    for again in (to_table(catalogue.copy_rows()), to_table(restored.copy_rows())):
        carried = pc.bit_wise_and(again["carried"], pa.scalar(PRICE | STOCK | WINDOW, pa.uint8()))
        place = again.column_names.index("carried")
        assert again.set_column(place, "carried", carried).drop(["updated_ms"]).equals(written)
        assert again.schema.metadata == written.schema.metadata


def test_keys_and_topics_are_the_same() -> None:
    item = keys.item_key("item-1")
    names = {
        "user": keys.user("ada"),
        "covisits": keys.covisits(item),
        "trending": keys.trending(keys.category_scope("kind-1")),
        "segment": keys.trending(keys.segment_scope("nl")),
        "item_cache": keys.item_cache("golden", "item-1"),
        "position": keys.position("clicks", 3),
        "log": keys.log_of("clicks"),
        "active": keys.ACTIVE_BUNDLE,
        "previous": keys.PREVIOUS_BUNDLE,
    }
    every = (*topics.FIXED, topics.item_vectors("golden"))
    since = {"users"}

    assert {name: key.decode() for name, key in names.items()} == WRITTEN["redis_keys"]
    found = {t.name: [t.partitions, t.config] for t in every if t.name not in since}
    assert found == WRITTEN["topics"]


def test_every_metric_of_then_is_there_with_its_labels_and_buckets() -> None:
    shown = set()
    for metric in vars(metrics).values():
        if hasattr(metric, "_name"):
            bounds = getattr(metric, "_upper_bounds", None)
            buckets = " " + ",".join(map(str, bounds)) if bounds else ""
            shown.add(f"{metric._type} {metric._name} {','.join(metric._labelnames)}{buckets}")

    assert set(WRITTEN["metrics"]) - shown == set()
