"""Number of chains and draws: whether there is anything to compare, and whether any of them are missing."""

from __future__ import annotations

from bayesrun.diagnostics.base import Check, CheckResult, Finding, Judged

_FEWEST = 4
"""Draws per chain below which R-hat and ESS do not exist."""


def run(judged: Judged) -> CheckResult:
    """Warn of a single chain and of missing draws, and count the kept draws."""
    chains, draws = judged.idata.posterior.sizes["chain"], judged.idata.posterior.sizes["draw"]
    metrics = {"n_draws": float(chains * draws)}
    if draws < _FEWEST:
        message = f"{draws} draws per chain are too few to judge anything."
        remedy = "Increase the number of draws: `sampler.draws=1000`."
        finding = Finding("chains", "fail", message, value=float(draws), threshold=float(_FEWEST), remedy=remedy)
        return CheckResult((finding,), metrics)
    lost = _lost(judged, draws)
    if chains > 1 or judged.method not in ("nuts", "smc"):
        return CheckResult(lost, metrics)
    message = "There is one chain, so R-hat can't show whether it converged."
    remedy = "Run several chains: `sampler.chains=4`."
    return CheckResult((*lost, Finding("chains", "warn", message, value=1.0, threshold=2.0, remedy=remedy)), metrics)


def _lost(judged: Judged, draws: int) -> tuple[Finding, ...]:
    """Warn of chains that died, and of a run that was killed."""
    asked = judged.sampler.get("draws")
    kept = f"{draws:,} of {asked:,}" if isinstance(asked, int) else f"{draws:,}"
    remedy = "Run it again if more draws are needed; too little memory is the usual reason."
    found = []
    for chain, how in judged.died.items():
        found.append(Finding("chains", "warn", f"The process of chain {chain} {how}.", remedy=remedy))
    if judged.killed:
        message = f"The run was killed while it sampled: {kept} draws per chain are kept."
        found.append(Finding("chains", "warn", message, value=float(draws), remedy=remedy))
    return tuple(found)


CHECK = Check(run, ("nuts", "smc", "advi", "prior"))
