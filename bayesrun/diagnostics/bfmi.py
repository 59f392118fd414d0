"""Bayesian fraction of missing information: whether momentum resampling reaches all energies (arXiv:1604.00695)."""

from __future__ import annotations

from bayesrun.diagnostics.base import Check, CheckResult, Finding, Judged, severity_below

_REMEDY = "Heavy tails: give the model another parameterization, or tighter priors."


def run(judged: Judged) -> CheckResult:
    """Judge the smallest BFMI of the chains: mean squared step of the energy over its variance."""
    import arviz as az
    import numpy as np

    stats = judged.idata.get("sample_stats", {})
    if "energy" not in stats or stats["energy"].sizes["draw"] < 2:
        return CheckResult()
    values = np.atleast_1d(az.bfmi(np.asarray(stats["energy"], dtype=float)))
    least, limits = float(values.min()), judged.settings.thresholds.bfmi
    severity = severity_below(least, limits)
    limit = limits[1] if severity == "fail" else limits[0]
    message = f"The smallest BFMI of the chains is {least:.2f} (chain {int(values.argmin())})."
    remedy = "" if severity == "ok" else _REMEDY
    finding = Finding("bfmi", severity, message, value=least, threshold=limit, remedy=remedy)
    return CheckResult((finding,), {"bfmi_min": least})


CHECK = Check(run, ("nuts",))
