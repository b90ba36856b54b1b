"""Decide when a snapshot is worth making. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from services.embedding.settings import SnapshotSettings
from shared.catalogue.snapshots import KEEPS_DELETES_MS, Manifest

RENEW_MS: Final = KEEPS_DELETES_MS // 2  # an unchanged one is renewed before it grows too old


def is_due(
    last: Manifest | None,
    positions: Mapping[int, int],
    now_ms: int,
    started_ms: int,
    settings: SnapshotSettings,
) -> bool:
    """Say whether to make one: much has changed since the last, or something has and long ago.

    positions: where each partition of `item-vectors` ends. started_ms: counts as the time of the
    last where there is none.
    """
    offsets = last.offsets if last is not None else {}
    changes = sum(max(end - offsets.get(p, 0), 0) for p, end in positions.items())
    age_ms = now_ms - (last.created_ms if last is not None else started_ms)
    if last is not None and age_ms >= RENEW_MS:
        return True
    enough = max(settings.fresh_at_least, settings.fresh_ratio * (last.count if last else 0))
    return changes >= enough or (changes > 0 and age_ms >= settings.every_s * 1000)
