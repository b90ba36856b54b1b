"""Show what training adds: lists as they are served, and as they would be served untrained.

A second ranking answers for the latter: on the same items, states, co-visits and trending, without
what the bundle brings for lists.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, TypedDict

from freshet import Client, Event
from freshet.command import CHECKOUT
from services.cli.addresses import Addresses
from services.cli.replay.replay import DAY_ZERO
from services.cli.replay.scores import Scores
from services.cli.up.process import free_port
from services.cli.up.service import ServiceChild
from services.cli.up.system import DAY_ZERO_BUNDLE, service_environment

BUNDLE: Final[Path] = CHECKOUT / "deploy" / "models" / "demo"
TRAINED: Final = "trained"
READY_WITHIN_S: Final = 60.0
WITHIN_S: Final = 5.0  # of each list: nothing is left out for want of time


@asynccontextmanager
async def untrained_ranking(
    folder: Path, addresses: Addresses, environ: Mapping[str, str] = os.environ
) -> AsyncIterator[str]:
    """Run a ranking on day zero's bundle beside the system's, and yield its address.

    folder: of the system. A bundle is used for the space that it names and no other, so this one
    brings nothing to lists. Raises StartFailed, OSError.
    """
    ports = {"FRESHET_RANKING_PORT": free_port(), "FRESHET_RANKING_HEALTH_PORT": free_port()}
    environ = {**environ, "FRESHET_BUNDLE": str(DAY_ZERO_BUNDLE)}
    child = ServiceChild(
        "ranking",
        ports["FRESHET_RANKING_HEALTH_PORT"],
        folder / "logs" / "ranking-untrained.log",
        service_environment(folder, ports, environ, addresses),
    )
    child.launch()
    try:
        await asyncio.to_thread(child.await_ready, READY_WITHIN_S)
        yield f"127.0.0.1:{ports['FRESHET_RANKING_PORT']}"
    finally:
        await asyncio.to_thread(child.stop)


class Gains(TypedDict):
    """What lists reach at what shoppers found next."""

    trained_hr_at_10: float
    trained_ndcg_at_10: float
    day_zero_hr_at_10: float
    day_zero_ndcg_at_10: float


async def compare(
    trained: Client,
    untrained: Client,
    finds: Sequence[Event],
    items: int,
    progress: Callable[[int], None],
) -> Gains:
    """Ask both for each shopper's list as of the find, which neither was told.

    items: how many could be listed.
    """
    scores = Scores(len(finds), items, {})
    for at, find in enumerate(finds):
        lists = await asyncio.gather(
            *(
                client.recommend(find.user_id, at_ms=find.time_ms, timeout=WITHIN_S)
                for client in (trained, untrained)
            )
        )
        for name, listed in zip((TRAINED, DAY_ZERO), lists, strict=True):
            scores.add(name, at, 0, [item.item_id for item in listed], find.item_id)
        progress(at + 1)
    reached = scores.result()
    return {
        "trained_hr_at_10": reached[TRAINED]["hr@10"],
        "trained_ndcg_at_10": reached[TRAINED]["ndcg@10"],
        "day_zero_hr_at_10": reached[DAY_ZERO]["hr@10"],
        "day_zero_ndcg_at_10": reached[DAY_ZERO]["ndcg@10"],
    }
