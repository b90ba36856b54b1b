"""A user state as the State method shows it: ids instead of keys. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from freshet.v1 import state_pb2
from shared.catalogue.catalogue import Catalogue
from shared.users.event_types import EventWeights
from shared.users.states import HAS_VALUE, STARTS_SESSION, UserState


def message(
    user_id: str, state: UserState, catalogue: Catalogue, weights: EventWeights
) -> state_pb2.UserState:
    """Return the contract's message; items that the catalogue does not hold show as `key:HEX`."""
    history = state.history
    ids = ids_of(history["item"].tolist(), catalogue)
    session, long_term = state.session, state.long_term
    return state_pb2.UserState(
        user_id=user_id,
        history=[
            state_pb2.HistoryEntry(
                item_id=item_id,
                type=weights.name_of(int(entry["type"])),
                time_ms=int(entry["seconds"]) * 1000,
                value=float(entry["value"]) if entry["flags"] & HAS_VALUE else 0.0,
                starts_session=bool(entry["flags"] & STARTS_SESSION),
            )
            for item_id, entry in zip(ids, history, strict=True)
        ],
        space=state.space,
        session_vector=[] if session is None else session.tolist(),
        long_term_vector=[] if long_term is None else long_term.tolist(),
        interests=[state_pb2.InterestVector(vector=vector) for vector in state.interests.tolist()],
        excluded=ids_of(state.excluded, catalogue),
        purchased=ids_of(state.purchased, catalogue),
        offsets=[
            state_pb2.PartitionOffset(partition=partition, offset=offset)
            for partition, offset in sorted(state.guard.items())
        ],
        forgotten_at_ms=state.forgotten_at_ms,
    )


def ids_of(keys: Sequence[int], catalogue: Catalogue) -> list[str]:
    """Return the ids of item keys."""
    rows = catalogue.rows(np.array(keys, np.uint64)).tolist()
    return [
        catalogue.ids[row] if row >= 0 else f"key:{key:016x}"
        for key, row in zip(keys, rows, strict=True)
    ]
