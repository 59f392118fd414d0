"""A sweep on a real Slurm with two nodes, tracked on a real MLflow server."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from tests.integration.mlflow_server import mlflow_server
from tests.integration.slurm import lose_node_of, missing, process_of, slurm

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason=missing())]
BRIEF = [
    "model=switchpoint",
    "model.options.form=compound",  # slow draws: few of them take for ever, and little space on disk
    "sampler.chains=2",
    "sampler.draws=100",
    "sampler.tune=100",
    "predictive.prior=0",
    "hydra.launcher.mem_gb=1",
]
RATE = "model.priors.early_rate.lam"
ENDLESS = 1_000_000


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with slurm(tmp_path_factory.mktemp("slurm")) as env:
        yield env


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    with mlflow_server(folder, f"sqlite:///{folder}/mlflow.db") as url:
        yield url


def bayesrun(outputs, cluster, *overrides):
    done = subprocess.run(
        [sys.executable, "-m", "bayesrun", "-m", "launcher=slurm", *BRIEF, *overrides, f"paths.outputs={outputs}"],
        cwd=ROOT,
        env={**os.environ, **cluster},
        capture_output=True,
        text=True,
        timeout=600,
    )
    return done.returncode, done.stdout, done.stderr


def test_a_sweep_runs_on_the_nodes_and_is_tracked_on_the_server(cluster, server, tmp_path):
    from mlflow.tracking import MlflowClient

    status, out, err = bayesrun(
        tmp_path, cluster, f"{RATE}=0.5,1,2,4", "tracking=server", f"tracking.uri={server}", "sampler.cores=1"
    )
    assert status == 0, out + err
    (folder,) = tmp_path.glob("sweeps/*/*")
    table = pd.read_csv(folder / "sweep.csv")
    assert set(table["status"]) == {"finished"}
    assert set(table["jobs"]) == {0, 1, 2, 3}
    client = MlflowClient(server)
    experiment = client.get_experiment_by_name("switchpoint").experiment_id
    runs = client.search_runs([experiment])
    (parent,) = (r for r in runs if "mlflow.parentRunId" not in r.data.tags)
    assert len(runs) == 5
    assert {r.info.status for r in runs} == {"FINISHED"}
    assert "sweep.html" in {f.path for f in client.list_artifacts(parent.info.run_id)}
    job = next(r for r in runs if r is not parent)
    assert "posterior.nc" in {f.path for f in client.list_artifacts(job.info.run_id)}


def start(cluster, outputs, draws, *overrides):
    """Start a sweep with a job for each number of draws; return when the first is done and the second under way."""
    values = ",".join(str(1 + number) for number in range(len(draws)))
    swept = [f"{RATE}={values}", f"sampler.draws={','.join(map(str, draws))}", f"sweep.zip=[[{RATE},sampler.draws]]"]
    brief = [o for o in BRIEF if not o.startswith("sampler.draws")]
    command = [sys.executable, "-m", "bayesrun", "-m", "launcher=slurm", *brief, *swept, *overrides]
    process = subprocess.Popen(
        [*command, f"paths.outputs={outputs}"], cwd=ROOT, env={**os.environ, **cluster}, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 240
    # the second has a folder before it has a run in tracking, and a kill in between leaves none
    while not list(outputs.glob("sweeps/*/*/.jobs/0.json")) or "1" not in states(outputs):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.5)
    return process


def ended(process, outputs):
    """Wait for a sweep of which some jobs fail; return the rows of its jobs, one of each, and what it printed."""
    printed, _ = process.communicate(timeout=240)
    assert process.returncode == 1, printed
    (folder,) = outputs.glob("sweeps/*/*")
    table = pd.read_csv(folder / "sweep.csv").drop_duplicates("jobs").astype({"jobs": int})
    return table.set_index("jobs").to_dict("index"), printed


def states(outputs):
    """Return the state of each job's run in tracking, and of the parent's (`None`)."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{outputs}/mlflow.db")
    found = client.search_runs([client.get_experiment_by_name("switchpoint").experiment_id])
    assert len({r.data.tags.get("job") for r in found}) == len(found)
    return {r.data.tags.get("job"): r.info.status for r in found}


def test_a_job_whose_process_is_killed_is_a_row_and_the_sweep_ends(cluster, tmp_path):
    process = start(cluster, tmp_path, [100, ENDLESS])
    os.kill(process_of(tmp_path, 1), signal.SIGKILL)
    rows, _ = ended(process, tmp_path)
    assert {n: row["status"] for n, row in rows.items()} == {0: "finished", 1: "failed"}
    assert rows[1]["error"]
    assert states(tmp_path) == {None: "FINISHED", "0": "FINISHED", "1": "KILLED"}


@pytest.mark.parametrize("warned", [5, 0])
def test_a_job_beyond_its_time_limit_is_a_row_and_the_sweep_ends(cluster, tmp_path, warned):
    """Slurm's least limit is a minute. A job may be warned some seconds before, or be ended by Slurm itself."""
    limit = ["hydra.launcher.timeout_min=1", f"hydra.launcher.signal_delay_s={warned}"]
    process = start(cluster, tmp_path, [100, ENDLESS], *limit)
    rows, printed = ended(process, tmp_path)
    assert rows[0]["status"] == "finished"
    kept = rows[1]["status"] == "partial"  # its draws, as one that is warned does, and another may in time
    assert kept or (rows[1]["status"] == "failed" and not warned)
    assert "time limit" in rows[1]["error"]
    assert "hydra.launcher.timeout_min" in rows[1]["error"]
    assert "time limit" in printed
    found = states(tmp_path)
    assert found[None] == found["0"] == "FINISHED"
    assert found["1"] in ("FAILED", "KILLED", *(["FINISHED"] if kept else []))


def test_a_job_whose_node_fails_is_a_row_and_the_sweep_ends(cluster, tmp_path):
    """The last test: a node of the cluster is gone after it."""
    process = start(cluster, tmp_path, [100, ENDLESS, 100])
    lose_node_of(cluster, process_of(tmp_path, 1))
    rows, _ = ended(process, tmp_path)
    assert {n: row["status"] for n, row in rows.items() if n != 2} == {0: "finished", 1: "failed"}
    assert "node" in rows[1]["error"]
    assert rows[2]["status"] == "finished" or "node" in rows[2]["error"]
    found = states(tmp_path)
    assert found.keys() >= {None, "0", "1"}
    assert "RUNNING" not in found.values()
