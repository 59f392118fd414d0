"""Whether there are enough effectively independent draws, for means (bulk) and for tails."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bayesrun.diagnostics._words import some
from bayesrun.diagnostics.base import Check, CheckResult, Finding, Judged, severity_below

if TYPE_CHECKING:
    import pandas as pd

_REMEDY = "Draw more (sampler.draws), or give the model a form that mixes better."


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
    severity = severity_below(least, limits)
    if severity == "ok":
        message = f"Every {part} ESS is at or above {limits[0]:g} (smallest {least:,.0f})."
        return Finding("ess", "ok", message, value=least, threshold=limits[0])
    low = values[values < limits[0]].sort_values()
    message = f"The {part} ESS of {values.idxmin()} is {least:,.0f}"
    message += f"; also below {limits[0]:g}: {some(list(low.index[1:]))}." if len(low) > 1 else "."
    limit = limits[1] if severity == "fail" else limits[0]
    return Finding("ess", severity, message, str(values.idxmin()), least, limit, _REMEDY)


CHECK = Check(run)
