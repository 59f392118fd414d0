"""Scalars that are constant: fixed by the model, or not moved by the sampler."""

from __future__ import annotations

from collections.abc import Iterator

from bayesrun.diagnostics.base import ROUNDING, Check, CheckResult, Finding, Judged, listed
from bayesrun.diagnostics.scalars import names_of

_REMEDY = "If the model does not fix them, the sampler is stuck: check {where}."


def run(judged: Judged) -> CheckResult:
    """Name the scalars with equal draws, and warn of those that the model does not fix for certain."""
    same = [str(n) for n in judged.summary.index[~judged.moving & judged.summary["sd"].notna()]]
    fixed = {*_constant_in_prior(judged), *_unit_diagonals(judged)} & set(same)
    still = [name for name in same if name not in fixed]
    findings = []
    if fixed:
        message = f"Fixed by the model: {listed([name for name in same if name in fixed])}."
        findings.append(Finding("constant", "ok", message))
    if still:
        where = "sampler.step and the priors" if judged.sampler.get("step") else "their priors and initial values"
        message = f"Constant in all draws: {listed(still)}. R-hat and ESS do not apply to them."
        findings.append(Finding("constant", "warn", message, still[0], 0.0, remedy=_REMEDY.format(where=where)))
    return CheckResult(tuple(findings))


def _constant_in_prior(judged: Judged) -> Iterator[str]:
    """Yield the names of scalars that are constant in the prior, too, such as those computed from data alone."""
    for name, array in judged.idata.get("prior", {}).items():
        draws = array.transpose("chain", "draw", ...).values.reshape(array.sizes["chain"] * array.sizes["draw"], -1)
        if len(draws) > 1:
            fixed = draws.std(axis=0) <= ROUNDING * abs(draws.mean(axis=0))
            yield from (n for n, one in zip(names_of(array, str(name)), fixed, strict=True) if one)


def _unit_diagonals(judged: Judged) -> Iterator[str]:
    """Yield the names of diagonal elements of square matrices that are 1, as in a correlation matrix."""
    for name, array in judged.idata.posterior.data_vars.items():
        size = array.shape[-1]
        if array.ndim == 4 and array.shape[-2] == size:
            diagonal = names_of(array, str(name))[:: size + 1]
            if set(diagonal) <= set(judged.summary.index):
                yield from (n for n in diagonal if abs(judged.summary.at[n, "mean"] - 1) < 1e-12)


CHECK = Check(run, ("nuts", "smc", "advi", "prior"))
