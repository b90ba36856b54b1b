"""Widening float16: the same numbers as numpy's own conversion, bit for bit."""

from __future__ import annotations

import numpy as np

from services.ranking.stages.float16 import to_float32


def test_every_finite_half_is_to_float32_exactly() -> None:
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    halves = halves[np.isfinite(halves)]
    # Where a library lets the processor treat subnormals as 0, both signs of 0 may come of them.
    normal = np.abs(halves) >= np.finfo(np.float16).smallest_normal
    assert to_float32(halves)[normal].tobytes() == halves[normal].astype(np.float32).tobytes()
    assert np.abs(to_float32(halves) - halves.astype(np.float32)).max() < 6.2e-5


def test_shape_and_source_stay() -> None:
    rows = np.full((4, 6), 0.5, np.float16)
    wide = to_float32(rows[::2, 1:4])
    assert wide.shape == (2, 3)
    assert (wide == 0.5).all()
    assert (rows == 0.5).all()
    assert to_float32(wide) is wide
