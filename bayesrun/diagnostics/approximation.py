"""How far a variational approximation is from the posterior: Pareto k of its importance weights (arXiv:1802.02538)."""

from __future__ import annotations

import warnings

from bayesrun.diagnostics.base import Check, CheckResult, Finding, Judged, severity_above

_REMEDY = "The approximation misses parts of the posterior: use approximation=full_rank, or sampler=nuts."


def run(judged: Judged) -> CheckResult:
    """Judge the Pareto k of the ratios `p(y, theta) / q(theta)` at the draws: below 0.7 they have finite means."""
    import arviz as az
    import numpy as np

    stats = judged.idata.get("sample_stats", {})
    if "log_q" not in stats or "lp" not in stats:
        return CheckResult()
    ratios = np.asarray(stats["lp"] - stats["log_q"], float).ravel()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        k = float(np.max(az.psislw(ratios)[1]))
    limits = judged.settings.thresholds.approximation
    severity = severity_above(k, limits)
    limit = limits[1] if severity == "fail" else limits[0]
    message = f"Pareto k of the approximation's importance weights is {k:.2f}."
    remedy = "" if severity == "ok" else _REMEDY
    finding = Finding("approximation", severity, message, value=k, threshold=limit, remedy=remedy)
    return CheckResult((finding,), {"approximation_k": k})


CHECK = Check(run, ("advi",))
