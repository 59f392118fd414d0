"""Agreement of the chains: rank-normalised split R-hat (doi:10.1214/20-BA1221)."""

from __future__ import annotations

from bayesrun.diagnostics import advice
from bayesrun.diagnostics.base import Check, CheckResult, Judged, grade_above, graded, listed


def run(judged: Judged) -> CheckResult:
    """Judge the largest R-hat; constant scalars have none."""
    values = judged.summary.loc[judged.moving, "r_hat"].dropna()
    if judged.idata.posterior.sizes["chain"] < 2 or values.empty:
        return CheckResult()
    limits = judged.settings.thresholds.r_hat
    worst = float(values.max())
    grade = grade_above(worst, limits)
    if grade.severity == "ok":
        message = f"Every R-hat is at or below {limits[0]:g} (largest {worst:.4f})."
        finding = graded("r_hat", grade, worst, message)
    else:
        bad = values[values > limits[0]].sort_values(ascending=False)
        message = f"The chains disagree: R-hat is {worst:.3f} for {values.idxmax()}"
        message += f" and above {limits[0]:g} for {listed(list(bad.index[1:]))}." if len(bad) > 1 else "."
        remedy = [*advice.longer_warm_up(judged), *advice.more_draws(judged, 2.0)]
        if grade.severity == "fail":
            remedy = [*advice.other_forms(judged), *remedy]
        finding = graded("r_hat", grade, worst, message, remedy, str(values.idxmax()))
    return CheckResult((finding,), {"r_hat_max": worst})


CHECK = Check(run)
