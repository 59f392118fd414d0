"""Whether the chains agree: rank-normalised split R-hat (doi:10.1214/20-BA1221)."""

from __future__ import annotations

from bayesrun.diagnostics._words import some
from bayesrun.diagnostics.base import Check, CheckResult, Finding, Judged, severity_above

_REMEDY = "Run longer (sampler.tune, sampler.draws), or give the model a form that is easier to sample."


def run(judged: Judged) -> CheckResult:
    """Judge the largest R-hat; scalars that never change have none."""
    values = judged.summary.loc[judged.moving, "r_hat"].dropna()
    if judged.idata.posterior.sizes["chain"] < 2 or values.empty:
        return CheckResult()
    limits = judged.settings.thresholds.r_hat
    worst = float(values.max())
    severity = severity_above(worst, limits)
    if severity == "ok":
        message = f"All R-hat are at or below {limits[0]:g} (largest {worst:.4f})."
        finding = Finding("r_hat", "ok", message, value=worst, threshold=limits[0])
    else:
        bad = values[values > limits[0]].sort_values(ascending=False)
        message = f"The chains disagree: R-hat is {worst:.3f} for {values.idxmax()}"
        message += f" and above {limits[0]:g} for {some(list(bad.index[1:]))}." if len(bad) > 1 else "."
        limit = limits[1] if severity == "fail" else limits[0]
        finding = Finding("r_hat", severity, message, str(values.idxmax()), worst, limit, _REMEDY)
    return CheckResult((finding,), {"r_hat_max": worst})


CHECK = Check(run)
