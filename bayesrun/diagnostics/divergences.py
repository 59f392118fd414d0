"""Divergent transitions of NUTS: the sampler could not enter some region, so the posterior may be biased."""

from __future__ import annotations

from bayesrun.diagnostics import advice
from bayesrun.diagnostics.base import Check, CheckResult, Judged, grade_above, graded


def run(judged: Judged) -> CheckResult:
    """Count the divergences after tuning and judge their share of all draws."""
    stats = judged.idata.get("sample_stats", {})
    if "diverging" not in stats:
        return CheckResult()
    count, draws = int(stats["diverging"].sum()), int(stats["diverging"].size)
    grade = grade_above(count / draws, judged.settings.thresholds.divergences)
    message = f"{count:,} of {draws:,} draws diverged." if count else "No draw diverged."
    remedy = [*advice.other_forms(judged), *advice.smaller_steps(judged), advice.TIGHTER_PRIORS]
    finding = graded("divergences", grade, count / draws, message, remedy)
    return CheckResult((finding,), {"divergences": float(count)})


CHECK = Check(run, ("nuts",))
