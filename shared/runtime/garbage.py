"""Python's garbage collector, told what services know: what is there at the start stays."""

from __future__ import annotations

import gc
from typing import Final

THRESHOLDS: Final = (20_000, 20, 50)


def settle() -> None:
    """Look through what is there once, then never again, and look for cycles more seldom.

    Call it when a service has read what it serves from. What calls and batches make is freed by
    counting references; only cycles wait longer.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
