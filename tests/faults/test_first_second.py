"""Ctrl-C and SIGTERM in the first seconds: one line, the matching exit status, and nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.conftest import ROOT

LONG = ("sampler.draws=200000", "sampler.chains=2", "sampler.progress=false", "tracking=none", "model.figures=[]")
MOMENTS = (0.25, 0.6, 1.5)  # seconds: imports of Hydra, of bayesrun, of the engine
ENDS = {signal.SIGINT: ("interrupted\n", 130), signal.SIGTERM: ("terminated\n", 143)}


def start(outputs: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "bayesrun", *arguments, *LONG, f"paths.outputs={outputs}"],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=_heed_interrupts,
    )


def _heed_interrupts() -> None:
    os.setpgrp()
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.parametrize("number", ENDS, ids=lambda number: number.name)
@pytest.mark.parametrize("moment", MOMENTS)
def test_it_ends_in_one_line(number: signal.Signals, moment: float, tmp_path: Path) -> None:
    run = start(tmp_path / "out", "model=linear_regression")
    time.sleep(moment)
    children = psutil.Process(run.pid).children(recursive=True)
    run.send_signal(number)
    said, _ = run.communicate(timeout=60)
    if list((tmp_path / "out").glob("runs/*/*")):  # a fast machine had begun to sample: see test_matrix
        assert run.returncode in (0, 130, 143)
        return
    assert (said, run.returncode) == ENDS[number]
    assert not list(tmp_path.rglob("*"))
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive


@pytest.mark.parametrize("number", ENDS, ids=lambda number: number.name)
def test_a_sweep_ends_in_one_line_while_it_is_checked(number: signal.Signals, tmp_path: Path) -> None:
    run = start(tmp_path / "out", "-m", "model=linear_regression", "seed=range(0,2000)")
    time.sleep(2.5)
    run.send_signal(number)
    said, _ = run.communicate(timeout=60)
    assert "Traceback" not in said
    assert said.removeprefix("checking 2,000 jobs; the first starts when all are valid\n").count("\n") == 1, said
    assert run.returncode == ENDS[number][1]
    assert not list(tmp_path.rglob("*"))


HANGS = """
import atexit, sys, threading
import bayesrun.cli.main as command
lock = threading.Lock()
lock.acquire()
atexit.register(lock.acquire)
def interrupted(*_):
    raise KeyboardInterrupt
command._do = interrupted
sys.argv = ["bayesrun", "model=switchpoint"]
command.main()
"""


def test_an_interrupted_command_ends_though_its_clean_up_hangs() -> None:
    """The workers of a sweep that got the same Ctrl-C may never answer."""
    done = subprocess.run([sys.executable, "-c", HANGS], capture_output=True, text=True, timeout=300, cwd=ROOT)
    assert done.returncode == 130
    assert done.stderr == "interrupted\n"
