"""Ctrl-C and SIGTERM in the first seconds: one line, the matching exit status, and nothing left behind."""

from __future__ import annotations

import json
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
MOMENTS = (0.0, 0.4, 1.3)  # seconds since it listens: imports of Hydra, of bayesrun, of the engine
ENDS = {signal.SIGINT: ("interrupted\n", 130), signal.SIGTERM: ("terminated\n", 143)}


def start(outputs: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start a run that listens to signals: until Python has begun to import bayesrun, they are Python's own matter."""
    run = subprocess.Popen(
        [sys.executable, "-m", "bayesrun", *arguments, *LONG, f"paths.outputs={outputs}"],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=_heed_interrupts,
    )
    while not _listens(run.pid, signal.SIGTERM):
        assert run.poll() is None
        time.sleep(0.01)
    return run


def _listens(pid: int, number: int) -> bool:
    """Say whether a process has a handler for a signal."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    caught = int(next(line.split()[1] for line in lines if line.startswith("SigCgt")), 16)
    return bool(caught >> (number - 1) & 1)


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


LATE = """
import os, signal, subprocess, sys
from bayesrun.cli import main as start
import bayesrun.cli.main as command
from bayesrun.early_signals import end_in_order, listen
from bayesrun.jobs.local_workers import keeping_interrupts

def now():
    os.kill(os.getpid(), signal.SIGINT)
    for _ in range(1000):
        pass

class Finalized:
    def __del__(self):
        now()

def finalizer(*_):
    Finalized()
    signal.pause()

def other_error(*_):
    try:
        now()
    except KeyboardInterrupt as interrupt:
        raise RuntimeError("Error calling __set_name__ on ...") from interrupt

def helper_starts(*_):
    with keeping_interrupts():
        now()
    signal.pause()

def ends(*_):
    return 0

listen()
in_order, place = sys.argv[1] == "in order", sys.argv[2]
sys.argv[1:] = ["model=switchpoint"]
if place in ("_leave", "_tell"):
    own = getattr(command, place)
    setattr(command, place, lambda *given: [now(), own(*given)])
    do = ends if place == "_leave" else other_error
else:
    do = globals()[place]
command._do = lambda *given: [end_in_order() if in_order else None, do(*given)][1]
start()
"""


@pytest.mark.parametrize("place", ["finalizer", "other_error", "helper_starts", "_leave", "_tell"])
@pytest.mark.parametrize("state", ["early", "in order"])
def test_an_interrupt_between_two_steps_is_one_line(state: str, place: str) -> None:
    """Python drops one that is raised in a finalizer; others surface as another error, or come when all is done."""
    words = [sys.executable, "-c", LATE, state, place]
    done = subprocess.run(words, capture_output=True, text=True, timeout=180, cwd=ROOT, preexec_fn=_heed_interrupts)
    assert (done.stderr, done.stdout, done.returncode) == ("interrupted\n", "", 130)


TERMINATED = """
import os, signal
from bayesrun.early_signals import end_in_order, listen
listen()
end_in_order()
try:
    os.kill(os.getpid(), signal.SIGTERM)
    signal.pause()
except KeyboardInterrupt:
    print("KeyboardInterrupt")
"""


def test_a_sweep_that_ignores_ctrl_c_hears_of_sigterm() -> None:
    """A shell lets what it starts in the background of a script ignore Ctrl-C."""
    words = [sys.executable, "-c", TERMINATED]
    done = subprocess.run(words, capture_output=True, text=True, timeout=180, cwd=ROOT, preexec_fn=_ignore_interrupts)
    assert (done.stdout, done.stderr) == ("KeyboardInterrupt\n", "")


def _ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


BEFORE_THE_END = """
import contextlib, sys
from bayesrun import open_run, pipeline
from bayesrun.cli import main as start

leave = contextlib._GeneratorContextManager.__exit__

def interrupted(self, *raised):
    if self.gen.__name__ == "open_run":
        raise KeyboardInterrupt
    return leave(self, *raised)

def conclude(*_):
    raise RuntimeError("no verdict")

contextlib._GeneratorContextManager.__exit__ = interrupted
pipeline.conclude = conclude
start()
"""


def test_a_signal_before_a_run_notes_its_end_leaves_no_status_running(tmp_path: Path) -> None:
    """It is raised in Python's own code, after the run's last step and before what closes the run is called."""
    words = ["model=switchpoint", "sampler.draws=20", "sampler.tune=20", "sampler.chains=1", *LONG[2:]]
    command = [sys.executable, "-c", BEFORE_THE_END, *words, f"paths.outputs={tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=ROOT, preexec_fn=_heed_interrupts)
    assert (done.stderr.splitlines()[-1], done.returncode) == ("interrupted", 130), done.stderr
    (status,) = tmp_path.glob("runs/*/*/status.json")
    assert json.loads(status.read_text())["status"] == "partial"
    assert not list(tmp_path.glob(".running/*"))


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
