"""Effective sample size: whether the draws estimate means (bulk) and tails precisely enough."""

from __future__ import annotations

import pandas as pd

from bayesrun.diagnostics import advice
from bayesrun.diagnostics.base import Check, CheckResult, Finding, Judged, grade_below, graded, listed


def run(judged: Judged) -> CheckResult:
    """Judge the smallest bulk and tail effective sample sizes of all chains together."""
    moving = judged.summary[judged.moving]
    if moving.empty:
        return CheckResult()
    findings = tuple(_judge(judged, moving[f"ess_{part}"].dropna(), part) for part in ("bulk", "tail"))
    metrics = {f"ess_{part}_min": float(moving[f"ess_{part}"].min()) for part in ("bulk", "tail")}
    ratio = float((moving["mcse_mean"] / moving["sd"]).max())
    return CheckResult(findings, {**metrics, "mcse_max_ratio": ratio})


def _judge(judged: Judged, values: pd.Series[float], part: str) -> Finding:
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


CHECK = Check(run)
