"""The end of a run on the console: the table, the verdict with its reasons, the folder, and what to do next."""

from __future__ import annotations

import math
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bayesrun.diagnostics.base import Finding, shorten
from bayesrun.lazy import pd

_ROWS = 20
_STYLE = {"ok": "bold green", "warn": "bold yellow", "fail": "bold red"}
_WIDTH = 100
"""Columns of a file or a pipe, and the least that the table needs."""
_NUMBER = 9
"""Columns of a number and the blank before it."""
_DROPPED_FIRST = ("mcse_sd", "mcse_mean")
"""Columns that are left to `summary.csv` where the terminal is too narrow, the first one first."""


def show(summary: pd.DataFrame, findings: Sequence[Finding], verdict: str, folder: Path, ui: str | None) -> None:
    """Print the end of a run; in colour only on a terminal.

    Parameters
    ----------
    summary
        One row per scalar.
    findings
        Of all checks.
    verdict
        The worst of them.
    folder
        The run folder.
    ui
        Command that opens the tracking UI; null = not tracked.
    """
    terminal = sys.stdout.isatty()
    console = Console(
        highlight=False, soft_wrap=True, width=None if terminal else _WIDTH, force_terminal=terminal,
        color_system="auto" if terminal else None, force_jupyter=False,
    )  # fmt: skip
    console.print(_table(summary, max(console.width, _WIDTH)))
    if len(summary) > _ROWS:
        console.print(f"... and {len(summary) - _ROWS} more rows in summary.csv", style="dim")
    console.print(f"\nverdict: [{_STYLE[verdict]}]{verdict}[/]")
    for finding in findings:
        if finding.severity != "ok" or verdict == "ok":
            _say(console, finding, terminal)
    console.print(f"\nfolder: {folder}", markup=False)
    if ui:
        console.print(f"compare: {ui}", markup=False)


def _say(console: Console, finding: Finding, wrapped: bool) -> None:
    """Print a finding and its remedy; a file or a pipe gets each on one line, so that it can be searched."""
    parts = [(f"  {finding.severity:4} {finding.check}: ", finding.message), (" " * 7, finding.remedy)]
    for head, text in parts:
        if text and wrapped:
            text = textwrap.fill(text, max(console.width, 40), initial_indent=head, subsequent_indent=" " * 7,
                                 break_long_words=False, break_on_hyphens=False)  # fmt: skip
            console.print(text, markup=False)
        elif text:
            console.print(head + text, markup=False)


def _table(summary: pd.DataFrame, width: int) -> Table:
    columns = list(summary.columns)
    names = [str(name) for name in summary.index[:_ROWS]]
    longest = max(map(len, names), default=0)
    for column in _DROPPED_FIRST:
        if longest + (_NUMBER + 1) * len(columns) > width and column in columns:
            columns.remove(column)
    room = max(20, width - (_NUMBER + 1) * len(columns))
    table = Table(box=None, pad_edge=False)
    table.add_column("", no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for name, (_, row) in zip(names, summary.head(_ROWS).iterrows(), strict=True):
        table.add_row(shorten(name, room).replace("[", r"\["), *(number(c, row[c]) for c in columns))
    return table


def number(column: str, value: float) -> str:
    """Format one number of the table as its column needs it."""
    if not math.isfinite(value):
        return "-"
    if column.startswith("ess"):
        return f"{value:,.0f}"
    return f"{value:.3f}" if column == "r_hat" else f"{value:.4g}"
