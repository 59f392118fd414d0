"""How probable a statement about the parameters is: from draws of whether it holds, of a quantity, or at a point."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bayesrun.diagnostics.numerics.convergence import effective_size

Floats = NDArray[np.float64]

_UNDERSMOOTHED = 0.5
"""Share of the usual bandwidth: the bias of a density at its mode stays below its Monte Carlo error."""
_MIN_NEAR = 10
"""Effective draws within a bandwidth of the point below which a density there is not estimated."""


@dataclass(frozen=True)
class Estimate:
    """A number estimated from draws, and its Monte Carlo standard error."""

    value: float
    mcse: float


def effective_draws(draws: Floats) -> float:
    """Return the effective sample size of draws (chain, draw) of one quantity.

    At most the number of draws, so that antithetic chains never make a probability look more certain.
    """
    half = draws.shape[1] // 2
    if half < 2:
        return float(draws.size)
    halves = np.concatenate([draws[:, :half], draws[:, -half:]])
    size = float(effective_size(halves[None].astype(float))[0])
    return min(size, float(draws.size)) if size == size else float(draws.size)


def probability(holds: NDArray[np.bool_], effective: float) -> Estimate:
    """Estimate the posterior probability of a statement.

    The standard error is that of a share of `effective` independent draws, with half a draw added to each side: a
    statement that holds in every draw is not certain.

    Parameters
    ----------
    holds
        Whether it holds, over chain, draw.
    effective
        Effective sample size for it.
    """
    share = float(holds.mean())
    smoothed = (effective * share + 0.5) / (effective + 1.0)
    return Estimate(share, math.sqrt(smoothed * (1.0 - smoothed) / effective))


def evidence_ratio(share: float) -> float:
    """Return the odds of a statement; infinite where it holds in every draw."""
    return share / (1.0 - share) if share < 1.0 else math.inf


def ratio_of_odds(after: Estimate, before: Estimate) -> Estimate:
    """Return the Bayes factor of a statement against its opposite: posterior odds over prior odds.

    Parameters
    ----------
    after, before
        Its probability in the posterior and in the prior; the standard error is that of both, by the delta method.

    Returns
    -------
    Estimate
        NaN where the statement holds in every draw, or in none, of either.
    """
    if not (0.0 < after.value < 1.0 and 0.0 < before.value < 1.0):
        return Estimate(math.nan, math.nan)
    ratio = evidence_ratio(after.value) / evidence_ratio(before.value)
    errors = [one.mcse / (one.value * (1.0 - one.value)) for one in (after, before)]
    return Estimate(ratio, ratio * math.hypot(*errors))


def log_density_at(draws: Floats, point: float) -> Estimate | None:
    """Estimate the logarithm of a quantity's density at a point, by a Gaussian kernel.

    With bandwidth h and n_eff effective draws the standard error follows from the variance of the kernel's values.

    Parameters
    ----------
    draws
        Over chain, draw.
    point
        Where.

    Returns
    -------
    Estimate or None
        None where fewer than 10 effective draws are within a bandwidth of the point: a density there would be a guess.

    References
    ----------
    Silverman (1986), Density Estimation for Statistics and Data Analysis, section 3.4.
    """
    flat = draws.reshape(-1)
    effective = effective_draws(draws)
    low, high = np.quantile(flat, [0.25, 0.75])
    spread = min(float(flat.std(ddof=1)), float(high - low) / 1.349) or float(flat.std(ddof=1))
    width = _UNDERSMOOTHED * 0.9 * spread * effective**-0.2
    if width <= 0.0:
        return None
    near = float((np.abs(flat - point) <= width).mean()) * effective
    if near < _MIN_NEAR:
        return None
    kernel = np.exp(-0.5 * ((flat - point) / width) ** 2) / (width * math.sqrt(2.0 * math.pi))
    density = float(kernel.mean())
    own = effective_draws(kernel.reshape(draws.shape))
    return Estimate(math.log(density), float(kernel.std(ddof=1)) / density / math.sqrt(own))


def savage_dickey(posterior: Floats, prior: Floats, point: float) -> Estimate | None:
    """Estimate the Bayes factor of `quantity = point` against `quantity != point`.

        BF = p(point | data) / p(point)

    Parameters
    ----------
    posterior, prior
        Draws of the quantity over chain, draw.
    point
        The value under test.

    Returns
    -------
    Estimate or None
        Its standard error is the Monte Carlo error of both densities. None where a density can't be estimated.

    References
    ----------
    Dickey (1971), doi:10.1214/aoms/1177693507; Wagenmakers et al. (2010), doi:10.1016/j.cogpsych.2009.12.001.
    """
    after, before = log_density_at(posterior, point), log_density_at(prior, point)
    if after is None or before is None:
        return None
    ratio = math.exp(after.value - before.value)
    return Estimate(ratio, ratio * math.hypot(after.mcse, before.mcse))


def rope_decision(low: float, high: float, rope: tuple[float, float]) -> str:
    """Compare an interval of a quantity with a region of practical equivalence.

    Parameters
    ----------
    low, high
        Ends of the highest-density interval.
    rope
        Ends of the region.

    Returns
    -------
    str
        `equivalent` if the interval is within the region, `different` if it is outside, otherwise `undecided`.

    References
    ----------
    Kruschke (2018), doi:10.1177/2515245918771304.
    """
    if rope[0] <= low and high <= rope[1]:
        return "equivalent"
    return "different" if high < rope[0] or low > rope[1] else "undecided"
