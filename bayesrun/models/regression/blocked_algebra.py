"""Linear algebra on tall matrices in blocks of rows, without a copy of the whole matrix."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.lazy import special

Array = NDArray[Any]

_HELD = 1e-8
"""Singular values below this fraction of the largest indicate collinear columns."""
_NEAR_PI = 3.1
"""Largest mean angle that is put through `tan_half`, which is infinite at pi."""
BLOCK = 16_384
"""Rows per block, so that intermediate results stay in the processor's cache."""


def blocks(rows: int) -> Iterator[slice]:
    """Yield slices that cover all rows."""
    return (slice(start, start + BLOCK) for start in range(0, rows, BLOCK))


def moments(matrix: Array) -> tuple[Array, Array]:
    """Return means and sds of the columns, in two passes over the rows (row, column)."""
    means = matrix.mean(axis=0)
    squares = sum((((matrix[rows] - means) ** 2).sum(axis=0) for rows in blocks(len(matrix))), np.zeros_like(means))
    return means, np.sqrt(squares / len(matrix))


def triangular(matrix: Array, lengths: Array) -> Array:
    """Return the factor `R` of the QR decomposition of a matrix whose columns are divided by their lengths.

    Each block's rows are reduced together with the factor of those before (sequential TSQR, Demmel et al. 2012,
    doi:10.1137/080731992): as accurate as one decomposition, with memory for one block.
    """
    factor: Array = np.empty((0, matrix.shape[1]))
    for rows in blocks(len(matrix)):
        factor = np.asarray(np.linalg.qr(np.vstack([factor, matrix[rows] / lengths]), mode="r"))
    return factor


def reach(matrix: Array) -> tuple[Array, Array]:
    """Return the natural range of each coefficient of a linear predictor, per sd and per mean of the response.

    Parameters
    ----------
    matrix
        The design: (row, column).

    Returns
    -------
    by_spread : ndarray
        `sqrt(n (X'X)^-1_jj)`: `1 / sd(column)` beside an intercept, more where other columns nearly do the same.
        Directions that the rows do not identify are ignored; never less than `1 / sd(column)`.
    by_level : ndarray
        Coefficients that give 1 in every row: 1 for an intercept, and for each level where there is none.
    """
    means, sds = moments(matrix)
    lengths = np.sqrt(np.einsum("ij,ij->j", matrix, matrix))
    lengths = np.where(lengths > 0, lengths, 1.0)
    _, values, vectors = np.linalg.svd(triangular(matrix, lengths), full_matrices=False)
    held = values > _HELD * values[0]
    inverse = vectors[held].T / values[held] / lengths[:, None]
    by_spread = np.sqrt(len(matrix) * np.sum(inverse**2, axis=1))
    flat = sds <= 1e-12 * np.abs(means)
    least = np.where(flat, 1.0, 1.0 / np.where(flat, 1.0, sds))
    return np.maximum(by_spread, least), inverse @ (inverse.T @ (len(matrix) * means))


def level_on_link(mean: float, link: str, least: float) -> float:
    """Return the mean of a response on the scale of the linear predictor, at least `least` away from its bounds."""
    if link == "log":
        return float(np.log(max(mean, least)))
    if link in ("logit", "probit", "cloglog"):
        share = min(max(mean, least), 1.0 - least)
        return float(
            {"logit": special.logit, "probit": special.ndtri, "cloglog": lambda p: np.log(-np.log1p(-p))}[link](share)
        )
    if link == "tan_half":
        return float(np.tan(0.5 * np.clip(mean, -_NEAR_PI, _NEAR_PI)))
    if link == "inverse":
        return 1.0 / mean if mean else 0.0
    if link == "sqrt":
        return float(np.sqrt(max(mean, 0.0)))
    if link == "softplus":
        return float(mean + np.log(-np.expm1(-mean))) if mean > 0 else 0.0
    return mean


def spread_on_link(sd: float, mean: float, link: str) -> float:
    """Return the natural size of changes in the linear predictor, `s` in `term_scale`.

    Links that remove the response's units (log, logit, probit, cloglog) have 1. Others keep units, and have the
    response's sd on the scale of the link to first order, `sd |link'(mean)|`.

    Parameters
    ----------
    sd, mean
        Of the response.
    link
        Name of the link.
    """
    slope = {
        "identity": 1.0,
        "inverse": mean**-2.0 if mean else np.nan,
        "sqrt": 0.5 * mean**-0.5 if mean > 0 else np.nan,
        "softplus": -1.0 / np.expm1(-mean) if mean > 0 else np.nan,
        "tan_half": 0.5 / np.cos(0.5 * np.clip(mean, -_NEAR_PI, _NEAR_PI)) ** 2,
    }.get(link, np.nan)
    return float(sd * slope) if np.isfinite(slope) else 1.0
