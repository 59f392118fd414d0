"""A sweep on a real Ray cluster of two nodes on this machine: both work, one fails, and the sweep is finished."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest

from tests.conftest import ROOT

pytest.importorskip("ray")
from ray.cluster_utils import Cluster

pytestmark = pytest.mark.slow
BRIEF = (
    "launcher=ray",
    "model=switchpoint",
    "model.options.form=compound",  # slow draws, of which as many are made as the time allows
    "model.figures=[]",
    "sampler.chains=1",
    "sampler.tune=100",
    "predictive.prior=0",
    "report=false",
)
RATE = "model.priors.early_rate.lam"
ENV = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Start two nodes of one processor each."""
    for name, value in ENV.items():
        monkeypatch.setenv(name, value)
    node = {"num_cpus": 1, "object_store_memory": 80_000_000, "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args=node)
    made.second = made.add_node(num_cpus=1, object_store_memory=80_000_000)
    made.wait_for_nodes()
    yield made
    made.shutdown()


def _command(cluster: Any, outputs: Path, *overrides: str) -> list[str]:
    given = [f"hydra.launcher.ray.init.address={cluster.address}", f"paths.outputs={outputs}"]
    return [sys.executable, "-m", "bayesrun", *given, *overrides]


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **ENV}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=400, check=False)


def _jobs(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / "sweep.json").read_text())["jobs"]
    return found


def test_jobs_run_on_both_nodes_and_a_failed_node_costs_one_job(cluster: Any, tmp_path: Path) -> None:
    overrides = [*BRIEF, f"{RATE}=0.5,1", "sampler.draws=1000000", "sampler.max_seconds=12"]
    command = _command(cluster, tmp_path, "-m", *overrides)
    sweep = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, **ENV}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    deadline = time.monotonic() + 200
    # each node has one processor: both jobs sample at the same time only if each has a node of its own
    while len(list(tmp_path.glob("sweeps/*/*/[01]/draws/*"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    cluster.remove_node(cluster.second, allow_graceful=False)
    said, _ = sweep.communicate(timeout=300)
    assert sweep.returncode == 1, said
    (folder,) = tmp_path.glob("sweeps/*/*")
    jobs = _jobs(folder)
    assert sorted(job["status"] for job in jobs) == ["failed", "partial"], said
    (failed,) = (job for job in jobs if job["status"] == "failed")
    assert "its node failed" in failed["error"], failed["error"]
    assert "Traceback" not in said
    cluster.add_node(num_cpus=1, object_store_memory=80_000_000)
    again = _run(_command(cluster, tmp_path, f"resume={folder}", "sampler.max_seconds=2"))
    assert again.returncode == 0, again.stdout + again.stderr
    assert {job["status"] for job in _jobs(folder)} == {"partial"}
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("switchpoint").experiment_id])
    parents = [run for run in runs if run.data.tags.get("sweep") == "true"]
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parents[0].info.run_id]
    assert len(parents) == 1 and len(children) == 2


def test_a_cluster_that_is_not_there_is_told(tmp_path: Path) -> None:
    address = "hydra.launcher.ray.init.address=127.0.0.1:9"
    done = _run([sys.executable, "-m", "bayesrun", "-m", *BRIEF, f"{RATE}=0.5,1", address, f"paths.outputs={tmp_path}"])
    assert done.returncode == 1
    assert "hydra.launcher.ray.init.address: Ray can't be reached at '127.0.0.1:9'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_may_not_name_the_cluster(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    text = "# @package _global_\nhydra: {launcher: {ray: {init: {address: '10.1.1.1:6379'}}}}\n"
    (tmp_path / "experiment" / "theirs.yaml").write_text(text)
    words = ["-m", "--config-dir", str(tmp_path), *BRIEF, f"{RATE}=0.5,1", "experiment=theirs"]
    done = _run([sys.executable, "-m", "bayesrun", *words, f"paths.outputs={tmp_path}"])
    assert done.returncode == 1
    assert "hydra.launcher.ray.init.address: may not be set in a file (experiment/theirs.yaml)" in done.stderr


def _fits(outputs: Path) -> set[int]:
    return {int(path.stem) for path in outputs.glob("fits/sbc_*/[0-9]*.npz")}


def test_the_fits_of_a_failed_node_are_made_again_on_the_other(cluster: Any, tmp_path: Path) -> None:
    words = ("task=sbc", "model=eight_schools", "sbc.fits=20", "sbc.ranks=49", "sampler.draws=1000", "tracking=none")
    outputs = tmp_path / "ray"
    task = subprocess.Popen(
        _command(cluster, outputs, "launcher=ray", *words),
        cwd=ROOT,
        env={**os.environ, **ENV},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    deadline = time.monotonic() + 300
    while {number % 2 for number in _fits(outputs)} != {0, 1} and time.monotonic() < deadline:
        time.sleep(0.05)
    cluster.remove_node(cluster.second, allow_graceful=False)
    said, _ = task.communicate(timeout=400)
    assert task.returncode == 0, said
    assert "Traceback" not in said
    (folder,) = outputs.glob("runs/*/*_sbc")
    records = [json.loads(path.read_text()) for path in sorted((folder / "jobs" / ".jobs").glob("*.json"))]
    assert sorted(record["status"] for record in records) == ["finished", "finished", "lost"], said
    (lost,) = (record for record in records if record["status"] == "lost")
    assert "its node failed" in lost["error"]
    assert set(records[-1]["fits"]) < set(lost["fits"])
    one_thread = ["env", "OMP_NUM_THREADS=1"]  # as Ray gives a task of one processor: rounding depends on it
    here = _run([*one_thread, sys.executable, "-m", "bayesrun", *words, f"paths.outputs={tmp_path / 'here'}"])
    assert here.returncode == 0, here.stderr
    (other,) = (tmp_path / "here").glob("runs/*/*_sbc")
    assert (folder / "ranks.csv").read_text() == (other / "ranks.csv").read_text()
