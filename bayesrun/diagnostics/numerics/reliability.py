"""Whether predicted probabilities are calibrated: isotonic reliability curves, consistency bands, score decomposition.

The calibrated probability of an event, as a function of the predicted one, is estimated by isotonic regression of the
outcomes (0 or 1) on the predictions, which needs no bins (Dimitriadis, Gneiting and Jordan 2021,
doi:10.1073/pnas.2016191118). Consistency bands show where the curve is if the predictions are calibrated: outcomes are
drawn with the predicted probabilities, and the regression is repeated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

_REPLICATES = 400


@dataclass(frozen=True)
class Reliability:
    """A reliability curve.

    Parameters
    ----------
    predicted
        Predicted probabilities, ascending, each once (value).
    calibrated
        Calibrated probability of each (value).
    rows
        Number of observations of each (value).
    lower, upper
        Pointwise consistency band (value).
    miscalibration, discrimination, uncertainty
        Parts of the mean Brier score, which is `miscalibration - discrimination + uncertainty`.
    """

    predicted: Numbers
    calibrated: Numbers
    rows: NDArray[np.int64]
    lower: Numbers
    upper: Numbers
    miscalibration: float
    discrimination: float
    uncertainty: float


def isotonic(values: Numbers, weights: Numbers) -> Numbers:
    """Return the nondecreasing sequence that is nearest to the values in weighted least squares.

    Pool adjacent violators: `max over a <= i of min over b >= i of the weighted mean of values a..b` at each `i`
    (Ayer et al. 1955, doi:10.1214/aoms/1177728423).

    Parameters
    ----------
    values, weights
        Over point, weights above 0.
    """
    means: list[float] = []
    sums: list[float] = []
    sizes: list[int] = []
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        size = 1
        while means and means[-1] >= value:
            before = sums.pop()
            value = (value * weight + means.pop() * before) / (weight + before)
            weight += before
            size += sizes.pop()
        means.append(value)
        sums.append(weight)
        sizes.append(size)
    return np.repeat(means, sizes)


def reliability(predicted: Numbers, happened: NDArray[np.bool_], probability: float, seed: int = 0) -> Reliability:
    """Estimate calibrated probabilities, and the band that holds them if the predictions are calibrated.

    Parameters
    ----------
    predicted
        Predicted probability of the event, over observation.
    happened
        Whether it happened, over observation.
    probability
        Of each point of the band, if the predictions are calibrated.
    seed
        Of the outcomes that are drawn for the band.
    """
    at, place, rows = np.unique(predicted, return_inverse=True, return_counts=True)
    weights = rows.astype(float)
    calibrated = isotonic(np.bincount(place, happened) / weights, weights)
    drawn = np.random.default_rng(seed).binomial(rows, np.clip(at, 0.0, 1.0), (_REPLICATES, len(at)))
    curves = [isotonic(shares, weights) for shares in drawn / weights]
    lower, upper = np.quantile(curves, [(1 - probability) / 2, (1 + probability) / 2], axis=0)
    share = float(np.mean(happened))
    score, best = (float(np.mean((each[place] - happened) ** 2)) for each in (at, calibrated))
    uncertainty = share * (1 - share)
    return Reliability(at, calibrated, rows, lower, upper, score - best, uncertainty - best, uncertainty)
