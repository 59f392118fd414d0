"""Scalars that never changed: fixed by the model, or a sampler that does not move."""

from __future__ import annotations

from bayesrun.diagnostics._words import some
from bayesrun.diagnostics.base import Check, CheckResult, Finding, Judged


def run(judged: Judged) -> CheckResult:
    """Name the scalars whose draws are all the same."""
    still = [str(name) for name in judged.summary.index[judged.summary["sd"] == 0]]
    if not still:
        return CheckResult()
    message = f"Constant in all draws: {some(still)}. Their R-hat and ESS say nothing."
    remedy = "Fine where the model fixes them; else the sampler is stuck there: check sampler.step and the priors."
    return CheckResult((Finding("constant", "warn", message, still[0], 0.0, remedy=remedy),))


CHECK = Check(run, ("nuts", "smc", "advi", "prior"))
