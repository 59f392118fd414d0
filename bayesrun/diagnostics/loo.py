"""Expected log predictive density by Pareto-smoothed leave-one-out (doi:10.1007/s11222-016-9696-4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bayesrun.diagnostics._pointwise import observed_terms
from bayesrun.diagnostics._words import some
from bayesrun.diagnostics.base import GOOD_K, Check, CheckResult, Finding, Judged, severity_above

if TYPE_CHECKING:
    import xarray as xr

    from bayesrun.diagnostics._psis import Loo

_REMEDY = (
    "elpd_loo is not to be trusted here: look at these points, use a likelihood with heavier tails, "
    "or refit without them."
)


def run(judged: Judged) -> CheckResult:
    """Compute elpd_loo of observed points and judge the share of points whose Pareto k is above 0.7; warn at worst."""
    found = observed_terms(judged.idata)
    if found is None or not found[0].sizes["point"]:
        return CheckResult()
    terms, left_out = found
    loo = _loo(judged, terms)
    k = loo.judged_k
    bad = [str(p) for p, high in zip(terms["point"].values, k > GOOD_K, strict=True) if high]
    severity = "ok" if severity_above(len(bad) / len(k), judged.settings.thresholds.pareto_k) == "ok" else "warn"
    where = f" ({left_out} imputed points are left out)" if left_out else ""
    message = f"elpd_loo {loo.elpd:.1f} (se {loo.se:.1f}) from {len(k)} observed points{where}; "
    message += f"Pareto k is above {GOOD_K} for {len(bad)}: {some(bad)}." if bad else f"largest Pareto k {k.max():.2f}."
    finding = Finding(
        "loo",
        "warn" if severity == "warn" else "ok",
        message,
        bad[0] if bad else None,
        float(k.max()),
        GOOD_K,
        _REMEDY if severity == "warn" else "",
    )
    metrics = {"elpd_loo": loo.elpd, "elpd_loo_se": loo.se, "p_loo": loo.p_loo, "pareto_k_max": k.max()}
    return CheckResult((finding,), {name: float(value) for name, value in metrics.items()})


def _loo(judged: Judged, terms: xr.DataArray) -> Loo:
    from bayesrun.diagnostics._psis import loo_of

    return loo_of(terms, judged.summary)


CHECK = Check(run)
