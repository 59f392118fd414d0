"""A long step reports that it is running; a short one prints nothing."""

from __future__ import annotations

import time

import pytest

from bayesrun.report import progress
from bayesrun.report.progress import Waiting


@pytest.mark.parametrize(("seconds", "show", "lines"), [(0.3, "auto", 2), (0.0, "auto", 0), (0.3, False, 0)])
def test_a_long_step_is_told_now_and_then(
    seconds: float, show: bool, lines: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "PATIENCE", 0.05)
    monkeypatch.setattr(progress, "EVERY", 0.1)
    with Waiting("predicting", show):
        time.sleep(seconds)
    told = capsys.readouterr().out.splitlines()
    assert len(told) >= lines if lines else not told
    assert all(line.startswith("  predicting: ") and line.endswith(" s so far") for line in told)
