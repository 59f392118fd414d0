"""Whether the basis of an approximate Gaussian process, `hsgp(x)`, is large enough for its lengthscale.

Riutort-Mayol et al. 2023 (doi:10.1007/s11222-022-10167-2, section 4) give the number of functions `m` and the boundary
factor `c` from which the approximation is good, for a lengthscale in units of half the range of the input. The
posterior's median is put into these rules: an approximation that is too small for it can't show shorter lengthscales
(`m`), or is bent to 0 at the ends of the range (`c`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bayesrun.data.factors import formula_column
from bayesrun.diagnostics.base import Check, CheckResult, Finding, Judged
from bayesrun.errors import UserError
from bayesrun.language.gaussian_processes import boundary_for, functions_for
from bayesrun.models.regression.gaussian_process_term import GaussianProcess
from bayesrun.models.regression.regression_spec import RegressionSpec
from bayesrun.models.regression.several_responses import plans_of

_NAME = "basis_size"
_MARGIN = 1.3
"""How much shorter than the median the lengthscale may be for which a remedy's `m` is large enough."""


@dataclass(frozen=True)
class _Needs:
    """What one input of a process needs.

    Parameters
    ----------
    lengthscale
        Median of the posterior, in units of half the input's range; the most demanding one of several levels.
    functions, boundary
        The least `m` with the `c` at hand, and the least `c`.
    better
        `m` and `c` that are enough, with a margin.
    """

    lengthscale: float
    functions: int
    boundary: float
    better: tuple[int, float]


def run(judged: Judged) -> CheckResult:
    """Check every process of a regression's formulas."""
    if judged.model.get("type") not in ("glm", "regression") or "constant_data" not in judged.idata.groups():
        return CheckResult()
    spec = RegressionSpec.model_validate({"name": "model", **judged.model})
    try:
        predictors = [one for this in plans_of(spec).values() for one in this.predictors.values()]
    except UserError:  # a configuration of another version
        return CheckResult()
    findings = [
        finding
        for predictor in predictors
        for term in predictor.terms
        if isinstance(term, GaussianProcess)
        for variable in _variables(judged, f"lscale_{predictor.prefix}{term.call.name}")
        for finding in _findings(judged, term, variable)
    ]
    return CheckResult(tuple(findings))


def _variables(judged: Judged, name: str) -> Iterator[str]:
    """Yield the lengthscales of a process: of one, or of one for each level of the response."""
    of = name.removeprefix("lscale_")
    for variable in map(str, judged.idata.posterior.data_vars):
        if variable == name or (variable.startswith("lscale_") and variable.endswith(f"_{of}")):
            yield variable


def _findings(judged: Judged, term: GaussianProcess, variable: str) -> Iterator[Finding]:
    needs = [_needs(judged, term, variable, number) for number in range(len(term.call.inputs))]
    sizes, boundaries = term.sizes(), term.boundaries()
    too_few = [n for n, need in enumerate(needs) if sizes[n] < need.functions]
    too_near = [n for n, need in enumerate(needs) if boundaries[n] < need.boundary - 0.005]
    write = f"Write {_rewritten(term, needs)} into the formula."
    inputs = term.call.inputs
    for n in too_few:
        message = f"{term.call.short}: {sizes[n]} basis functions along {inputs[n]} are too few for its lengthscale,"
        message += f" {needs[n].lengthscale:.2g} of half the range ({needs[n].functions} are needed)."
        yield Finding(_NAME, "warn", message, variable, float(sizes[n]), float(needs[n].functions), write)
    for n in too_near:
        message = f"{term.call.short}: the boundary along {inputs[n]} (c = {boundaries[n]:.3g}) is too near for its"
        message += (
            f" lengthscale, {needs[n].lengthscale:.2g} of half the range (c = {needs[n].boundary:.2g} is needed)."
        )
        yield Finding(_NAME, "warn", message, variable, boundaries[n], needs[n].boundary, write)
    if not too_few and not too_near:
        message = f"The basis of {term.call.short} is large enough for its lengthscale."
        yield Finding(_NAME, "ok", message, variable, needs[0].lengthscale)


def _needs(judged: Judged, term: GaussianProcess, variable: str, number: int) -> _Needs:
    draws = judged.idata.posterior[variable].transpose("chain", "draw", ...)
    values = np.asarray(draws.values, dtype=float).reshape(draws.sizes["chain"] * draws.sizes["draw"], -1)
    inputs, separate = len(term.call.inputs), len(term.call.inputs) > 1 and not term.isotropic
    if separate:
        values = values.reshape(len(values), -1, inputs)[:, :, number]
    half = 1.0
    if not term.call.arguments.get("scale", False):
        column = formula_column(judged.idata.constant_data, term.call.inputs[number], False)
        half = float(np.ptp(np.asarray(column, dtype=float))) / 2.0
    medians = np.median(values, axis=0) / half
    low, high = float(medians.min()), float(medians.max())
    boundary = boundary_for(term.covariance, high)
    wide = np.ceil(10.0 * max(boundary, 1.0)) / 10.0
    better = (functions_for(term.covariance, low / _MARGIN, wide), float(wide))
    functions = functions_for(term.covariance, low, term.boundaries()[number])
    worst = low if term.sizes()[number] < functions else high
    return _Needs(worst, functions, boundary, better)


def _rewritten(term: GaussianProcess, needs: list[_Needs]) -> str:
    """Return the call with a basis that is large enough."""
    call = term.call
    parts = [*call.inputs, f"m = {_vector([need.better[0] for need in needs])}"]
    parts.append(f"c = {_vector([need.better[1] for need in needs])}")
    parts += [f'cov = "{term.covariance}"'] if term.covariance != "exp_quad" else []
    parts += [f"{name} = TRUE" for name in ("scale", "iso") if call.arguments.get(name)]
    if call.by is not None:
        parts.append(f"by = C({call.by})" if call.labelled else f"by = {call.by}")
    return f"hsgp({', '.join(parts)})"


def _vector(numbers: Sequence[float]) -> str:
    texts = [f"{number:g}" for number in numbers]
    return texts[0] if len(texts) == 1 else f"c({', '.join(texts)})"


CHECK = Check(run)
