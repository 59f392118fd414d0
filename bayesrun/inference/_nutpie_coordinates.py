"""Coordinates in which a strongly correlated posterior is nearly spherical, found before the first draw.

nutpie learns a diagonal mass matrix and the strongest directions besides, which is too little for a regression on raw
columns, whose coefficients are correlated by 0.99 and more. So the chain moves in `z`, with `x = shift + A z` and `A`
the Cholesky factor of the covariance that the curvature at the mode gives (Laplace). The map is linear: the
posterior is the same whatever `A` is, a poor one costs speed only.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bayesrun.inference._start import curvature_at_mode
from bayesrun.inference.base import NutsSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bayesrun.inference._gradient import Gradient

log = logging.getLogger("bayesrun.sampling")

UP_TO = 200
"""Parameters up to which the curvature is looked at; it takes two gradients for each."""
_STRONG = 0.9
_LEAST_EIGENVALUE = 1e-12
_FURTHEST = 20.0
"""Standard deviations from the mode up to which a start is left as it is."""


@dataclass(frozen=True)
class Coordinates:
    """Where the mode is, and the linear map from nearly independent coordinates around it.

    Parameters
    ----------
    mode
        Point (parameter).
    factor
        Lower triangular (parameter, parameter), Cholesky factor of the covariance at the mode.
    """

    mode: NDArray[Any]
    factor: NDArray[Any]

    def nearer(self, points: NDArray[Any]) -> NDArray[Any]:
        """Move points that are hopelessly far from the mode to where the sampler can still learn scales from.

        Parameters
        ----------
        points
            First points of the chains (chain, parameter).
        """
        import numpy as np
        from scipy.linalg import solve_triangular

        away = solve_triangular(self.factor, (points - self.mode).T, lower=True)
        furthest = np.max(np.abs(away), axis=0)
        return np.asarray(self.mode + (self.factor @ (away * np.minimum(1.0, _FURTHEST / furthest))).T)


def coordinates(gradient: Gradient, spec: NutsSpec) -> Coordinates | None:
    """Find a linear map to nearly independent coordinates.

    Parameters
    ----------
    gradient
        The model's compiled density.
    spec
        Only `init: auto` chooses coordinates.

    Returns
    -------
    Coordinates or None
        None where correlations are weak or the curvature is no covariance's.
    """
    import numpy as np

    if spec.init != "auto" or not 2 <= gradient.size <= UP_TO:
        return None
    found = curvature_at_mode(gradient.density, gradient.start)
    covariance = _covariance(found.curvature)
    if covariance is None:
        return None
    sd = np.sqrt(np.diag(covariance))
    strongest = float(np.max(np.abs(covariance / np.outer(sd, sd) - np.eye(sd.size))))
    if strongest < _STRONG:
        return None
    log.info("coordinates: those of the curvature at the mode (strongest correlation %.3f)", strongest)
    return Coordinates(found.mode, np.asarray(np.linalg.cholesky(covariance)))


def _covariance(hessian: NDArray[Any]) -> NDArray[Any] | None:
    """Invert a curvature, scaled so that parameters of very different size do no harm."""
    import numpy as np

    scale = np.sqrt(np.abs(np.diag(hessian)))
    if not np.all(np.isfinite(hessian)) or np.any(scale == 0):
        return None
    values, vectors = np.linalg.eigh(hessian / np.outer(scale, scale))
    if values[0] <= _LEAST_EIGENVALUE:
        return None
    return np.asarray((vectors / values) @ vectors.T / np.outer(scale, scale))
