"""Simulation-based calibration: ranks of true values among posterior draws, and whether they are uniform.

If parameters are drawn from the prior and data from the likelihood, the rank of each true value among independent draws
of its posterior is uniform, whatever the model (Talts et al. 2018, doi:10.48550/arXiv.1804.06788). Uniformity is judged
by the empirical distribution function of the ranks: at each of several points its value is binomial, and simultaneous
bands follow from the distribution of the whole path (Säilynoja, Bürkner and Vehtari 2022,
doi:10.1007/s11222-022-10090-6), which is computed exactly here, without simulation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bayesrun.lazy import special

Counts = NDArray[np.int64]
Numbers = NDArray[np.float64]

_MAX_POINTS = 64
_BISECTIONS = 50
_CLEAR = 2.0
"""Standard errors from which on a deviation is put into words."""


@dataclass(frozen=True)
class Uniformity:
    """How uniform ranks are.

    Parameters
    ----------
    p_value
        Probability that uniform ranks deviate as much as these, at the point where they deviate most.
    at
        That point, as a share of the possible ranks.
    below, expected
        Numbers of ranks below it, and their expectation.
    """

    p_value: float
    at: float
    below: int
    expected: float


@dataclass(frozen=True)
class Bands:
    """Simultaneous bands of the empirical distribution function of uniform ranks.

    Parameters
    ----------
    at
        Points, as shares of the possible ranks.
    lower, upper
        Smallest and largest share of ranks below each point.
    """

    at: Numbers
    lower: Numbers
    upper: Numbers


def ranks(truth: Numbers, draws: Numbers, seed: int) -> Counts:
    """Return the rank of each true value among its draws: how many of them are less.

    Parameters
    ----------
    truth
        True values (fit).
    draws
        Nearly independent posterior draws (fit, draw).
    seed
        Decides the ranks of values that are equal to draws, as those of discrete variables are: any is equally likely.

    Returns
    -------
    ndarray
        Ranks (fit), from 0 to the number of draws.
    """
    values = np.asarray(truth)[:, None]
    less, equal = (np.count_nonzero(found, axis=1) for found in (draws < values, draws == values))
    return np.asarray(less + np.random.default_rng(seed).integers(equal + 1))


def uniformity(found: Counts, draws: int) -> Uniformity:
    """Test whether ranks are uniform.

    The statistic is the smallest tail probability of the number of ranks below a point, over all points; its
    distribution is exact.

    Parameters
    ----------
    found
        Ranks (fit).
    draws
        Number of draws among which the ranks are: they are between 0 and `draws`.
    """
    fits, edges = len(found), _edges(len(found), draws + 1)
    below = np.searchsorted(np.sort(found), edges, side="left")
    shares = edges / (draws + 1)
    tails = _tails(below, fits, shares)
    worst = int(np.argmin(tails))
    inside = _Path(fits, shares).probability_inside(tails[worst] * (1 + 1e-9))
    return Uniformity(1.0 - inside, float(shares[worst]), int(below[worst]), float(fits * shares[worst]))


@dataclass(frozen=True)
class Judgement:
    """How far the ranks of one of several quantities are from uniform.

    Parameters
    ----------
    p_value, p_adjusted
        Of the test of uniformity, alone and adjusted for the number of quantities (Holm's method).
    mean
        Mean rank as a share of the possible ranks; 0.5 if they are uniform.
    spread
        Variance of the ranks over that of uniform ones.
    reading
        What the ranks say of the posterior, in words.
    """

    p_value: float
    p_adjusted: float
    mean: float
    spread: float
    reading: str


def judge_ranks(found: Counts, draws: int) -> list[Judgement]:
    """Test the ranks of several quantities.

    Parameters
    ----------
    found
        Ranks (fit, quantity).
    draws
        Number of draws among which the ranks are.
    """
    p_values = np.array([uniformity(column, draws).p_value for column in found.T])
    shares = (found + 0.5) / (draws + 1)
    means, spreads = shares.mean(axis=0), 12.0 * shares.var(axis=0, ddof=1) / (1.0 - (draws + 1.0) ** -2)
    adjusted = holm(p_values)
    return [
        Judgement(float(p), float(q), float(mean), float(spread), _reading(mean, spread, len(found)))
        for p, q, mean, spread in zip(p_values, adjusted, means, spreads, strict=True)
    ]


def holm(p_values: Numbers) -> Numbers:
    """Adjust p-values for their number, so that the probability of any below a level by chance is at most that level.

    Holm 1979, https://www.jstor.org/stable/4615733; valid for dependent tests, as those of one posterior are.
    """
    order, count = np.argsort(p_values), len(p_values)
    raised = np.maximum.accumulate(np.minimum(1.0, p_values[order] * np.arange(count, 0, -1)))
    adjusted = np.empty(count)
    adjusted[order] = raised
    return adjusted


def _reading(mean: float, spread: float, fits: int) -> str:
    """Say how a posterior is wrong whose ranks have this mean and spread; both are compared with their errors."""
    of_mean, of_spread = (mean - 0.5) * np.sqrt(12.0 * fits), (spread - 1.0) * np.sqrt(fits / 0.8)
    if max(abs(of_mean), abs(of_spread)) < _CLEAR:
        return "the posterior is about as high and as wide as it should be"
    if abs(of_mean) >= abs(of_spread):
        return "the posterior is too low" if of_mean > 0 else "the posterior is too high"
    return "the posterior is too narrow" if of_spread > 0 else "the posterior is too wide"


def simultaneous_bands(fits: int, draws: int, probability: float = 0.95) -> Bands:
    """Return bands that hold the whole empirical distribution function of uniform ranks with a given probability.

    They are the narrowest of equal pointwise tail probability with at least this probability.

    Parameters
    ----------
    fits
        Number of ranks.
    draws
        Number of draws among which each rank is.
    probability
        Of uniform ranks to lie within the bands at all points.
    """
    edges = _edges(fits, draws + 1)
    shares, low, high = edges / (draws + 1), 0.0, 0.5
    path = _Path(fits, shares)
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if path.probability_inside(middle) >= probability else (low, middle)
    limits = np.array(path.limits(low)) / fits
    return Bands(shares, limits[:, 0], limits[:, 1])


def _edges(fits: int, possible: int) -> Counts:
    """Return the ranks below which ranks are counted: no more than there are fits."""
    number = max(2, min(possible, fits, _MAX_POINTS))
    return np.asarray(np.unique(np.round(np.linspace(0, possible, number + 1)).astype(np.int64))[1:-1])


def _tails(below: Counts, fits: int, shares: Numbers | float) -> Numbers:
    """Return the smaller tail probability of counts of uniform ranks below points; both include the count itself."""
    return np.asarray(np.minimum(special.bdtr(below, fits, shares), special.bdtrc(below - 1, fits, shares)))


def _poisson(counts: Counts | int, mean: float) -> Numbers:
    return np.asarray(np.exp(special.xlogy(counts, mean) - mean - special.gammaln(np.add(counts, 1))))


class _Path:
    """The counts of uniform ranks below points, as a path from point to point.

    Parameters
    ----------
    fits
        Number of ranks.
    shares
        The points, as shares of the possible ranks.
    """

    def __init__(self, fits: int, shares: Numbers) -> None:
        self._fits, self._shares = fits, shares
        counts = np.arange(fits + 1)
        self._tails = [_tails(counts, fits, share) for share in shares]
        self._steps = [_poisson(counts, fits * step) for step in np.diff(shares, prepend=0.0)]
        self._rest = _poisson(fits - counts, fits * (1.0 - float(shares[-1]))) / _poisson(fits, fits)

    def limits(self, tail: float) -> list[tuple[int, int]]:
        """Return the smallest and the largest count at each point of which both tail probabilities are above `tail`."""
        places = [np.flatnonzero(tails > tail) for tails in self._tails]
        return [(int(found[0]), int(found[-1])) if len(found) else (1, 0) for found in places]

    def probability_inside(self, tail: float) -> float:
        """Return the probability that all counts are within their limits.

        Counts between points are multinomial: independent Poisson counts, given that their sum is the number of ranks.
        """
        start, path = 0, np.ones(1)  # probabilities of the counts from `start` on
        for step, (least, most) in zip(self._steps, self.limits(tail), strict=True):
            least = max(least, start)
            if most < least:
                return 0.0
            path = np.convolve(path, step[: most - start + 1])[least - start : most - start + 1]
            start = least
        return min(1.0, float(path @ self._rest[start : start + len(path)]))
