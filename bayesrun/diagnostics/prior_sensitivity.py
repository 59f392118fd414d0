"""Effect of prior and likelihood on each parameter: power-scaling sensitivity (doi:10.1007/s11222-023-10366-5).

It needs `sample_stats["log_prior"]` and the pointwise `log_likelihood`, but no refit. The mathematics is in
`numerics.power_scaling`. Unless `diagnostics.prior_sensitivity=true` asks for it, a conflict is reported without a
warning: the draws are right, and priors of hierarchical models are often meant to be informative.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from bayesrun.diagnostics import advice
from bayesrun.diagnostics.base import GOOD_K, MOST_IN_AUTO, Check, CheckResult, Finding, Judged, listed
from bayesrun.diagnostics.numerics import power_scaling as power
from bayesrun.diagnostics.summary import SAMPLE, names_of
from bayesrun.large_draws import draw_parts
from bayesrun.lazy import az

Floats = NDArray[np.float64]

_NAME = "prior_sensitivity"
_TRACKED_SCALARS = 50
_KEEP = "Keep the pointwise terms: `diagnostics.log_likelihood=true`."
_CONFLICT: power.Diagnosis = "prior-data conflict"
_REMEDY = {
    _CONFLICT: "Prior and data disagree. Check where the prior has its mass, and justify or change it.",
    "strong prior / weak likelihood": "The prior dominates: report this, or collect more informative data.",
}


@dataclass(frozen=True)
class Sensitivity:
    """Sensitivities of one scalar to the prior and to the likelihood, and the diagnosis."""

    name: str
    prior: float
    likelihood: float
    diagnosis: power.Diagnosis


def run(judged: Judged) -> CheckResult:
    """Power-scale prior and likelihood, and diagnose every scalar of the posterior."""
    asked = judged.settings.prior_sensitivity
    if not asked:
        return CheckResult()
    prior, likelihood = log_prior(judged.idata), log_likelihood(judged.idata)
    if asked == "auto" and (prior is None or likelihood is None):
        return CheckResult()
    if prior is None or likelihood is None:
        return CheckResult((_not_made("log_prior" if prior is None else "log_likelihood", judged),))
    scalings = power.scale(prior), power.scale(likelihood)
    most = MOST_IN_AUTO if asked == "auto" else sys.maxsize
    rows = list(sensitivities(judged.idata, *scalings, most))
    if asked == "auto":
        return _without_warning(rows, judged, scalings)
    findings = [_finding(row, judged) for row in rows if row.diagnosis] or [_none_found(rows)]
    return CheckResult((*findings, *_unreliable(scalings)), _metrics(rows, scalings))


def log_prior(idata: az.InferenceData) -> Floats | None:
    """Return the log density of all priors, over chain * draw; None if it was not kept."""
    stats = idata.get("sample_stats")
    if stats is None or "log_prior" not in stats:
        return None
    values: Floats = stats["log_prior"].transpose("chain", "draw").values.astype(float).ravel()
    return values if np.isfinite(values).all() else None


def log_likelihood(idata: az.InferenceData) -> Floats | None:
    """Return the log likelihood of all observed points, over chain * draw, without imputed points."""
    group = idata.get("log_likelihood")
    if group is None or not group.data_vars:
        return None
    total: Floats = np.sum([_sum_of(array) for array in group.values()], axis=0, dtype=float)
    return total


def _sum_of(array: xr.DataArray) -> Floats:
    """Return the sum of all terms of a likelihood, over chain * draw."""
    sums = [part.sum(part.dims[2:], skipna=True).values.ravel() for part in draw_parts(array.transpose(*SAMPLE, ...))]
    return np.concatenate(sums)


def sensitivities(
    az_data: az.InferenceData, prior: power.Scaling, likelihood: power.Scaling, most: int
) -> Iterator[Sensitivity]:
    """Yield the sensitivities of every scalar that is not constant, named as in `summary.csv`.

    Variables of more than `most` scalars are left out.
    """
    every = {str(v): array.transpose(*SAMPLE, ...) for v, array in az_data.posterior.data_vars.items()}
    variables = [(name, array) for name, array in every.items() if math.prod(array.shape[2:]) <= most]
    named = ((names_of(a, v), a.values.reshape(a.sizes["chain"] * a.sizes["draw"], -1)) for v, a in variables)
    for name, values in ((n, column) for names, flat in named for n, column in zip(names, flat.T, strict=True)):
        draws = np.asarray(values, dtype=float)
        if np.ptp(draws) > 0:
            by_prior, by_likelihood = power.sensitivities(draws, (prior, likelihood))
            yield Sensitivity(name, by_prior, by_likelihood, power.diagnose(by_prior, by_likelihood))


def _finding(row: Sensitivity, judged: Judged) -> Finding:
    message = f"{row.name}: {row.diagnosis} ({_amounts(row)})."
    conflict = row.diagnosis == _CONFLICT
    remedy = " ".join([_REMEDY[row.diagnosis], *(advice.sweep_of_prior(judged.model, row.name) if conflict else [])])
    return Finding(_NAME, "warn", message, row.name, row.prior, power.THRESHOLD, remedy)


def _without_warning(rows: list[Sensitivity], judged: Judged, scalings: tuple[power.Scaling, ...]) -> CheckResult:
    """Report the worst conflict that a sweep can answer, or that there is none; nothing where that is unreliable."""
    if not rows or any(not scaling.pareto_k <= GOOD_K for scaling in scalings):
        return CheckResult()
    metrics = {"sensitivity_prior_max": max(row.prior for row in rows)}
    conflicts = sorted((row for row in rows if row.diagnosis == _CONFLICT), key=lambda row: -row.prior)
    if not conflicts:
        return CheckResult((_none_found(rows),), metrics)
    sweeps = {row.name: advice.sweep_of_prior(judged.model, row.name) for row in conflicts}
    worst = next((row for row in conflicts if sweeps[row.name]), conflicts[0])
    more = f"; {len(conflicts) - 1} more scalars" if len(conflicts) > 1 else ""
    message = f"{worst.name}: {worst.diagnosis} ({_amounts(worst)}){more}."
    remedy = " ".join([_REMEDY[_CONFLICT], *sweeps[worst.name]])
    return CheckResult((Finding(_NAME, "ok", message, worst.name, worst.prior, power.THRESHOLD, remedy),), metrics)


def _amounts(row: Sensitivity) -> str:
    amounts = f"sensitivity to the prior {row.prior:.3f}, to the likelihood {row.likelihood:.3f}"
    return f"{amounts}; threshold {power.THRESHOLD:g}"


def _none_found(rows: list[Sensitivity]) -> Finding:
    worst = max(rows, key=lambda row: row.prior, default=None)
    if worst is None:
        return Finding(_NAME, "ok", "Every scalar is constant, so none is sensitive.")
    message = f"No parameter is sensitive to its prior (largest {worst.prior:.3f}, {worst.name})."
    if worst.prior > power.THRESHOLD:
        message = f"Prior and data do not disagree (sensitivity to the prior at most {worst.prior:.3f}, {worst.name})."
    return Finding(_NAME, "ok", message, value=worst.prior, threshold=power.THRESHOLD)


def _not_made(group: str, judged: Judged) -> Finding:
    reason = judged.missing_groups.get(group, "it was not kept, or is not finite")
    message = f"Prior sensitivity can't be computed: there is no {group} ({reason})."
    return Finding(_NAME, "ok", message, remedy=_KEEP if group == "log_likelihood" else "")


def _unreliable(scalings: tuple[power.Scaling, power.Scaling]) -> list[Finding]:
    named = zip(("prior", "likelihood"), scalings, strict=True)
    bad = [name for name, scaling in named if not scaling.pareto_k <= GOOD_K]
    if not bad:
        return []
    worst = max(s.pareto_k for s in scalings)
    message = f"Sensitivity to the {listed(bad)} is unreliable: Pareto k is {worst:.2f}."
    remedy = "Refit with other priors instead, in a sweep."
    return [Finding(_NAME, "warn", message, value=worst, threshold=GOOD_K, remedy=remedy)]


def _metrics(rows: list[Sensitivity], scalings: tuple[power.Scaling, power.Scaling]) -> dict[str, float]:
    metrics = {f"sensitivity_prior/{row.name}": row.prior for row in rows[:_TRACKED_SCALARS]}
    metrics |= {f"sensitivity_likelihood/{row.name}": row.likelihood for row in rows[:_TRACKED_SCALARS]}
    if rows:
        metrics["sensitivity_prior_max"] = max(row.prior for row in rows)
    return metrics | {"sensitivity_pareto_k_max": max(s.pareto_k for s in scalings)}


CHECK = Check(run)
