"""Ask the session tower what comes next after a user's history, and find the items that it means.

The query is computed when a list is made, from the history as it is then: nothing of it is kept in
states, so another tower needs no state anew, and intake is what it was (README: the session tower).
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

import numpy as np
from numpy.typing import NDArray

from freshet.errors import Overloaded
from services.ranking.index import watch
from services.ranking.index.served import ON_LOOP_S, IndexSearcher
from services.ranking.stages import degraded
from services.ranking.stages.sources import TOWER_AT_MOST
from services.ranking.stages.user_profile import tower_history
from shared.bundles.towers import OnnxSessionTower
from shared.catalogue.catalogue import Catalogue
from shared.catalogue.snapshots import Snapshot
from shared.faults import SystemFault
from shared.runtime.deadline import Deadline

TOWER: Final = "tower"  # work that is left out where it does not fit, as Costs calls it
NEAREST_TOWER: Final = "nearest_tower"

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]


class TowerSearch:
    """A session tower over the tower vectors of one catalogue."""

    def __init__(
        self, tower: OnnxSessionTower, catalogue: Catalogue, snapshot: Snapshot | None = None
    ) -> None:
        """snapshot: that the catalogue was begun with. Blocking."""
        self.name = tower.model
        self.index = watch.begin(catalogue, snapshot, tower.dim)
        self._tower = tower
        self._catalogue = catalogue
        self._searcher = IndexSearcher(self.index)

    async def query(self, chosen: Rows, deadline: Deadline) -> Floats | None:
        """Return the query of what a user chose, oldest first, (t,).

        None where no item of it has a tower vector, or where it was left out, which is named.
        """
        history = tower_history(chosen, self.index.indexed.vectors())
        if not len(history):
            return None
        cost = deadline.costs.of(TOWER)
        if not deadline.affords(cost, degraded.TOWER_SKIPPED):
            return None

        def measured() -> tuple[Floats, float]:
            began_s = time.thread_time()  # what it works: a busy machine is no reason for a thread
            return self._tower.query(history), time.thread_time() - began_s

        try:
            if cost.known and cost.recent_s > ON_LOOP_S:
                query, took_s = await deadline.waiting(asyncio.to_thread(measured))
            else:
                query, took_s = measured()
        except SystemFault:
            deadline.leave_out(degraded.TOWER_FAILED)
            return None
        cost.note(took_s)
        return query

    async def nearest(
        self, query: Floats, fitting: NDArray[np.bool_], deadline: Deadline
    ) -> Rows | None:
        """Return the allowed rows nearest to a query, None where there is no time for that."""
        cost = self._searcher.cost_of(NEAREST_TOWER)
        if not deadline.affords(cost, degraded.TOWER_SKIPPED):
            return None
        try:
            rows, scores = await self._searcher.nearest(
                query[None],
                TOWER_AT_MOST,
                fitting,
                deadline,
                work=NEAREST_TOWER,
                within_s=deadline.affordable_s(),
            )
        except (TimeoutError, Overloaded):
            deadline.leave_out(degraded.TOWER_SKIPPED)
            return None
        return rows[scores > 0]  # what has no tower vector is at 0
