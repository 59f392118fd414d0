"""Distance of a variational approximation from the posterior: Pareto k of its importance weights (arXiv:1802.02538)."""

from __future__ import annotations

import warnings

import arviz as az
import numpy as np
from numpy.typing import NDArray

from bayesrun.diagnostics import advice
from bayesrun.diagnostics.base import Check, CheckResult, Judged, grade_above, graded

_EXACT = 1e-6
"""Range of log ratios up to which the approximation is the posterior itself, and their tail is rounding error."""


def run(judged: Judged) -> CheckResult:
    """Judge the Pareto k of the ratios `p(y, theta) / q(theta)` at the draws; below 0.7 they have finite means."""
    stats = judged.idata.get("sample_stats", {})
    if "log_q" not in stats or "lp" not in stats:
        return CheckResult()
    k = _pareto_k(np.asarray(stats["lp"] - stats["log_q"], float).ravel())
    message = f"Pareto k of the approximation's importance weights is {k:.2f}."
    grade = grade_above(k, judged.settings.thresholds.approximation)
    remedy = [*advice.better_approximation(judged), "Or sample the posterior itself: `sampler=nuts`."]
    return CheckResult((graded("approximation", grade, k, message, remedy),), {"approximation_k": k})


def _pareto_k(log_ratios: NDArray[np.float64]) -> float:
    """Fit the tail of importance ratios, over draw; 0 where they are all equal."""
    if np.ptp(log_ratios) < _EXACT:
        return 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(np.max(az.psislw(log_ratios)[1]))


CHECK = Check(run, ("advi",))
