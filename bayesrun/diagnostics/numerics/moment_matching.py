"""Leave-one-out densities of points that importance sampling alone gets wrong, by moment matching.

The draws are moved by affine maps, fitted to match the moments of the posterior without the point, until the weights
of the moved draws have a tail that can be trusted (Paananen, Piironen, Bürkner and Vehtari 2021,
doi:10.1007/s11222-020-09982-2). The estimate uses draws as they are and moved ones, half of each, weighted by the
density of their mixture.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cholesky, solve_triangular
from scipy.special import logsumexp, softmax

from bayesrun.diagnostics.numerics.psis import smoothed_weights

Floats = NDArray[np.float64]
Density = Callable[[Floats], Floats]
"""`(points) -> log densities`, (draw,), of points (draw, parameter)."""

_ROUNDS = 30
_DRAWS_PER_PARAMETER = 10
"""Draws per parameter that a covariance needs."""


@dataclass(frozen=True)
class Affine:
    """The map `x -> matrix x + shift`."""

    matrix: Floats
    shift: Floats

    @classmethod
    def identity(cls, size: int) -> Affine:
        """Return the map that leaves every point where it is."""
        return cls(np.eye(size), np.zeros(size))

    def __call__(self, points: Floats) -> Floats:
        """Move points (draw, parameter)."""
        return points @ self.matrix.T + self.shift

    def after(self, first: Affine) -> Affine:
        """Return the map that applies `first`, then this one."""
        return Affine(self.matrix @ first.matrix, self.matrix @ first.shift + self.shift)

    def back(self, points: Floats) -> Floats:
        """Return the points that are moved to these."""
        return np.asarray(np.linalg.solve(self.matrix, (points - self.shift).T).T)

    @property
    def log_volume(self) -> float:
        """Logarithm of the factor by which it changes volumes."""
        return float(np.linalg.slogdet(self.matrix)[1])


@dataclass(frozen=True)
class Matched:
    """The log predictive density of a point without it, and the Pareto k of the weights that it comes from."""

    elpd: float
    pareto_k: float


def match_moments(
    points: Floats,
    log_posterior: Floats,
    density: Density,
    likelihood: Density,
    relative_efficiency: float,
    good_k: float,
) -> Matched:
    """Estimate the density of one observation without it.

    Parameters
    ----------
    points
        Draws of the posterior on the unconstrained scale (draw, parameter).
    log_posterior
        Its log density at them, up to a constant (draw,).
    density, likelihood
        The posterior's log density, up to the same constant, and the observation's log likelihood.
    relative_efficiency
        ESS divided by the number of draws.
    good_k
        Pareto k at which the search ends.

    Returns
    -------
    Matched
        The k of plain importance sampling where no map betters it.
    """
    moved, total = points, Affine.identity(points.shape[1])
    log_likelihood = likelihood(points)
    weights, k = smoothed_weights(-log_likelihood, relative_efficiency)
    for _ in range(_ROUNDS):
        if k <= good_k:
            break
        for step in _maps(moved, softmax(weights)):
            tried = step(moved)
            raw = density(tried) - likelihood(tried) - log_posterior
            new_weights, new_k = smoothed_weights(_finite(raw), relative_efficiency)
            if new_k < k:
                moved, total, weights, k = tried, step.after(total), new_weights, new_k
                break
        else:
            break
    known = np.stack([log_posterior, log_likelihood])
    return Matched(_split(points, known, total, density, likelihood, relative_efficiency), k)


def _maps(points: Floats, weights: Floats) -> list[Affine]:
    """Return maps that match the weighted mean; mean and variances; mean and covariance."""
    mean, target = points.mean(axis=0), weights @ points
    size = points.shape[1]
    spread = points.var(axis=0)
    wanted = weights @ (points - target) ** 2
    scale = np.sqrt(np.divide(wanted, spread, out=np.ones(size), where=(spread > 0) & (wanted > 0)))
    maps = [Affine(np.eye(size), target - mean), Affine(np.diag(scale), target - scale * mean)]
    if len(points) >= _DRAWS_PER_PARAMETER * size:
        matrix = _matched_covariance(points - mean, points - target, weights)
        maps += [] if matrix is None else [Affine(matrix, target - matrix @ mean)]
    return maps


def _matched_covariance(centred: Floats, from_target: Floats, weights: Floats) -> Floats | None:
    """Return the matrix that gives draws the weighted covariance; None where one is not positive definite."""
    try:
        before = cholesky(centred.T @ centred / len(centred), lower=True)
        after = cholesky((from_target * weights[:, None]).T @ from_target, lower=True)
        matrix: Floats = solve_triangular(before, after.T, lower=True, trans="T").T
    except LinAlgError:
        return None
    return matrix if np.isfinite(matrix).all() else None


def _split(
    points: Floats, known: Floats, total: Affine, density: Density, likelihood: Density, relative_efficiency: float
) -> float:
    """Weigh moved draws of one half and unmoved ones of the other as draws of a mixture.

    `known` are the posterior's log density and the observation's log likelihood at the points, (2, draw), so that only
    points that were moved need either.
    """
    half = np.arange(len(points)) % 2 == 0  # of every chain, as draws follow each other
    plain, own = known.copy()
    as_moved = plain.copy()
    moved = total(points[half])
    plain[half], own[half] = density(moved), likelihood(moved)
    as_moved[~half] = density(total.back(points[~half]))
    as_moved -= total.log_volume
    raw = plain - own - np.logaddexp(plain, as_moved)
    weights, _ = smoothed_weights(_finite(raw), relative_efficiency)
    return float(logsumexp(weights + own) - logsumexp(weights))


def _finite(raw: Floats) -> Floats:
    """Let draws outside the support weigh nothing."""
    return np.where(np.isfinite(raw), raw, -np.inf)
