"""Responses on the scale of a linear predictor, to first order, with the information of each row.

They are the first step of iteratively reweighted least squares from a model without predictors (McCullagh and Nelder
1989, section 2.5): `z = u / I` with the score `u` of a row and its expected information `I`. Before sampling, they show
how well the rows of a group determine its effects.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.lazy import special

Array = NDArray[Any]


def of_mean(y: Array, link: str, counts: bool) -> tuple[Array, Array]:
    """Return working responses and information of a response whose mean is predicted.

    Parameters
    ----------
    y
        Responses, over (row); NaN where missing.
    link
        Link of the mean.
    counts
        Whether the variance is at least the mean.
    """
    mean, variance = float(np.nanmean(y)), float(np.nanvar(y)) or 1.0
    slope = slope_of_link(mean, link)
    if not np.isfinite(slope) or slope == 0:
        return np.zeros(len(y)), np.ones(len(y))
    spread = max(variance, mean if counts else 0.0)
    return (y - mean) * slope, np.full(len(y), 1.0 / (slope**2 * spread))


def of_shares(successes: Array, trials: Array) -> tuple[Array, Array]:
    """Return working responses and information of successes among trials, over (row), for the logit link."""
    share = float(np.clip(np.nansum(successes) / max(1.0, float(np.sum(trials))), 0.02, 0.98))
    return (successes / np.maximum(trials, 1) - share) / (share * (1 - share)), trials * share * (1 - share)


def of_levels(codes: Array, levels: int, distribution: str) -> tuple[Array, Array]:
    """Return working responses and information of ordered levels, at thresholds that give their observed shares.

    Parameters
    ----------
    codes
        Level of each row, over (row); NaN where missing.
    levels
        Number of levels.
    distribution
        Distribution of the response.
    """
    known = np.isfinite(codes)
    whole = codes[known].astype(int)
    shares = (np.bincount(whole, minlength=levels) + 0.5) / (len(whole) + 0.5 * levels)
    score = _scores(shares, distribution)
    information = float(shares @ score**2)
    found = np.full(len(codes), np.nan)
    found[known] = score[whole] / information
    return found, np.full(len(codes), information)


def _scores(shares: Array, distribution: str) -> Array:
    """Return the derivative of each level's log probability by the score `eta`, at 0."""
    number = np.arange(len(shares))
    if distribution == "AdjacentLogistic":  # p_k is proportional to exp(k eta - ...)
        return np.asarray(number - shares @ number)
    above = 1.0 - np.cumsum(shares)[:-1]
    if distribution == "SequentialLogistic":  # logit P(y = k | y >= k) = c_k - eta
        stops = shares[:-1] / (shares[:-1] + above)
        return np.asarray(np.r_[0.0, np.cumsum(stops)] - np.r_[1.0 - stops, 0.0])
    ends = np.cumsum(shares)[:-1]  # P(y <= k) = F(c_k - eta)
    if distribution == "OrderedProbit":
        heights = np.exp(-0.5 * special.ndtri(ends) ** 2) / np.sqrt(2 * np.pi)
    elif distribution == "OrderedCloglog":
        heights = -(1.0 - ends) * np.log1p(-ends)
    else:
        heights = ends * (1.0 - ends)
    return np.asarray(-np.diff(np.r_[0.0, heights, 0.0]) / shares)


def further_by_moments(parameter: str, values: str, mean: float, sd: float) -> float:
    """Return roughly what a scale or shape would be if it were constant; 0 where moments do not say.

    Parameters
    ----------
    parameter
        Name of the parameter.
    values
        Responses that the family explains, as `Family.values`.
    mean, sd
        Of the response.
    """
    found = {
        "sigma": sd,
        "kappa": sd**-2,
        "lam": mean**3 / sd**2,
        "phi": mean * (1.0 - mean) / sd**2 - 1.0 if values in ("unit", "unit_closed") else 0.0,
        "alpha": {
            "positive": (mean / sd) ** 2,
            "nonnegative": (mean / sd) ** 2,
            "count": mean**2 / max(sd**2 - mean, 0.01 * mean),
        }.get(values, 0.0),
    }.get(parameter, 0.0)
    return float(found) if np.isfinite(found) and found > 0 else 0.0


def slope_of_link(mean: float, link: str) -> float:
    """Return the derivative of a link at a mean; NaN outside of its range."""
    inside = float(np.clip(mean, 0.02, 0.98))
    if link == "identity":
        return 1.0
    if link == "logit":
        return 1.0 / (inside * (1.0 - inside))
    if link == "probit":
        return float(np.sqrt(2 * np.pi) * np.exp(0.5 * special.ndtri(inside) ** 2))
    if link == "cloglog":
        return float(-1.0 / ((1.0 - inside) * np.log1p(-inside)))
    if link == "tan_half":
        return float(0.5 / np.cos(0.5 * mean) ** 2)
    if not mean > 0:
        return float("nan")
    slopes = {
        "log": 1.0 / mean,
        "inverse": -1.0 / mean**2,
        "sqrt": 0.5 / np.sqrt(mean),
        "softplus": -1 / np.expm1(-mean),
    }
    return float(slopes.get(link, np.nan))


def target(y: Array, trials: Array | float, link: str) -> Array:
    """Return the response on the scale of the linear predictor, kept away from values where the link is infinite."""
    if link in ("logit", "probit", "cloglog"):
        share = (y + 0.5) / (trials + 1.0)
        return np.asarray(np.log(share / (1.0 - share)))
    if link == "log":
        mean = float(np.nanmean(y))
        return np.asarray(np.log(np.maximum(y, 0.1 * mean)) if mean > 0 else np.zeros_like(y))
    if link in ("identity", "softplus"):
        return y
    with np.errstate(all="ignore"):
        middle = {"inverse": 1.0 / np.nanmean(y), "sqrt": np.sqrt(np.nanmean(y))}.get(link, 0.0)
    return np.full_like(y, middle if np.isfinite(middle) else 0.0)
