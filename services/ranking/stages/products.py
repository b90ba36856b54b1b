"""Multiply candidates' vectors by queries so that no candidate's result depends on the others.

BLAS picks its way by the shape of the whole product, and other ways round otherwise: the cosine of
one candidate would differ in its last bit with how many stand beside it. So rows are multiplied in
blocks of one shape, padded at the end: each row takes the same way wherever it stands. Pure.

Legend: c rows of a table; n of them; d dimensions; q queries.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from services.ranking.stages.float16 import to_float32
from shared.bundles.candidates import BLOCK, padded


def products(
    table: NDArray[np.float16],  # (c, d)
    rows: NDArray[np.int64],  # (n,)
    queries: NDArray[np.float32],  # (q, d)
) -> NDArray[np.float32]:
    """Return the product of each query with each of some rows, (q, n), query by query in memory."""
    filled = np.zeros(padded(len(rows)), np.int64)
    filled[: len(rows)] = rows
    blocks = to_float32(table.take(filled, axis=0)).reshape(-1, BLOCK, table.shape[1])
    product = np.matmul(blocks, queries.T).reshape(len(filled), len(queries))
    return np.ascontiguousarray(product[: len(rows)].T)  # maxima over rows of memory are fast
