"""Convergence of variational inference: the evidence lower bound (ELBO) has stopped changing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bayesrun.diagnostics import advice
from bayesrun.diagnostics.base import Check, CheckResult, Judged, grade_above, graded


def run(judged: Judged) -> CheckResult:
    """Compare the mean ELBO of the last quarter of the fit with that of the quarter before, in nats."""
    stats = judged.idata.get("sample_stats", {})
    if "elbo" not in stats:
        return CheckResult()
    change, level = drift(np.asarray(stats["elbo"], float))
    message = f"The ELBO changed by {change:.2g} nats between the last two quarters of the fit (mean {level:.1f})."
    grade = grade_above(change, judged.settings.thresholds.elbo)
    return CheckResult((graded("elbo", grade, change, message, advice.longer_fit(judged)),), {"elbo": level})


def drift(elbo: NDArray[np.float64]) -> tuple[float, float]:
    """Return the change of the ELBO between the last two quarters of a fit beyond its noise, and its last level.

    Parameters
    ----------
    elbo
        Noisy values, over iteration.

    Returns
    -------
    change : float
        Absolute difference of both means less two of its standard errors, at least 0; NaN for fewer than 8 values.
    level : float
        Mean of the last quarter.
    """
    if len(elbo) < 8:
        return float("nan"), float("nan")
    before, last = np.split(elbo[-2 * (len(elbo) // 4) :], 2)
    error = np.sqrt((before.var() + last.var()) / len(last))
    change = np.maximum(0.0, abs(last.mean() - before.mean()) - 2 * error)  # Python's max would lose a NaN
    return float(change), float(last.mean())


CHECK = Check(run, ("advi",))
