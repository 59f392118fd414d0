"""Widely applicable information criterion (Watanabe 2010, JMLR 11), of observed points only."""

from __future__ import annotations

import warnings

from bayesrun.diagnostics._pointwise import observed_terms
from bayesrun.diagnostics.base import Check, CheckResult, Judged


def run(judged: Judged) -> CheckResult:
    """Compute elpd_waic, for those who compare with other tools; it is judged through LOO, never by itself."""
    import arviz as az

    found = observed_terms(judged.idata)
    if found is None or not found[0].sizes["point"]:
        return CheckResult()
    idata = az.InferenceData(log_likelihood=found[0].to_dataset(name="points"), posterior=judged.idata.posterior)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return CheckResult(metrics={"elpd_waic": float(az.waic(idata).waic)})


CHECK = Check(run)
