"""Scalars that never changed: fixed by the model, or a sampler that does not move."""

from __future__ import annotations

from collections.abc import Iterator

from bayesrun.diagnostics._labels import names_of
from bayesrun.diagnostics._words import some
from bayesrun.diagnostics.base import Check, CheckResult, Finding, Judged


def run(judged: Judged) -> CheckResult:
    """Name the scalars whose draws are all the same; the ones of a correlation matrix's diagonal are no finding."""
    expected = set(_diagonals(judged))
    same = ~judged.moving & judged.summary["sd"].notna()
    still = [str(name) for name in judged.summary.index[same] if name not in expected]
    if not still:
        return CheckResult()
    message = f"Constant in all draws: {some(still)}. Their R-hat and ESS say nothing."
    remedy = "Fine where the model fixes them; else the sampler is stuck there: check sampler.step and the priors."
    return CheckResult((Finding("constant", "warn", message, still[0], 0.0, remedy=remedy),))


def _diagonals(judged: Judged) -> Iterator[str]:
    """Yield the names of those diagonal elements of square matrices that are one: no sampler moves them."""
    for name, array in judged.idata.posterior.data_vars.items():
        size = array.shape[-1]
        if array.ndim == 4 and array.shape[-2] == size:
            diagonal = names_of(array, str(name))[:: size + 1]
            if set(diagonal) <= set(judged.summary.index):
                yield from (n for n in diagonal if abs(judged.summary.at[n, "mean"] - 1) < 1e-12)


CHECK = Check(run, ("nuts", "smc", "advi", "prior"))
