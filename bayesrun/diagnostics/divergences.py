"""Divergent transitions of NUTS: regions that the sampler could not enter bias the posterior."""

from __future__ import annotations

from bayesrun.diagnostics.base import Check, CheckResult, Finding, Judged, severity_above

_REMEDY = "Raise sampler.target_accept (0.95), use parameterization: noncentered, or tighten priors."


def run(judged: Judged) -> CheckResult:
    """Count divergences after warm-up and judge their share of all draws."""
    stats = judged.idata.get("sample_stats", {})
    if "diverging" not in stats:
        return CheckResult()
    count, draws = int(stats["diverging"].sum()), int(stats["diverging"].size)
    limits = judged.settings.thresholds.divergences
    severity = severity_above(count / draws, limits)
    limit = limits[1] if severity == "fail" else limits[0]
    message = f"{count:,} of {draws:,} draws diverged." if count else "No draw diverged."
    remedy = "" if severity == "ok" else _REMEDY
    finding = Finding("divergences", severity, message, value=count / draws, threshold=limit, remedy=remedy)
    return CheckResult((finding,), {"divergences": float(count)})


CHECK = Check(run, ("nuts",))
