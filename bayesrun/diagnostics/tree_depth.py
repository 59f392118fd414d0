"""Trees of NUTS that were cut at the depth limit: slow, not wrong."""

from __future__ import annotations

from bayesrun.diagnostics.base import Check, CheckResult, Finding, Judged, severity_above

_REMEDY = (
    "Give the model a form that is easier to sample, a dense mass matrix (sampler.init=adapt_full), "
    "or raise sampler.max_treedepth."
)


def run(judged: Judged) -> CheckResult:
    """Judge the share of draws whose tree reached the limit."""
    stats = judged.idata.get("sample_stats", {})
    metrics = {"accept_mean": float(stats["acceptance_rate"].mean())} if "acceptance_rate" in stats else {}
    if "tree_depth" not in stats:
        return CheckResult(metrics=metrics)
    share = float((stats["tree_depth"] >= judged.max_treedepth).mean())
    limits = judged.settings.thresholds.tree_depth
    severity = severity_above(share, limits)
    limit = limits[1] if severity == "fail" else limits[0]
    message = f"{100 * share:.1f} % of the draws reached the tree depth limit of {judged.max_treedepth}."
    remedy = "" if severity == "ok" else _REMEDY
    finding = Finding("tree_depth", severity, message, value=share, threshold=limit, remedy=remedy)
    return CheckResult((finding,), {**metrics, "tree_depth_saturated": share})


CHECK = Check(run, ("nuts",))
