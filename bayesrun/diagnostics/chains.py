"""Number of chains and draws: whether there is anything to compare."""

from __future__ import annotations

from bayesrun.diagnostics.base import Check, CheckResult, Finding, Judged

_FEWEST = 4
"""Draws per chain below which R-hat and ESS do not exist."""


def run(judged: Judged) -> CheckResult:
    """Warn of a single chain, and count the kept draws."""
    chains, draws = judged.idata.posterior.sizes["chain"], judged.idata.posterior.sizes["draw"]
    metrics = {"n_draws": float(chains * draws)}
    if draws < _FEWEST:
        message = f"{draws} draws per chain are too few to judge anything."
        remedy = "Increase the number of draws: `sampler.draws=1000`."
        finding = Finding("chains", "fail", message, value=float(draws), threshold=float(_FEWEST), remedy=remedy)
        return CheckResult((finding,), metrics)
    if chains > 1 or judged.method not in ("nuts", "smc"):
        return CheckResult(metrics=metrics)
    message = "There is one chain, so R-hat can't show whether it converged."
    remedy = "Run several chains: `sampler.chains=4`."
    return CheckResult((Finding("chains", "warn", message, value=1.0, threshold=2.0, remedy=remedy),), metrics)


CHECK = Check(run, ("nuts", "smc", "advi", "prior"))
