"""What a run says at its end: the table, the verdict with its reasons, where the folder is, and what to do next."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from bayesrun.diagnostics.base import Finding

if TYPE_CHECKING:
    import pandas as pd

_ROWS = 20
_STYLE = {"ok": "bold green", "warn": "bold yellow", "fail": "bold red"}


def show(summary: pd.DataFrame, findings: Sequence[Finding], verdict: str, folder: Path, ui: str | None) -> None:
    """Print the end of a run.

    Parameters
    ----------
    summary
        One row a scalar.
    findings
        Of all checks.
    verdict
        The worst of them.
    folder
        The run folder.
    ui
        Command that opens the tracking UI; null = not tracked.
    """
    console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 160)
    console.print(_table(summary))
    if len(summary) > _ROWS:
        console.print(f"... and {len(summary) - _ROWS} more rows in summary.csv", style="dim")
    console.print(f"\nverdict: [{_STYLE[verdict]}]{verdict}[/]")
    for finding in findings:
        if finding.severity != "ok" or verdict == "ok":
            _say(console, finding)
    console.print(f"\nfolder: {folder}", markup=False)
    if ui:
        console.print(f"compare: {ui}", markup=False)


def _say(console: Console, finding: Finding) -> None:
    console.print(f"  {finding.severity:4} {finding.check}: {finding.message}", markup=False)
    if finding.remedy:
        console.print(f"       {finding.remedy}", markup=False)


def _table(summary: pd.DataFrame) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("", no_wrap=True)
    for column in summary.columns:
        table.add_column(column, justify="right", no_wrap=True)
    for name, row in summary.head(_ROWS).iterrows():
        table.add_row(str(name).replace("[", r"\["), *(number(c, row[c]) for c in summary.columns))
    return table


def number(column: str, value: float) -> str:
    """Format one number of the table as its column needs it."""
    if not math.isfinite(value):
        return "-"
    if column.startswith("ess"):
        return f"{value:,.0f}"
    return f"{value:.3f}" if column == "r_hat" else f"{value:.4g}"
