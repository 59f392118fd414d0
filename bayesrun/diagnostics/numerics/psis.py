"""Leave-one-out densities by Pareto-smoothed importance sampling, for many points at once.

For a point with log likelihood l_s in draw s, the raw weights of leaving it out are w_s = exp(-l_s). Their M largest
are replaced by the expected order statistics of a generalised Pareto distribution fitted to them (shape k, scale
sigma; Zhang and Stephens 2009, doi:10.1198/tech.2009.08017), and

    elpd_i = log(sum_s w_s exp(l_s) / sum_s w_s)

(Vehtari, Simpson, Gelman, Yao and Gabry, doi:10.48550/arXiv.1507.02646). The numbers agree with `az.loo`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp, softmax

from bayesrun.lazy import az

Floats = NDArray[np.float64]

_MIN_TAIL = 5
_LOWEST = float(np.log(np.finfo(float).tiny))
_SAME = 1e-10
"""Largest difference of log densities that is a rounding error."""
_NEGLIGIBLE = 10 * np.finfo(float).eps


@dataclass(frozen=True)
class Loo:
    """Leave-one-out predictive densities, each array over point.

    Parameters
    ----------
    elpd_i
        Log predictive density of each point without it.
    lppd_i
        Log predictive density of each point including it.
    pareto_k
        Shape of the tail of the importance weights; above 0.7 the estimate is unreliable.
    """

    elpd_i: Floats
    lppd_i: Floats
    pareto_k: Floats

    @property
    def judged_k(self) -> Floats:
        """`pareto_k`, but 0 for points with the same density in every draw: equal weights have no tail."""
        return np.where(np.abs(self.lppd_i - self.elpd_i) < _SAME, 0.0, self.pareto_k)

    @property
    def elpd(self) -> float:
        """Sum of `elpd_i` over the points."""
        return float(self.elpd_i.sum())

    @property
    def se(self) -> float:
        """Standard error of that sum."""
        return float((len(self.elpd_i) * np.var(self.elpd_i)) ** 0.5)

    @property
    def p_loo(self) -> float:
        """Effective number of parameters."""
        return float(self.lppd_i.sum() - self.elpd)


def log_mean_exp(terms: Floats) -> Floats:
    """Return log(mean(exp(terms))) over draws, the log predictive density of each point (terms over point, draw)."""
    largest = terms.max(axis=1)
    density: Floats = largest + np.log(np.exp(terms - largest[:, None]).mean(axis=1))
    return density


def leave_one_out(blocks: Iterable[Floats], relative_efficiency: float) -> Loo:
    """Compute the leave-one-out predictive density of each point.

    Parameters
    ----------
    blocks
        Pointwise log likelihood over point, draw (all chains combined), some points at a time.
    relative_efficiency
        ESS divided by the number of draws.
    """
    with np.errstate(all="ignore"):
        parts = [(*_leave_out(terms, relative_efficiency), log_mean_exp(terms)) for terms in blocks]
    elpd, k, lppd = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Loo(elpd, lppd, k)


def smoothed_weights(log_weights: Floats, relative_efficiency: float) -> tuple[Floats, float]:
    """Smooth the largest of the importance weights of one quantity.

    Parameters
    ----------
    log_weights
        Raw log weights (draw,); -inf for draws that weigh nothing.
    relative_efficiency
        ESS divided by the number of draws.

    Returns
    -------
    weights : ndarray
        Smoothed log weights (draw,), normalised.
    pareto_k : float
        Shape of their tail; infinite where it can't be fitted.
    """
    lowest = np.maximum(log_weights - log_weights.max(), 10 * _LOWEST)
    weights, k = az.psislw(lowest, relative_efficiency)
    return np.asarray(weights), float(k)


def _leave_out(terms: Floats, relative_efficiency: float) -> tuple[Floats, Floats]:
    """Return `elpd_i` and `pareto_k` of a block of points."""
    points, draws = terms.shape
    most = int(np.ceil(min(draws / 5.0, 3.0 * (draws / relative_efficiency) ** 0.5)))
    least = terms.min(axis=1)
    weights = np.partition(least[:, None] - terms, draws - most - 1, axis=1)
    cut = np.maximum(weights[:, draws - most - 1], _LOWEST)
    tail = np.sort(weights[:, draws - most :], axis=1)
    length = (tail > cut[:, None]).sum(axis=1)
    elpd, k = np.full(points, np.nan), np.full(points, np.inf)
    for n in np.unique(length):
        rows = np.flatnonzero(length == n)
        body = np.concatenate([weights[rows, : draws - most], tail[rows, : most - n]], axis=1)
        elpd[rows], k[rows] = _with_tail(body, tail[rows, most - n :], cut[rows])
    elpd += least
    for row in np.flatnonzero(~np.isfinite(elpd) | np.isnan(k)):
        elpd[row], k[row] = _as_arviz(terms[row], relative_efficiency)
    return elpd, k


def _with_tail(body: Floats, tail: Floats, cut: Floats) -> tuple[Floats, Floats]:
    """Smooth tails of the same length: log weights over point, draw; the tail ascending, its largest weight 0.

    In the body, weight times likelihood is the same for each draw: the smallest likelihood. It is taken as 1 here, and
    the caller adds its logarithm.
    """
    smooth, k = _smoothed(tail, cut) if tail.shape[1] >= _MIN_TAIL else (tail, np.full(len(tail), np.inf))
    above = body.shape[1] + np.exp(smooth - tail).sum(axis=1)
    below = np.exp(body).sum(axis=1) + np.exp(smooth).sum(axis=1)
    return np.log(above) - np.log(below), k


def _smoothed(tail: Floats, cut: Floats) -> tuple[Floats, Floats]:
    """Return log weights that follow the fitted distribution, none above the largest raw weight, and the shape."""
    start = np.exp(cut)[:, None]
    k, sigma = _fit(np.exp(tail) - start)
    number = tail.shape[1]
    log_above = np.log1p(-np.arange(0.5, number) / number)
    shape = k[:, None]
    quantiles = np.where(np.abs(shape) < np.finfo(float).eps, -log_above, np.expm1(-shape * log_above) / shape)
    return np.minimum(np.log(quantiles * sigma[:, None] + start), 0.0), k


def _fit(excess: Floats) -> tuple[Floats, Floats]:
    """Fit generalised Pareto distributions to excesses (over point, rank, ascending).

    With theta = -k / sigma in a grid of m values b_j and its profile likelihood as weight, theta's posterior mean gives
    sigma; the shape is shrunk towards 0.5 with the weight of ten draws. NaN if there is no such fit.
    """
    number = excess.shape[1]
    m = 30 + int(number**0.5)
    grid = 1.0 - np.sqrt(m / (np.arange(1, m + 1) - 0.5))
    b = grid / (3.0 * excess[:, [int(number / 4 + 0.5) - 1]]) + 1.0 / excess[:, [-1]]
    shapes = np.log1p(-b[:, :, None] * excess[:, None, :]).mean(axis=2)
    weights = softmax(number * (np.log(-b / shapes) - shapes - 1.0), axis=1)
    weights[weights < _NEGLIGIBLE] = 0.0
    theta = (b * weights).sum(axis=1) / weights.sum(axis=1)
    shape = np.log1p(-theta[:, None] * excess).mean(axis=1)
    sigma = -shape / theta
    return (number * shape + 5.0) / (number + 10.0), np.where(sigma > 0, sigma, np.nan)


def _as_arviz(terms: Floats, relative_efficiency: float) -> tuple[float, float]:
    """Use ArviZ for a point with non-finite terms or a tail that can't be fitted."""
    weights, k = az.psislw(-terms, relative_efficiency)
    return float(logsumexp(weights + terms)), float(k)
