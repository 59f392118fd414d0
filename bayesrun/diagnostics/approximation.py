"""How far a variational approximation is from the posterior: Pareto k of its importance weights (arXiv:1802.02538)."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from bayesrun.diagnostics.base import Check, CheckResult, Finding, Judged, severity_above

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_EXACT = 1e-6
"""Range of log ratios below which the approximation is the posterior itself, and the tail is rounding error."""
_REMEDY = "The approximation misses parts of the posterior: use approximation=full_rank, or sampler=nuts."


def run(judged: Judged) -> CheckResult:
    """Judge the Pareto k of the ratios `p(y, theta) / q(theta)` at the draws: below 0.7 they have finite means."""
    import numpy as np

    stats = judged.idata.get("sample_stats", {})
    if "log_q" not in stats or "lp" not in stats:
        return CheckResult()
    ratios = np.asarray(stats["lp"] - stats["log_q"], float).ravel()
    k = _pareto_k(ratios)
    limits = judged.settings.thresholds.approximation
    severity = severity_above(k, limits)
    limit = limits[1] if severity == "fail" else limits[0]
    message = f"Pareto k of the approximation's importance weights is {k:.2f}."
    remedy = "" if severity == "ok" else _REMEDY
    finding = Finding("approximation", severity, message, value=k, threshold=limit, remedy=remedy)
    return CheckResult((finding,), {"approximation_k": k})


def _pareto_k(ratios: NDArray[np.float64]) -> float:
    """Fit the tail of importance ratios (draw), given as logs; 0 where they are all the same."""
    import arviz as az
    import numpy as np

    if np.ptp(ratios) < _EXACT:
        return 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(np.max(az.psislw(ratios)[1]))


CHECK = Check(run, ("advi",))
