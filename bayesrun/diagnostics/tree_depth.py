"""Trees of NUTS that reached the depth limit: sampling is slow, not wrong."""

from __future__ import annotations

from bayesrun.diagnostics import advice
from bayesrun.diagnostics.base import Check, CheckResult, Judged, grade_above, graded


def run(judged: Judged) -> CheckResult:
    """Judge the share of draws whose tree reached the limit."""
    stats = judged.idata.get("sample_stats", {})
    metrics = {"accept_mean": float(stats["acceptance_rate"].mean())} if "acceptance_rate" in stats else {}
    if "tree_depth" not in stats:
        return CheckResult(metrics=metrics)
    share = float((stats["tree_depth"] >= judged.max_treedepth).mean())
    message = f"{100 * share:.1f} % of the draws reached the tree depth limit of {judged.max_treedepth}."
    grade = grade_above(share, judged.settings.thresholds.tree_depth)
    finding = graded("tree_depth", grade, share, message, [*advice.other_forms(judged), *advice.deeper_trees(judged)])
    return CheckResult((finding,), {**metrics, "tree_depth_saturated": share})


CHECK = Check(run, ("nuts",))
