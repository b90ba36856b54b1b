"""Make of a dataset what an import of it makes: the catalogue, and the log of events.

Legend: e events.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from freshet.contract.events import Event
from freshet.contract.items import Item
from services.sessions.fold.fold import FoldEvent
from services.training.content.contents import ItemContents
from services.training.data.dataset import Dataset
from services.training.data.histories import Histories, Ints
from shared.bundles.bundle import Bundle
from shared.bundles.towers import OnnxItemTower
from shared.catalogue.catalogue import Catalogue, Change
from shared.catalogue.item_vectors import NO_VECTOR, ItemVector
from shared.inputs.movielens import spaced_times
from shared.users.keys import item_key

NOW_MS: Final = 1_800_000_000_000  # of the import, to which the last event is moved
SINCE_EVER: Final = 0  # when an item without a date of its own arrived


def catalogue_of(data: Dataset, contents: ItemContents, bundle: Bundle) -> Catalogue:
    """Return the items of a dataset as embedding encodes them; row r is number r.

    contents: by the bundle's encoders.
    """
    catalogue = Catalogue(bundle.space, bundle.dim)
    towers = None
    if bundle.tower is not None:
        numbers = np.array([item_key(item_id) for item_id in data.item_ids], np.uint64)
        towers = OnnxItemTower(bundle).vectors(numbers, contents.fused).astype(np.float16)
    empty = np.empty(0, np.float16)
    changes = []
    for row, item_id in enumerate(data.item_ids):
        item = data.items.get(item_id, Item(item_id=item_id))
        vector = ItemVector(
            item_id=item_id,
            space=bundle.space,
            vector=contents.fused[row].astype(np.float16),
            image_vector=empty,
            text_vector=empty,
            content_hash=b"",
            item=item,
            version=1,
            arrived_ms=SINCE_EVER if item.created_ms is None else item.created_ms,
            encoded_ms=NOW_MS,
            tower_vector=NO_VECTOR if towers is None or not towers[row].any() else towers[row],
        )
        changes.append(Change(item_id, 1, vector))
    catalogue.apply(changes)
    return catalogue


def times_of(histories: Histories, last_s: int) -> Ints:
    """Return the events' times in ms, (e,): those of the data, its last at NOW_MS.

    last_s: the data's last time. Where none are known, events are a minute apart, the last now.
    """
    if histories.times_s is None:
        return spaced_times(histories.rows(), NOW_MS)
    return NOW_MS + (histories.times_s - last_s) * 1000


def log_of(histories: Histories, last_s: int, item_ids: Sequence[str]) -> list[FoldEvent]:
    """Return events in the order of time: a rating where there is one, else a click.

    Users are called by the rows of the histories.
    """
    values, times_ms = histories.values, times_of(histories, last_s)
    order = np.argsort(times_ms, kind="stable")
    events = zip(
        order.tolist(),
        histories.rows()[order].tolist(),
        histories.items[order].tolist(),
        times_ms[order].tolist(),
        strict=True,
    )
    return [
        FoldEvent(
            Event(
                user_id=str(row),
                item_id=item_ids[item],
                type="click" if values is None else "rate",
                time_ms=time_ms,
                value=None if values is None else float(values[at]),
            ),
            0,
            offset,
            NOW_MS,
        )
        for offset, (at, row, item, time_ms) in enumerate(events)
    ]
