"""Coordinates in which the coefficients of a GLM are nearly independent.

With the design `X = U S V'` and `s` the spread of a response, the likelihood's covariance of the coefficients is about
`s^2 V S^-2 V'`. So put `beta = c + s V S^-1 z`: whatever the predictors' units, means and correlations, the posterior
of `z` is nearly spherical. The map is linear, so the density is that of `beta` up to a constant.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.models.regression.blocked_algebra import triangular
from bayesrun.models.regression.design_matrix import Prepared

_MIN_RATIO = 1e-6
"""Singular values are clipped below at this fraction of the largest: for collinear columns, the priors decide."""


@dataclass(frozen=True)
class Whitening:
    """`beta = centre + basis @ z`.

    Parameters
    ----------
    centre
        Over (column).
    basis
        Over (column, column).
    information
        The diagonal of `basis' X'X basis`, which is a diagonal matrix.
    """

    centre: NDArray[Any]
    basis: NDArray[Any]
    information: NDArray[Any]


def whitening(prepared: Prepared, link: str, spread: float) -> Whitening:
    """Find the coordinates.

    Parameters
    ----------
    prepared
        The GLM's data.
    link
        Name of the link.
    spread
        Sd of the response; 1 if the link removes its units.
    """
    matrix = prepared.design.matrix
    known = ~prepared.response.isnull().values
    lengths = np.sqrt(np.einsum("ij,ij->j", matrix, matrix))
    lengths = np.where(lengths > 0, lengths, 1.0)
    _, values, vectors = np.linalg.svd(triangular(matrix, lengths))
    values = np.r_[values, np.zeros(len(vectors) - len(values))]
    kept = np.maximum(values, _MIN_RATIO * values[0])
    inverse = vectors.T / kept / lengths[:, None]
    target = _linear_response(prepared, link)
    centre = inverse @ (inverse.T @ (matrix[known].T @ target[known] if not known.all() else matrix.T @ target))
    return Whitening(centre, spread * inverse, (spread * values / kept) ** 2)


def _linear_response(prepared: Prepared, link: str) -> NDArray[Any]:
    """Return the response on the scale of the linear predictor, kept away from values where the link is infinite."""
    values = prepared.response.values.astype(float)
    if link == "log":
        values = np.log(np.maximum(values, 0.0) + 0.5)
    elif link != "identity":
        trials = 1.0 if prepared.trials is None else prepared.trials
        share = (values + 0.5) / (trials + 1.0)
        values = np.log(share / (1.0 - share))
    return values if prepared.offset is None else values - prepared.offset
