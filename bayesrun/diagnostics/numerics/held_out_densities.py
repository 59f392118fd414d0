"""Predictive densities of observations from fits that have not seen them, with their Monte Carlo errors.

The density is the mean of the likelihood over the draws of such a fit. Of an observation far from its prediction, that
mean rests on few draws. With draws of a fit that has seen it as well, it is a ratio of two normalising constants, for
which there is a much better estimate (Bennett 1976, doi:10.1016/0021-9991(76)90078-4; Meng and Wong 1996, Statistica
Sinica 6, 831-860): with log likelihoods `l` of the observation, the log ratio `r` of constants solves

    sum over draws without it of 1 / (1 + exp(r - l))  =  sum over draws with it of 1 / (1 + exp(l - r))

up to the log ratio of the numbers of draws. Where the two posteriors have little in common, even that rests on few
draws. Fits to the observation with a part of its weight make a path of posteriors from one to the other, whose ratios
multiply (Gelman and Meng 1998, doi:10.1214/ss/1028905934).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from bayesrun.diagnostics.numerics.convergence import statistics

Floats = NDArray[np.float64]

_INTERVAL = 0.94
_BISECTIONS = 60
_MARGIN = 50.0
"""Nats around all log likelihoods within which the log ratio is searched."""
FEW_DRAWS = 50.0
"""Effective number of deciding draws below which two posteriors have too little in common."""


def mean_density(terms: Floats) -> tuple[Floats, Floats]:
    """Return the log of the mean density over all draws, and its Monte Carlo standard error, (point,).

    Parameters
    ----------
    terms
        Log likelihood of each point in draws that have not seen it, (point, chain, draw).
    """
    largest = terms.max(axis=(1, 2), keepdims=True)
    table = statistics(np.exp(terms - largest), _INTERVAL)
    return np.log(table[:, 0]) + largest[:, 0, 0], table[:, 4] / table[:, 0]


def sum_error(terms: Floats) -> float:
    """Return the Monte Carlo standard error of the sum of the log mean densities of points that share their draws.

    To first order the error of the sum is that of the mean, over the draws, of the sum of each point's density relative
    to its mean. A draw that is good for one point is often good for others as well, so the errors of points add up to
    more than independent ones would.

    Parameters
    ----------
    terms
        Log likelihood of each point in draws that have not seen it, (point, chain, draw).
    """
    log_mean, _ = mean_density(terms)
    relative = np.exp(terms - log_mean[:, None, None]).sum(axis=0)
    return float(statistics(np.ascontiguousarray(relative[None]), _INTERVAL)[0, 4])


def deciding_draws(terms: Floats) -> Floats:
    """Return how many draws of equal weight would decide as much of each point's mean density, (point,).

    Where that is below `FEW_DRAWS`, the draws do not reach where the point is, and its density and the error of it are
    themselves estimated from a few draws.

    Parameters
    ----------
    terms
        Log likelihood of each point in draws that have not seen it, (point, chain, draw).
    """
    shares = np.exp(terms - terms.max(axis=(1, 2), keepdims=True))
    found: Floats = shares.sum(axis=(1, 2)) ** 2 / np.square(shares).sum(axis=(1, 2))
    return found


@dataclass(frozen=True)
class PathDensity:
    """The predictive density of a point along a path of fits.

    Parameters
    ----------
    log_density, mcse
        Its log, and the Monte Carlo standard error.
    gaps
        Pairs of neighbouring weights whose posteriors have too little in common: the density can't be trusted yet.
    """

    log_density: float
    mcse: float
    gaps: tuple[tuple[float, float], ...]


def path_density(fits: Mapping[float, Floats]) -> PathDensity:
    """Return the log predictive density of a point.

    Parameters
    ----------
    fits
        Weight of the point in a fit, from 0 to 1, to its log likelihood in the draws of that fit, (chain, draw).
    """
    weights = sorted(fits)
    total, variance, gaps = 0.0, 0.0, []
    for low, high in pairwise(weights):
        log_ratio, mcse, deciding = bridged_ratio(*((high - low) * fits[weight] for weight in (low, high)))
        total, variance = total + log_ratio, variance + mcse**2
        if not deciding >= FEW_DRAWS:
            gaps.append((low, high))
    return PathDensity(total, float(np.sqrt(variance)), tuple(gaps))


def bridged_ratio(without: Floats, included: Floats) -> tuple[float, float, float]:
    """Return the log ratio of normalising constants of two posteriors, which differ by a term of the likelihood.

    Parameters
    ----------
    without, included
        The log of that term in draws of the posterior without it, and of the one with it, each (chain, draw).

    Returns
    -------
    tuple
        The log ratio, its Monte Carlo standard error, and how many draws of equal weight would decide as much, of the
        posterior that has fewer of them.
    """
    low = min(float(without.min()), float(included.min())) - _MARGIN
    high = max(float(without.max()), float(included.max())) + _MARGIN
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        above, below = _log_logistic(without - middle), _log_logistic(middle - included)
        low, high = (middle, high) if _log_sum(above) > _log_sum(below) else (low, middle)
    shares = [np.exp(terms - terms.max()) for terms in (above, below)]
    errors = [statistics(values[None], _INTERVAL)[0] for values in shares]
    deciding = min(float(values.sum() ** 2 / np.square(values).sum()) for values in shares)
    mcse = float(np.hypot(*(one[4] / one[0] for one in errors)))
    return 0.5 * (low + high) + float(np.log(included.size / without.size)), mcse, deciding


def _log_logistic(values: Floats) -> Floats:
    return np.asarray(-np.logaddexp(0.0, -values))


def _log_sum(terms: Floats) -> float:
    largest = float(terms.max())
    return largest + float(np.log(np.exp(terms - largest).sum()))
