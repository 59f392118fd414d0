"""Ctrl-C and SIGTERM in the first seconds: one line, the status that says which, and nothing left behind."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from tests.faults.running import LONG, start

MOMENTS = (0.25, 0.6, 1.2, 2.0)  # seconds: imports of Hydra, of bayesrun, of PyMC3; the model's functions
ENDS = {signal.SIGINT: ("interrupted\n", 130), signal.SIGTERM: ("terminated\n", 143)}


@pytest.mark.parametrize("number", ENDS, ids=lambda number: number.name)
@pytest.mark.parametrize("moment", MOMENTS)
def test_it_ends_in_one_line(number: signal.Signals, moment: float, tmp_path: Path) -> None:
    run = start(tmp_path / "out", "model=linear_regression", *LONG)
    time.sleep(moment)
    children = psutil.Process(run.process.pid).children(recursive=True)
    os.kill(run.process.pid, number)
    said = run.end(timeout=20)
    folders = list((tmp_path / "out").glob("runs/*/*"))
    if folders:  # a fast machine had begun to sample: see test_no_draw_is_lost
        assert run.process.returncode in (0, 130, 143)
        return
    assert (said, run.process.returncode) == ENDS[number]
    assert not list(tmp_path.rglob("*"))
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive


@pytest.mark.parametrize("number", ENDS, ids=lambda number: number.name)
def test_a_sweep_ends_in_one_line_while_it_is_checked(number: signal.Signals, tmp_path: Path) -> None:
    run = start(tmp_path / "out", "-m", "model=linear_regression", "seed=range(0,2000)", *LONG)
    time.sleep(2.5)
    os.kill(run.process.pid, number)
    said = run.end(timeout=30)
    assert "Traceback" not in said
    assert said.count("\n") == 1, said
    assert run.process.returncode == ENDS[number][1]
    assert not list(tmp_path.rglob("*"))
