"""The end of a run on the console: legible at 100 columns, and plain text in files and pipes."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from bayesrun.diagnostics.base import Finding
from bayesrun.diagnostics.summary import columns
from bayesrun.report.console import show

LONG = "volatility_of_the_process[a label that is longer than any table has room for, 2008-05-02]"


def _table(*names: str) -> pd.DataFrame:
    return pd.DataFrame([[-1234.5678] * 6 + [4000.0, 4000.0, 1.001]] * len(names), list(names), columns(0.94))


def _shown(capsys: pytest.CaptureFixture[str], *names: str) -> str:
    finding = Finding("ess", "warn", "word " * 60 + "end.", "x", remedy="Increase the number of draws: `a=1`.")
    show(_table(*names), [finding], "warn", Path("/runs/one"), None)
    return capsys.readouterr().out


def test_long_labels_are_cut_in_their_middle(capsys: pytest.CaptureFixture[str]) -> None:
    head, row, *_ = _shown(capsys, LONG).splitlines()
    assert len(head) <= 100 and len(row) <= 100
    assert row.startswith("volatil") and "…" in row and "-05-02]" in row
    assert head.split() == ["mean", "sd", "hdi_3%", "hdi_97%", "ess_bulk", "ess_tail", "r_hat"]


def test_short_labels_leave_room_for_all_columns(capsys: pytest.CaptureFixture[str]) -> None:
    head, *_ = _shown(capsys, "mu", "tau").splitlines()
    assert head.split() == columns(0.94) and len(head) <= 100


def test_a_pipe_gets_no_colours_and_each_message_on_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    text = _shown(capsys, *(f"x[{i}]" for i in range(30)))
    assert "\x1b" not in text
    assert any(line.endswith("end.") and line.startswith("  warn ess: word") for line in text.splitlines())
    assert "... and 10 more rows in summary.csv" in text
