"""Predictive densities of observations from fits that have not seen them, with their Monte Carlo errors.

The density is the mean of the likelihood over the draws of such a fit. Of an observation far from its prediction, that
mean rests on few draws. With draws of a fit that has seen it as well, it is a ratio of two normalising constants, for
which there is a much better estimate (Bennett 1976, doi:10.1016/0021-9991(76)90078-4; Meng and Wong 1996, Statistica
Sinica 6, 831-860): with `L` the likelihood, and shares `s` and `1 - s` of the draws,

    r = mean over draws without it of L / (s L + (1 - s) r)  /  mean over draws with it of 1 / (s L + (1 - s) r)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bayesrun.diagnostics.numerics.convergence import statistics

Floats = NDArray[np.float64]

_INTERVAL = 0.94
_ITERATIONS = 1_000
_TOLERANCE = 1e-10


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


def bridged_density(without: Floats, included: Floats) -> tuple[float, float]:
    """Return the log predictive density of a point, and its Monte Carlo standard error.

    Parameters
    ----------
    without, included
        Its log likelihood in draws of a fit without it, and of one with it, each (chain, draw).
    """
    shift = max(float(without.max()), float(included.max()))
    of = [np.exp(terms - shift) for terms in (without, included)]
    share = without.size / (without.size + included.size)
    ratio = float(of[0].mean()) or float(np.finfo(float).tiny)
    for _ in range(_ITERATIONS):
        before = ratio
        above = of[0] / (share * of[0] + (1 - share) * ratio)
        below = 1.0 / (share * of[1] + (1 - share) * ratio)
        ratio = float(above.mean() / below.mean())
        if abs(ratio - before) <= _TOLERANCE * ratio:
            break
    errors = [statistics(values[None], _INTERVAL)[0] for values in (above, below)]
    return float(np.log(ratio)) + shift, float(np.hypot(*(one[4] / one[0] for one in errors)))
