"""Checks of the draws of any sampler: missing draws or groups, constant draws, R-hat, ESS, and heavy tails."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np
import pandas as pd

from bayesrun.diagnostics import advice
from bayesrun.diagnostics.base import (
    DRAWN_AFTERWARDS,
    ROUNDING,
    Check,
    CheckResult,
    Finding,
    Judged,
    grade_above,
    grade_below,
    graded,
    listed,
)
from bayesrun.diagnostics.summary import blocks, names_of

_MIN_DRAWS = 4
"""Minimum number of draws per chain for which R-hat and ESS are defined."""


def check_chains(judged: Judged) -> CheckResult:
    """Warn of a single chain and of missing draws, and count the kept draws."""
    chains, draws = judged.idata.posterior.sizes["chain"], judged.idata.posterior.sizes["draw"]
    metrics = {"n_draws": float(chains * draws)}
    if draws < _MIN_DRAWS:
        message = f"{draws} draws per chain are too few to judge anything."
        remedy = "Increase the number of draws: `sampler.draws=1000`."
        finding = Finding("chains", "fail", message, value=float(draws), threshold=float(_MIN_DRAWS), remedy=remedy)
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


def check_groups(judged: Judged) -> CheckResult:
    """Report each absent group with its reason; this does not affect the posterior."""
    found = [Finding("groups", "ok", f"No {name}: {why}.", name) for name, why in judged.missing_groups.items()]
    return CheckResult(tuple(found))


_STUCK = "If the model does not fix them, the sampler is stuck: check {where}."


def check_constant(judged: Judged) -> CheckResult:
    """List the scalars with constant draws, and warn of those that the model is not known to fix."""
    same = [str(n) for n in judged.summary.index[~judged.moving & judged.summary["sd"].notna()]]
    fixed = {*_constant_in_prior(judged), *_unit_diagonals(judged)} & set(same)
    certain = set(_drawn_afterwards(judged)) & set(same) - fixed
    still = [name for name in same if name not in fixed | certain]
    findings = []
    if fixed:
        message = f"Fixed by the model: {listed([name for name in same if name in fixed])}."
        findings.append(Finding("constant", "ok", message))
    if certain:
        message = f"Certain given the data, and drawn afterwards: {listed([name for name in same if name in certain])}."
        findings.append(Finding("constant", "ok", message))
    if still:
        where = "sampler.step and the priors" if judged.sampler.get("step") else "their priors and initial values"
        message = f"Constant in all draws: {listed(still)}. R-hat and ESS do not apply to them."
        findings.append(Finding("constant", "warn", message, still[0], 0.0, remedy=_STUCK.format(where=where)))
    return CheckResult(tuple(findings))


def _drawn_afterwards(judged: Judged) -> Iterator[str]:
    """Yield the names of scalars that no sampler moves: they were summed out, and drawn from their conditionals."""
    for name, array in judged.idata.posterior.data_vars.items():
        if array.attrs.get(DRAWN_AFTERWARDS):
            yield from names_of(array, str(name))


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


def check_r_hat(judged: Judged) -> CheckResult:
    """Check the largest R-hat; constant scalars have none."""
    values = judged.summary.loc[judged.moving, "r_hat"].dropna()
    if judged.idata.posterior.sizes["chain"] < 2 or values.empty:
        return CheckResult()
    limits = judged.settings.thresholds.r_hat
    worst = float(values.max())
    grade = grade_above(worst, limits)
    if grade.severity == "ok":
        message = f"Every R-hat is at or below {limits[0]:g} (largest {worst:.4f})."
        finding = graded("r_hat", grade, worst, message)
    else:
        bad = values[values > limits[0]].sort_values(ascending=False)
        message = f"The chains disagree: R-hat is {worst:.3f} for {values.idxmax()}"
        message += f" and above {limits[0]:g} for {listed(list(bad.index[1:]))}." if len(bad) > 1 else "."
        remedy = [*advice.longer_warm_up(judged), *advice.more_draws(judged, 2.0)]
        if grade.severity == "fail":
            remedy = [*advice.other_forms(judged), *remedy]
        finding = graded("r_hat", grade, worst, message, remedy, str(values.idxmax()))
    return CheckResult((finding,), {"r_hat_max": worst})


def check_ess(judged: Judged) -> CheckResult:
    """Check the smallest bulk and tail effective sample sizes of all chains combined."""
    moving = judged.summary[judged.moving]
    if moving.empty:
        return CheckResult()
    findings = tuple(_judge_ess(judged, moving[f"ess_{part}"].dropna(), part) for part in ("bulk", "tail"))
    metrics = {f"ess_{part}_min": float(moving[f"ess_{part}"].min()) for part in ("bulk", "tail")}
    ratio = float((moving["mcse_mean"] / moving["sd"]).max())
    return CheckResult(findings, {**metrics, "mcse_max_ratio": ratio})


def _judge_ess(judged: Judged, values: pd.Series[float], part: str) -> Finding:
    limits = judged.settings.thresholds.ess
    least = float(values.min())
    grade = grade_below(least, limits)
    if grade.severity == "ok":
        message = f"Every {part} ESS is at or above {limits[0]:g} (smallest {least:,.0f})."
        return graded("ess", grade, least, message)
    low = values[values < limits[0]].sort_values()
    message = f"The {part} ESS of {values.idxmin()} is {least:,.0f}"
    message += f"; also below {limits[0]:g}: {listed(list(low.index[1:]))}." if len(low) > 1 else "."
    remedy = advice.more_draws(judged, limits[0] / max(least, 1.0))
    if grade.severity == "fail":
        remedy = [*advice.other_forms(judged), *remedy]
    return graded("ess", grade, least, message, remedy, str(values.idxmin()))


_FEW_VALUES = 0.05
"""Share of different values among the draws below which a scalar counts as discrete: its rare values are no tail."""
_EXPONENTIAL = 9.0
"""Kurtosis of the exponential distribution, the lightest of the heavy tails."""


def check_heavy_tails(judged: Judged) -> CheckResult:
    """Warn of scalars with heavy tails whose sd is known poorly: a few far draws decide it, or it does not exist.

    R-hat and ESS are computed from ranks, which no tail disturbs. What has few effective draws is left to them.
    """
    moving = judged.summary[judged.moving]
    errors = (moving["mcse_sd"] / moving["sd"]).dropna()
    limit = judged.settings.thresholds.heavy_tails
    far = _heavy_tailed(judged, {str(name) for name in errors.index[errors > limit]})
    if not far:
        return CheckResult()
    names = sorted(far, key=lambda name: -errors[name])
    worst, error = names[0], float(errors[names[0]])
    message = f"The sd of {worst} is known to within {100 * error:.0f}% only: its tails are heavy (one draw is"
    message += f" {far[worst]:.0f} sd from the mean)"
    message += f"; so are those of {listed(names[1:])}." if len(names) > 1 else "."
    remedy = [
        "Report its median and interval, which far draws hardly change.",
        "If such values are implausible, a prior with lighter tails (such as HalfNormal for HalfCauchy) excludes them.",
        *advice.more_draws(judged, min((error / limit) ** 2, 10.0)),
    ]
    return CheckResult((Finding("heavy_tails", "warn", message, worst, error, limit, " ".join(remedy)),))


def _heavy_tailed(judged: Judged, wanted: Collection[str]) -> dict[str, float]:
    """Return those of some scalars whose tails are heavier than exponential, with their most distant draw, in sd."""
    found = {}
    for variable, array in judged.idata.posterior.data_vars.items():
        if not any(name == variable or name.startswith(f"{variable}[") for name in wanted):
            continue
        each = (draws for block in blocks(array) for draws in block)
        for name, draws in zip(names_of(array, str(variable)), each, strict=True):
            if name not in wanted:
                continue
            scores = (draws - draws.mean()) / draws.std()
            if (scores**4).mean() > _EXPONENTIAL and len(np.unique(draws)) > _FEW_VALUES * draws.size:
                found[name] = float(np.abs(scores).max())
    return found


_ALL_SAMPLERS = ("nuts", "smc", "advi", "prior")

CHECKS = {
    "chains": Check(check_chains, _ALL_SAMPLERS),
    "groups": Check(check_groups, _ALL_SAMPLERS),
    "constant": Check(check_constant, _ALL_SAMPLERS),
    "r_hat": Check(check_r_hat),
    "ess": Check(check_ess),
    "heavy_tails": Check(check_heavy_tails),
}
