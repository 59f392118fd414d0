"""Widely applicable information criterion (Watanabe 2010, JMLR 11), of observed points only.

elpd_waic = sum_i (log(mean_s p(y_i | s)) - var_s(log p(y_i | s))) over points i and draws s.
"""

from __future__ import annotations

from bayesrun.diagnostics.base import Check, CheckResult, Judged
from bayesrun.diagnostics.numerics.psis import log_mean_exp
from bayesrun.diagnostics.pointwise import by_point, observed_terms


def run(judged: Judged) -> CheckResult:
    """Compute elpd_waic for comparison with other tools; the check `loo` judges, WAIC itself is never judged."""
    found = observed_terms(judged.idata)
    if found is None or not found[0].sizes["point"]:
        return CheckResult()
    elpd = sum(float((log_mean_exp(terms) - terms.var(axis=1)).sum()) for terms in by_point(found[0]))
    return CheckResult(metrics={"elpd_waic": elpd})


CHECK = Check(run)
