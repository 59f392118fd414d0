"""What a sweep found: `sweep.csv`, `elpd.csv`, `sweep.html`, figures, and what its tracked run reads.

Works on run folders alone: `resume=FOLDER` makes it again for any finished sweep.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from bayesrun.jobs.local_workers import beside
from bayesrun.run_folder import RunFolder
from bayesrun.sweeps.base import Goal, Record
from bayesrun.sweeps.elpd import compare
from bayesrun.sweeps.overlays import draw_overlays
from bayesrun.sweeps.page import Findings, describe, text, write_sweep_page
from bayesrun.sweeps.table import SweptSetting, gather, tabulate

log = logging.getLogger("bayesrun.sweeps")

_ORDER = ("ok", "warn", "fail")


@dataclass(frozen=True)
class Answer:
    """What a sweep found.

    Parameters
    ----------
    table
        Parameter by setting (`sweep.csv`).
    elpd
        `az.compare`'s table, or None with `why_no_elpd`.
    failed
        How many jobs have no posterior.
    text
        What the console shows.
    """

    table: pd.DataFrame
    elpd: pd.DataFrame | None
    why_no_elpd: str
    failed: int
    text: str


def answer(
    folder: Path, records: Sequence[Record], baseline: int, seconds: float | None = None, goal: Goal | None = None
) -> Answer:
    """Write a sweep's answer into its folder.

    Parameters
    ----------
    folder
        The sweep's folder.
    records
        Its jobs, in order.
    baseline
        Number of the job that shifts are measured from.
    seconds
        Wall time of the sweep.
    goal
        What a search optimizes; None for a sweep whose points were listed.
    """
    with beside(_compare, records) as compared:
        settings = gather(records)
        base = _baseline(settings, baseline)
        table = tabulate(settings, base)
        RunFolder(folder).write_text("sweep.csv", table.to_csv(index=False))
        found = Findings(folder.name, settings, table, base.name if base else "", goal=goal)
        figures = draw_overlays(settings, table, found.parameters, folder / "figures")
        elpd, why_not = compared()
    if elpd is not None:
        RunFolder(folder).write_text("elpd.csv", elpd.to_csv())
    found = replace(found, elpd=elpd, why_no_elpd=why_not)
    write_sweep_page(found, figures, RunFolder(folder))
    RunFolder(folder).write_text("description.md", describe(found))
    failed = sum(r.path is None for r in records)
    _write_for_tracking(folder, records, table, failed, seconds)
    return Answer(table, elpd, why_not, failed, text(found, folder))


def _baseline(settings: Sequence[SweptSetting], number: int) -> SweptSetting | None:
    chosen = next((s for s in settings if any(r.number == number for r in s.records)), None)
    return chosen if chosen and chosen.summaries else None


def _compare(records: Sequence[Record]) -> tuple[pd.DataFrame | None, str]:
    try:
        return compare(records)
    except Exception as error:  # one broken posterior must not prevent the table
        log.debug("no comparison", exc_info=True)
        return None, f"{type(error).__name__}: {error}"


def _write_for_tracking(
    folder: Path, records: Sequence[Record], table: pd.DataFrame, failed: int, seconds: float | None
) -> None:
    shift = table["shift"].astype(float).abs().max()
    metrics = {
        "jobs": len(records),
        "jobs_failed": failed,
        "jobs_reused": sum(r.note.startswith("reused") for r in records),
        "shift_max": None if shift != shift else float(shift),
        "seconds_total": seconds,
    }
    verdicts = [r.verdict for r in records if r.verdict in _ORDER]
    status = {"status": "failed" if failed == len(records) else "partial" if failed else "finished"}
    status["verdict"] = max(verdicts, key=_ORDER.index, default="none")
    RunFolder(folder).write_json("metrics.json", {k: v for k, v in metrics.items() if v is not None})
    RunFolder(folder).write_json("status.json", {**status, "error": None})
