"""What launching makes of Ctrl-C."""

import json
import os
import signal
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf

from bayesrun.jobs.launch import launch
from bayesrun.sweeps.base import Point, Record
from bayesrun.sweeps.job import JobTask, SweepRecords
from bayesrun.sweeps.sweep_folder import read_record

NUMBERS = range(2)
CONFIG = OmegaConf.create({"hydra": {"launcher": {"_target_": "a.launcher.of.a.PlugIn"}}})


@pytest.fixture
def launched(tmp_path):
    """Launch two jobs by a launcher that is given; a record is written of each that is given up."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    task = JobTask(None, tmp_path, {n: Record(n, f"job {n}", {}) for n in NUMBERS}, None, False)

    def run(launcher):
        hydra = SimpleNamespace(config=CONFIG, launcher=lambda task: SimpleNamespace(launch=launcher))
        launch(hydra, [Point(n, (), {}, f"job {n}") for n in NUMBERS], task, SweepRecords(task))

    yield run
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, handler)


def interrupt_and_fail(overrides, first):
    try:
        os.kill(os.getpid(), signal.SIGINT)
    finally:
        raise RuntimeError("cannot join thread before it is started")


def interrupt_and_return(overrides, first):
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except KeyboardInterrupt:
        return [None for _ in overrides]


@pytest.mark.parametrize("launcher", [interrupt_and_fail, interrupt_and_return])
def test_an_interrupt_that_the_launcher_loses_is_one_all_the_same(launched, launcher, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        launched(launcher)
    assert [read_record(tmp_path, n) for n in NUMBERS] == [None, None]


def test_a_launcher_that_fails_leaves_a_record_of_each_job(launched, tmp_path):
    calls = []

    def fail(overrides, first):
        calls.append(first)
        raise RuntimeError("a worker was killed")

    launched(fail)
    assert calls == [0, 0]
    assert [read_record(tmp_path, n).error for n in NUMBERS] == ["a worker was killed"] * 2


def test_a_job_that_is_ended_after_its_verdict_keeps_it(launched, tmp_path):
    """The draws are stored before the pictures are drawn, which take long enough for a cluster to end the job."""

    def leave_a_verdict(overrides, first):
        folder = tmp_path / "0"
        folder.mkdir(exist_ok=True)
        (folder / "status.json").write_text(json.dumps({"status": "partial", "verdict": "warn", "pictures": "pending"}))
        (folder / "metrics.json").write_text(json.dumps({"r_hat_max": 1.02}))
        raise RuntimeError("the node failed")

    launched(leave_a_verdict)
    kept, lost = (read_record(tmp_path, n) for n in NUMBERS)
    assert (kept.status, kept.verdict, kept.error) == ("partial", "warn", "the node failed")
    assert (kept.interrupted, kept.metrics) == (True, {"r_hat_max": 1.02})
    assert (lost.status, lost.verdict, lost.exit_status) == ("failed", None, 4)
