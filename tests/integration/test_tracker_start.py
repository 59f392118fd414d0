"""MLflow starts loading before the config is validated: none of its processes may outlive a rejected run."""

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
WRONG = ["model=switchpoint", "model.priors.early_rate.lam=-1"]


def workers_of(pid):
    """Return the processes that talk to MLflow for a process, alive or gone."""
    wanted = ["bayesrun.tracking.tracker_process", "serve", str(pid)]
    return [p for p in psutil.process_iter(["cmdline"]) if (p.info["cmdline"] or [])[-4:-1] == wanted]


def started(*overrides):
    """Run a command to its end; return the tracking processes that it ever had, its message, and its status."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bayesrun", *overrides], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    seen = set()
    while process.poll() is None:
        seen |= set(workers_of(process.pid))
        time.sleep(0.02)
    return seen, process.stderr.read().decode(), process.pid


def test_a_wrong_config_leaves_no_process(tmp_path):
    seen, message, pid = started(*WRONG, f"paths.outputs={tmp_path}")
    assert "model.priors.early_rate.lam" in message
    assert seen
    _, alive = psutil.wait_procs(seen, timeout=60)
    assert not alive
    assert not workers_of(pid)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("choice", ["tracking=none", "tracking.backend=none"])
def test_nothing_is_begun_where_tracking_may_be_another(tmp_path, choice):
    seen, message, _ = started(*WRONG, choice, f"paths.outputs={tmp_path}")
    assert "model.priors.early_rate.lam" in message
    assert not seen
