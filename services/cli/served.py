"""Wait until items can be recommended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final

from freshet import Client

WITHIN_S: Final = 180.0  # without one item more, on the slowest machine we mean to run on
AT_ONCE: Final = 500
ASK_AGAIN_S: Final = 0.2


async def until_served(
    client: Client, item_ids: Sequence[str], progress: Callable[[int], None]
) -> None:
    """Return once every item is a candidate; `progress` hears how many are.

    Raises TimeoutError where that does not go on.
    """
    for start in range(0, len(item_ids), AT_ONCE):
        part, before = item_ids[start : start + AT_ONCE], -1
        deadline = time.monotonic() + WITHIN_S
        while True:
            served = len(
                await client.recommend("probe", k=500, candidates=part, diversity=0.0, timeout=5.0)
            )
            progress(start + served)
            if served == len(part):
                break
            if served > before:
                before, deadline = served, time.monotonic() + WITHIN_S
            if time.monotonic() > deadline:
                raise TimeoutError(f"{start + served} of {len(item_ids)} items can be recommended")
            await asyncio.sleep(ASK_AGAIN_S)
