"""Whether the particles of sequential Monte Carlo still move at the posterior, and the evidence that they found."""

from __future__ import annotations

from bayesrun.diagnostics.base import Check, CheckResult, Finding, Judged, severity_below

_REMEDY = "Raise sampler.n_steps and sampler.draws, or use sampler=nuts."


def run(judged: Judged) -> CheckResult:
    """Judge the smallest share, of all chains, of particles that moved in the last stage: the others have twins."""
    import numpy as np
    from scipy.special import logsumexp

    stats = judged.idata.get("sample_stats", {})
    if "moved" not in stats:
        return CheckResult()
    least, limits = float(stats["moved"].min()), judged.settings.thresholds.particles
    severity = severity_below(least, limits)
    limit = limits[1] if severity == "fail" else limits[0]
    message = f"At least {100 * least:.0f} % of each chain's particles moved in the last stage."
    remedy = "" if severity == "ok" else _REMEDY
    finding = Finding("particles", severity, message, value=least, threshold=limit, remedy=remedy)
    evidence = np.asarray(stats["log_marginal_likelihood"], float)
    return CheckResult((finding,), {"log_marginal_likelihood": float(logsumexp(evidence) - np.log(evidence.size))})


CHECK = Check(run, ("smc",))
