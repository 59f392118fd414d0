"""Sequential Monte Carlo: whether its particles still move at the posterior, and its estimate of the evidence."""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp

from bayesrun.diagnostics import advice
from bayesrun.diagnostics.base import Check, CheckResult, Judged, grade_below, graded


def run(judged: Judged) -> CheckResult:
    """Judge the smallest share, over the chains, of particles that moved in the last stage; the others are copies."""
    stats = judged.idata.get("sample_stats", {})
    if "moved" not in stats:
        return CheckResult()
    least = float(stats["moved"].min())
    message = f"At least {100 * least:.0f} % of each chain's particles moved in the last stage."
    grade = grade_below(least, judged.settings.thresholds.particles)
    remedy = [*advice.more_particle_steps(judged), *advice.more_draws(judged, 2.0), "Or use `sampler=nuts`."]
    evidence = np.asarray(stats["log_marginal_likelihood"], float)
    metrics = {"log_marginal_likelihood": float(logsumexp(evidence) - np.log(evidence.size))}
    return CheckResult((graded("particles", grade, least, message, remedy),), metrics)


CHECK = Check(run, ("smc",))
