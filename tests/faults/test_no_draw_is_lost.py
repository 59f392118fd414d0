"""Whatever ends a run, its draws are on disk, and `task=recover` makes the whole run folder of them."""

from __future__ import annotations

import os
import signal
import time

import pytest

from tests.faults.running import COMPOUND, LONG, NUTPIE, kept_draws, start, status

MODELS = pytest.mark.parametrize("model", [NUTPIE, COMPOUND], ids=["nutpie", "compound"])
WHOLE = {"posterior.nc", "summary.csv", "findings.json", "metrics.json", "status.json", "model.svg"}
pytestmark = pytest.mark.slow


@MODELS
def test_a_killed_run_is_recovered_by_the_next_command(model, tmp_path, bayesrun):
    run = start(tmp_path, *model, *LONG)
    folder = run.wait_for_draws(1.0)
    os.killpg(run.process.pid, signal.SIGKILL)
    run.end()
    assert status(folder)["status"] == "running"
    other = bayesrun(
        "model=linear_regression", "sampler=prior", "model.figures=[]", "tracking=none", f"paths.outputs={tmp_path}"
    )
    assert other.returncode == 0, other.stderr
    assert "recovered" in other.stdout
    assert status(folder)["status"] == "partial"
    assert set(os.listdir(folder)) >= WHOLE
    assert not (folder / "draws").exists()
    chains, draws = kept_draws(folder)
    assert chains == 2
    assert draws > 10
    assert "was killed while it sampled" in (folder / "findings.json").read_text()
    assert "no run died" in bayesrun("task=recover", f"paths.outputs={tmp_path}").stdout


@MODELS
def test_a_chain_that_is_killed_costs_no_draw_of_the_others(model, tmp_path):
    run = start(tmp_path, *model, *LONG, "sampler.max_seconds=6")
    folder = run.wait_for_draws()
    run.chains()[-1].kill()
    output = run.end()
    assert run.process.returncode == 0, output
    chains, draws = kept_draws(folder)
    assert chains * draws > 20
    assert "was killed by signal 9" in (folder / "findings.json").read_text()
    assert list(folder.glob("draws/1/chain-*.draws"))  # what was cut off is still there


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@MODELS
def test_a_signal_keeps_all_draws(model, number, tmp_path):
    run = start(tmp_path, *model, *LONG)
    folder = run.wait_for_draws()
    os.killpg(run.process.pid, number)
    output = run.end()
    assert run.process.returncode == 130, output
    assert "Traceback" not in output
    assert status(folder)["status"] == "partial"
    assert set(os.listdir(folder)) >= WHOLE
    chains, draws = kept_draws(folder)  # chains of one length: a slow one may be left out where that keeps more
    assert chains * draws > 10


@pytest.mark.parametrize("apart", [0.05, 0.4])
def test_many_interrupts_lose_nothing(apart, tmp_path, bayesrun):
    run = start(tmp_path, *NUTPIE, *LONG)
    folder = run.wait_for_draws()
    for _ in range(4):
        if run.process.poll() is None:
            os.killpg(run.process.pid, signal.SIGINT)
        time.sleep(apart)
    output = run.end()
    assert "before the first draw" not in output
    assert "Traceback" not in output
    assert status(folder)["status"] == "partial"
    if not (folder / "summary.csv").exists():
        recovered = bayesrun("task=recover", f"run={folder}", f"paths.outputs={tmp_path}")
        assert recovered.returncode == 0, recovered.stderr
    chains, draws = kept_draws(folder)
    assert chains == 2
    assert draws > 10
