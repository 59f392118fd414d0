"""What the prior simulates, against the range in which data are plausible: `diagnostics.expect`."""

from __future__ import annotations

import numpy as np
import xarray as xr

from bayesrun.diagnostics.base import Check, CheckResult, Finding, Judged, grade_above, graded, shorten
from bayesrun.diagnostics.summary import SAMPLE, names_of

_NAME = "expected_data"
_REMEDY = "Tighten or move the priors that produce such data, and look again: `task=prior`."
_INNER = (0.005, 0.995)


def run(judged: Judged) -> CheckResult:
    """Find the share of simulated values that are outside the expected range, or no numbers, for each variable."""
    simulated = _simulated(judged)
    findings, metrics = list[Finding](), dict[str, float]()
    for name, (low, high) in judged.settings.expect.items():
        if simulated is None or name not in simulated:
            findings.append(_not_made(name, judged))
            continue
        finding, share = _judged(simulated[name], name, (low, high), judged)
        findings.append(finding)
        metrics[f"outside_expected/{name}"] = share
    return CheckResult(tuple(findings), metrics)


def _simulated(judged: Judged) -> xr.Dataset | None:
    """Return data simulated from the prior: draws of the prior simulate one data set each."""
    group = "posterior_predictive" if judged.method == "prior" else "prior_predictive"
    found: xr.Dataset | None = judged.idata.get(group)
    return found


def _judged(array: xr.DataArray, name: str, expected: tuple[float, float], judged: Judged) -> tuple[Finding, float]:
    """Judge the simulated values of one variable, over chain, draw and its dims."""
    low, high = expected
    values = array.transpose(*SAMPLE, ...).values.astype(float)
    numbers = np.isfinite(values)
    outside = ~((values >= low) & (values <= high))
    share, impossible = float(outside.mean()), 1.0 - float(numbers.mean())
    by_point = outside.reshape(-1, *values.shape[2:]).mean(axis=0).ravel()
    worst = names_of(array, name)[int(by_point.argmax())] if values.ndim > 2 else name
    inner = np.quantile(values[numbers], _INNER) if numbers.any() else (np.nan, np.nan)
    message = f"{share:.1%} of the values of {name} that the prior simulates are outside [{low:g}, {high:g}]"
    message += f"; 99% of them are between {inner[0]:.4g} and {inner[1]:.4g}"
    if impossible:
        message += f"; {impossible:.1%} are not finite numbers"
    if share and values.ndim > 2:
        message += f"; most often {shorten(worst)} ({by_point.max():.1%})"
    grade = grade_above(share, judged.settings.thresholds.expected_data)
    return graded(_NAME, grade, share, f"{message}.", [_REMEDY], name), share


def _not_made(name: str, judged: Judged) -> Finding:
    group = "prior_predictive"
    reason = judged.missing_groups.get(group, "the run kept none of it")
    message = f"Nothing that the prior simulates for {name} could be checked: {reason}."
    return Finding(_NAME, "warn", message, name, remedy="Simulate data from the prior: `predictive.prior=500`.")


CHECK = Check(run, ("nuts", "smc", "advi", "prior"))
