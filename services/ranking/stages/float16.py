"""Widen float16 to float32 in a third of numpy's time, which else dominates products. Pure."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

# A half's exponent and fraction, moved to where a float has them, say its value times 2^-112.
_MOVED: Final = 13
_SIGN_AND_VALUE: Final = np.int32(-0x70000001)  # 0x8FFFFFFF: without what the sign spreads over
_SCALE: Final = np.float32(2.0**112)


def to_float32(vectors: NDArray[Any]) -> NDArray[np.float32]:
    """Return finite float16 numbers as float32, of the same shape; float32 is returned as it is.

    Exact, but that numbers below 6.2e-5 become 0 where a library has told the processor to treat
    subnormals so. What is not finite has no place here: the catalogue refuses it.
    """
    if vectors.dtype == np.float32:
        return vectors
    bits = vectors.view(np.int16).astype(np.int32)
    bits <<= _MOVED
    bits &= _SIGN_AND_VALUE
    wide: NDArray[np.float32] = bits.view(np.float32)
    wide *= _SCALE
    return wide
