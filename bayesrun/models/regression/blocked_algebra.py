"""Linear algebra on tall matrices in blocks of rows, without a copy of the whole matrix."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

BLOCK = 16_384
"""Rows that are worked on at a time, so that what is between two steps stays in the processor's cache."""


def blocks(rows: int) -> Iterator[slice]:
    """Yield slices that cover all rows."""
    return (slice(start, start + BLOCK) for start in range(0, rows, BLOCK))


def moments(matrix: Array) -> tuple[Array, Array]:
    """Return means and sds of the columns, in two passes over the rows (row, column)."""
    import numpy as np

    means = matrix.mean(axis=0)
    squares = sum((((matrix[rows] - means) ** 2).sum(axis=0) for rows in blocks(len(matrix))), np.zeros_like(means))
    return means, np.sqrt(squares / len(matrix))


def triangular(matrix: Array, lengths: Array) -> Array:
    """Return the factor `R` of the QR decomposition of a matrix whose columns are divided by their lengths.

    Each block's rows are reduced together with the factor of those before (sequential TSQR, Demmel et al. 2012,
    doi:10.1137/080731992): as accurate as one decomposition, with memory for one block.
    """
    import numpy as np

    factor: Array = np.empty((0, matrix.shape[1]))
    for rows in blocks(len(matrix)):
        factor = np.asarray(np.linalg.qr(np.vstack([factor, matrix[rows] / lengths]), mode="r"))
    return factor
