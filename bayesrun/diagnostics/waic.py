"""Widely applicable information criterion (Watanabe 2010, JMLR 11), of observed points only.

elpd_waic = sum_i (log(mean_s p(y_i | s)) - var_s(log p(y_i | s))) over points i and draws s.
"""

from __future__ import annotations

from bayesrun.diagnostics._pointwise import by_point, log_mean_exp, observed_terms
from bayesrun.diagnostics.base import Check, CheckResult, Judged


def run(judged: Judged) -> CheckResult:
    """Compute elpd_waic, for those who compare with other tools; it is judged through LOO, never by itself."""
    found = observed_terms(judged.idata)
    if found is None or not found[0].sizes["point"]:
        return CheckResult()
    elpd = sum(float((log_mean_exp(terms) - terms.var(axis=1)).sum()) for terms in by_point(found[0]))
    return CheckResult(metrics={"elpd_waic": elpd})


CHECK = Check(run)
