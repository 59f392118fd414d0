"""Expected log predictive density by Pareto-smoothed leave-one-out cross-validation (doi:10.1007/s11222-016-9696-4)."""

from __future__ import annotations

from bayesrun.diagnostics import advice
from bayesrun.diagnostics.base import GOOD_K, Check, CheckResult, Grade, Judged, grade_above, graded, listed
from bayesrun.diagnostics.pointwise import loo_of, observed_terms


def run(judged: Judged) -> CheckResult:
    """Compute elpd_loo of observed points; warn, at worst, of the share of points whose Pareto k is above 0.7."""
    found = observed_terms(judged.idata)
    if found is None or not found[0].sizes["point"]:
        return CheckResult()
    terms, left_out = found
    loo = loo_of(terms, judged.summary)
    k = loo.judged_k
    bad = [str(p) for p, high in zip(terms["point"].values, k > GOOD_K, strict=True) if high]
    share = grade_above(len(bad) / len(k), judged.settings.thresholds.pareto_k)
    grade = Grade("ok" if share.severity == "ok" else "warn", GOOD_K)
    where = f" ({left_out} imputed points are left out)" if left_out else ""
    message = f"elpd_loo {loo.elpd:.1f} (se {loo.se:.1f}) from {len(k)} observed points{where}; "
    message += (
        f"Pareto k is above {GOOD_K} for {len(bad)}: {listed(bad)}." if bad else f"largest Pareto k {k.max():.2f}."
    )
    remedy = ["elpd_loo is unreliable because of these points: check them.", *advice.heavier_tails(judged)]
    finding = graded("loo", grade, float(k.max()), message, remedy, bad[0] if bad else None)
    metrics = {"elpd_loo": loo.elpd, "elpd_loo_se": loo.se, "p_loo": loo.p_loo, "pareto_k_max": k.max()}
    return CheckResult((finding,), {name: float(value) for name, value in metrics.items()})


CHECK = Check(run)
