"""Whether there are chains to compare at all."""

from __future__ import annotations

from bayesrun.diagnostics.base import Check, CheckResult, Finding, Judged

_FEWEST = 4
"""Draws a chain below which R-hat and ESS do not exist."""


def run(judged: Judged) -> CheckResult:
    """Warn of a single chain, and count the draws that were kept."""
    chains, draws = judged.idata.posterior.sizes["chain"], judged.idata.posterior.sizes["draw"]
    metrics = {"n_draws": float(chains * draws)}
    if draws < _FEWEST:
        message = f"{draws} draws a chain are too few to say anything."
        finding = Finding("chains", "fail", message, value=float(draws), threshold=float(_FEWEST), remedy="Run longer.")
        return CheckResult((finding,), metrics)
    if chains > 1 or judged.method not in ("nuts", "smc"):
        return CheckResult(metrics=metrics)
    message = "One chain can't show whether it converged: there is no R-hat between chains."
    finding = Finding("chains", "warn", message, value=1.0, threshold=2.0, remedy="Run sampler.chains=4.")
    return CheckResult((finding,), metrics)


CHECK = Check(run, ("nuts", "smc", "advi", "prior"))
