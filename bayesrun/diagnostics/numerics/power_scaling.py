"""Change of a posterior when its prior or its likelihood is raised to a power (doi:10.1007/s11222-023-10366-5).

With a component p of the joint density raised to the power a, draws of the base posterior get the weights

    w proportional to p^(a - 1),

smoothed by PSIS (doi:10.48550/arXiv.1507.02646). The shift of a parameter's marginal is measured by the cumulative
Jensen-Shannon distance between its distribution functions P (base) and Q (weighted),

    CJS² = ∫ [P log2(2P / (P + Q)) + Q log2(2Q / (P + Q))] dx / ∫ (P + Q) dx,

computed for x and for -x; the larger is used, so that the sign of a parameter does not matter. The sensitivity
is its slope over log2(a) at a = 1, estimated from a = 0.99 and 1.01.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy

from bayesrun.lazy import az

Floats = NDArray[np.float64]

ALPHAS = (0.99, 1.01)
THRESHOLD = 0.05

Diagnosis = Literal["", "prior-data conflict", "strong prior / weak likelihood"]


@dataclass(frozen=True)
class Scaling:
    """Weights of the posterior draws, one row per value of `ALPHAS`, and the larger Pareto k of their smoothing."""

    weights: Floats
    pareto_k: float


def scale(log_density: Floats) -> Scaling:
    """Weigh the draws as if one component of the joint density were raised to each of `ALPHAS`.

    Parameters
    ----------
    log_density
        Log density of that component (prior or likelihood), over chain * draw.

    Returns
    -------
    Scaling
        Weights that sum to 1 in each row.
    """
    centred = log_density - log_density.mean()
    rows, k = zip(*(az.psislw((alpha - 1.0) * centred) for alpha in ALPHAS), strict=True)
    weights = np.exp(np.stack([np.asarray(row) for row in rows]))
    return Scaling(weights / weights.sum(axis=1, keepdims=True), float(np.max(k)))


def sensitivities(values: Floats, scalings: Sequence[Scaling]) -> list[float]:
    """Return the slope of the cumulative Jensen-Shannon distance over log2(a), from both sides of 1.

    Parameters
    ----------
    values
        Draws of one scalar, over chain * draw.
    scalings
        Their weights, of each component.

    Returns
    -------
    list of float
        One for each component; the draws are sorted once for all.
    """
    order = np.argsort(values, kind="stable")
    sizes = [sum(_distance(values, order, weights) for weights in scaling.weights) for scaling in scalings]
    return [float(size / sum(abs(np.log2(alpha)) for alpha in ALPHAS)) for size in sizes]


def distance(values: Floats, weights: Floats) -> float:
    """Return the cumulative Jensen-Shannon distance between draws of equal weight and the same draws weighted.

    Parameters
    ----------
    values
        Draws of one scalar.
    weights
        Their weights, which sum to 1.

    Returns
    -------
    float
        Between 0 (equal) and 1; 0 for a constant scalar.
    """
    return _distance(values, np.argsort(values, kind="stable"), weights)


def _distance(values: Floats, order: NDArray[np.intp], weights: Floats) -> float:
    widths = np.diff(values[order])
    base = np.arange(1, len(values)) / len(values)
    moved = np.clip(np.cumsum(weights[order])[:-1], 0.0, 1.0)
    widest = max(_divergence(base, moved, widths), _divergence(1.0 - base, 1.0 - moved, widths))
    return float(widest**0.5)


def _divergence(p: Floats, q: Floats, widths: Floats) -> float:
    bound = float(np.sum((p + q) * widths))
    if bound <= 0:
        return 0.0
    middle = (p + q) / 2
    safe = np.where(middle > 0, middle, 1.0)
    terms = (xlogy(p, p / safe) + xlogy(q, q / safe)) / np.log(2.0)
    return max(0.0, float(np.sum(terms * widths)) / bound)


def diagnose(prior: float, likelihood: float) -> Diagnosis:
    """Return the diagnosis from the sensitivities to prior and likelihood; empty for none."""
    if prior < THRESHOLD:
        return ""
    return "prior-data conflict" if likelihood >= THRESHOLD else "strong prior / weak likelihood"
