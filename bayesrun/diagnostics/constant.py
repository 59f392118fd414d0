"""Scalars that never changed: fixed by the model, or a sampler that does not move."""

from __future__ import annotations

from collections.abc import Iterator

from bayesrun.diagnostics._labels import names_of
from bayesrun.diagnostics._words import some
from bayesrun.diagnostics.base import ROUNDING, Check, CheckResult, Finding, Judged

_REMEDY = "Fine where the model fixes them; else the sampler is stuck there: check sampler.step and the priors."


def run(judged: Judged) -> CheckResult:
    """Name the scalars whose draws are all the same, and warn of those that the model does not surely fix."""
    same = [str(n) for n in judged.summary.index[~judged.moving & judged.summary["sd"].notna()]]
    fixed = {*_constant_in_prior(judged), *_diagonals(judged)} & set(same)
    still = [name for name in same if name not in fixed]
    findings = []
    if fixed:
        message = f"Fixed by the model: {some([name for name in same if name in fixed])}."
        findings.append(Finding("constant", "ok", message))
    if still:
        message = f"Constant in all draws: {some(still)}. Their R-hat and ESS say nothing."
        findings.append(Finding("constant", "warn", message, still[0], 0.0, remedy=_REMEDY))
    return CheckResult(tuple(findings))


def _constant_in_prior(judged: Judged) -> Iterator[str]:
    """Yield the names of scalars that have one value in the prior, too, such as what is computed from data alone."""
    for name, array in judged.idata.get("prior", {}).items():
        draws = array.transpose("chain", "draw", ...).values.reshape(array.sizes["chain"] * array.sizes["draw"], -1)
        if len(draws) > 1:
            fixed = draws.std(axis=0) <= ROUNDING * abs(draws.mean(axis=0))
            yield from (n for n, one in zip(names_of(array, str(name)), fixed, strict=True) if one)


def _diagonals(judged: Judged) -> Iterator[str]:
    """Yield the names of those diagonal elements of square matrices that are one, as a correlation matrix's are."""
    for name, array in judged.idata.posterior.data_vars.items():
        size = array.shape[-1]
        if array.ndim == 4 and array.shape[-2] == size:
            diagonal = names_of(array, str(name))[:: size + 1]
            if set(diagonal) <= set(judged.summary.index):
                yield from (n for n in diagonal if abs(judged.summary.at[n, "mean"] - 1) < 1e-12)


CHECK = Check(run, ("nuts", "smc", "advi", "prior"))
