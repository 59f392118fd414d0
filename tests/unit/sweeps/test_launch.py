"""What launching makes of Ctrl-C."""

import os
import signal
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf

from bayesrun.sweeps.base import Point, Record
from bayesrun.sweeps.job import JobTask
from bayesrun.sweeps.launch import launch
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
        launch(hydra, [Point(n, (), {}, f"job {n}") for n in NUMBERS], task)

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
