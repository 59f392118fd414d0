"""Checks of one sampler's draws.

NUTS: divergent transitions, trees that reached the maximum depth, and poor exploration of the energy. Variational
inference: whether the ELBO still changes, and how far the approximation is from the posterior. Sequential Monte Carlo:
whether the particles still move.
"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from bayesrun.diagnostics import advice
from bayesrun.diagnostics.base import Check, CheckResult, Judged, grade_above, grade_below, graded
from bayesrun.diagnostics.numerics.convergence import bfmi
from bayesrun.lazy import az


def check_divergences(judged: Judged) -> CheckResult:
    """Count the divergences after tuning and check their share of all draws."""
    stats = judged.idata.get("sample_stats", {})
    if "diverging" not in stats:
        return CheckResult()
    count, draws = int(stats["diverging"].sum()), int(stats["diverging"].size)
    grade = grade_above(count / draws, judged.settings.thresholds.divergences)
    message = f"{count:,} of {draws:,} draws diverged." if count else "No draw diverged."
    message += _smaller_steps(judged)
    remedy = [*advice.other_forms(judged), *advice.smaller_steps(judged), advice.TIGHTER_PRIORS]
    finding = graded("divergences", grade, count / draws, message, remedy)
    metrics = {"divergences": float(count)}
    if judged.changes:
        changes = [one for own in judged.changes.values() for one in own]
        metrics["n_rewarmed"] = float(sum(draws for draws, _ in changes))
        metrics["divergences_rewarmed"] = float(sum(diverged for _, diverged in changes))
    return CheckResult((finding,), metrics)


def _smaller_steps(judged: Judged) -> str:
    """Describe which chains took smaller steps after divergences that are no longer counted."""
    if not judged.changes:
        return ""
    chains = ", ".join(str(chain) for chain in sorted(judged.changes))
    changes = [one for own in judged.changes.values() for one in own]
    diverged, draws = sum(n for _, n in changes), sum(n for n, _ in changes)
    whose = f"Chain {chains}" if len(judged.changes) == 1 else f"Chains {chains}"
    warm_up = f"; {draws:,} draws before are warm-up" if draws else ""
    return f" {whose} took smaller steps after {diverged} divergence{'s' if diverged != 1 else ''}{warm_up}."


def check_tree_depth(judged: Judged) -> CheckResult:
    """Check the share of draws whose tree reached the maximum depth."""
    stats = judged.idata.get("sample_stats", {})
    metrics = {"accept_mean": float(stats["acceptance_rate"].mean())} if "acceptance_rate" in stats else {}
    if "tree_depth" not in stats:
        return CheckResult(metrics=metrics)
    share = float((stats["tree_depth"] >= judged.max_treedepth).mean())
    message = f"{100 * share:.1f}% of the draws reached the tree depth limit of {judged.max_treedepth}."
    grade = grade_above(share, judged.settings.thresholds.tree_depth)
    finding = graded("tree_depth", grade, share, message, [*advice.other_forms(judged), *advice.deeper_trees(judged)])
    return CheckResult((finding,), {**metrics, "tree_depth_saturated": share})


def check_bfmi(judged: Judged) -> CheckResult:
    """Check the smallest BFMI of all chains."""
    stats = judged.idata.get("sample_stats", {})
    if "energy" not in stats or stats["energy"].sizes["draw"] < 2:
        return CheckResult()
    values = bfmi(np.asarray(stats["energy"].transpose("chain", "draw"), dtype=float))
    least = float(values.min())
    message = f"The smallest BFMI of the chains is {least:.2f} (chain {int(values.argmin())})"
    grade = grade_below(least, judged.settings.thresholds.bfmi)
    message += "." if grade.severity == "ok" else ": the tails are explored slowly."
    return CheckResult(
        (graded("bfmi", grade, least, message, [*advice.other_forms(judged), advice.TIGHTER_PRIORS]),),
        {"bfmi_min": least},
    )


def check_elbo(judged: Judged) -> CheckResult:
    """Compare the mean ELBO of the last quarter of the fit with that of the quarter before, in nats."""
    stats = judged.idata.get("sample_stats", {})
    if "elbo" not in stats:
        return CheckResult()
    change, level = drift(np.asarray(stats["elbo"], float))
    message = f"The ELBO changed by {change:.2g} nats between the last two quarters of the fit (mean {level:.1f})."
    grade = grade_above(change, judged.settings.thresholds.elbo)
    return CheckResult((graded("elbo", grade, change, message, advice.longer_fit(judged)),), {"elbo": level})


def drift(elbo: NDArray[np.float64]) -> tuple[float, float]:
    """Return the change of the ELBO between the last two quarters of a fit beyond its noise, and its last level.

    Parameters
    ----------
    elbo
        Noisy values, over iteration.

    Returns
    -------
    change : float
        Absolute difference of the two means minus two standard errors, at least 0; NaN for fewer than 8 values.
    level : float
        Mean of the last quarter.
    """
    if len(elbo) < 8:
        return float("nan"), float("nan")
    before, last = np.split(elbo[-2 * (len(elbo) // 4) :], 2)
    error = np.sqrt((before.var() + last.var()) / len(last))
    change = np.maximum(0.0, abs(last.mean() - before.mean()) - 2 * error)  # Python's max would drop a NaN
    return float(change), float(last.mean())


_EXACT = 1e-6
"""Range of log ratios within which the approximation equals the posterior up to rounding errors."""


def check_approximation(judged: Judged) -> CheckResult:
    """Check the Pareto k of the ratios `p(y, theta) / q(theta)` at the draws; below 0.7 they have finite means."""
    stats = judged.idata.get("sample_stats", {})
    if "log_q" not in stats or "lp" not in stats:
        return CheckResult()
    k = _pareto_k(np.asarray(stats["lp"] - stats["log_q"], float).ravel())
    message = f"Pareto k of the approximation's importance weights is {k:.2f}."
    grade = grade_above(k, judged.settings.thresholds.approximation)
    remedy = [*advice.better_approximation(judged), "Or sample the posterior itself: `sampler=nuts`."]
    return CheckResult((graded("approximation", grade, k, message, remedy),), {"approximation_k": k})


def _pareto_k(log_ratios: NDArray[np.float64]) -> float:
    """Return the Pareto k of importance ratios over draw; 0 if all are equal."""
    if np.ptp(log_ratios) < _EXACT:
        return 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(np.max(az.psislw(log_ratios)[1]))


def check_particles(judged: Judged) -> CheckResult:
    """Check the smallest share over the chains of particles that moved in the last stage; the others are copies."""
    stats = judged.idata.get("sample_stats", {})
    if "moved" not in stats:
        return CheckResult()
    least = float(stats["moved"].min())
    message = f"At least {100 * least:.0f}% of each chain's particles moved in the last stage."
    grade = grade_below(least, judged.settings.thresholds.particles)
    remedy = [*advice.more_particle_steps(judged), *advice.more_draws(judged, 2.0), "Or use `sampler=nuts`."]
    evidence = np.asarray(stats["log_marginal_likelihood"], float)
    metrics = {"log_marginal_likelihood": float(logsumexp(evidence) - np.log(evidence.size))}
    return CheckResult((graded("particles", grade, least, message, remedy),), metrics)


CHECKS = {
    "divergences": Check(check_divergences, ("nuts",)),
    "tree_depth": Check(check_tree_depth, ("nuts",)),
    "bfmi": Check(check_bfmi, ("nuts",)),
    "elbo": Check(check_elbo, ("advi",)),
    "approximation": Check(check_approximation, ("advi",)),
    "particles": Check(check_particles, ("smc",)),
}
