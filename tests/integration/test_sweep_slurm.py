"""A sweep on a real Slurm with two nodes, tracked on a real MLflow server."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pandas as pd
import pytest

from tests.integration.slurm import missing, slurm

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason=missing())]
BRIEF = [
    "model=switchpoint",
    "sampler.chains=2",
    "sampler.draws=100",
    "sampler.tune=100",
    "predictive.prior=0",
    "hydra.launcher.mem_gb=1",
]
RATE = "model.priors.early_rate.lam"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with slurm(tmp_path_factory.mktemp("slurm")) as env:
        yield env


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "art")]
    env = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until_it_answers(f"http://127.0.0.1:{port}/health")
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.wait(20)


def wait_until_it_answers(url):
    for _ in range(120):
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except OSError:
            time.sleep(0.5)
    raise RuntimeError(f"{url} does not answer")


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


def jobs_of(cluster):
    """Processes on this machine that run a job of the sweep."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if "submitit.core._submit" in words and words[0].endswith("python"):
            found.append(int(path.parent.name))
    return found


def test_a_job_whose_node_fails_is_a_row_and_the_sweep_ends(cluster, tmp_path):
    """The first job would run for hours; its process is killed as a failing node would."""
    overrides = [f"{RATE}=1,2", "sampler.draws=100,50000000", "sweep.zip=[[model.priors.early_rate.lam,sampler.draws]]"]
    brief = [o for o in BRIEF if not o.startswith("sampler.draws")]
    command = [
        sys.executable,
        "-m",
        "bayesrun",
        "-m",
        "launcher=slurm",
        *brief,
        *overrides,
        f"paths.outputs={tmp_path}",
    ]
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **cluster}, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 240
    while not list(tmp_path.glob("sweeps/*/*/.jobs/0.json")) or not list(tmp_path.glob("sweeps/*/*/1/status.json")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.5)
    for pid in jobs_of(cluster):
        os.kill(pid, 9)
    process.communicate(timeout=240)
    assert process.returncode == 1
    (folder,) = tmp_path.glob("sweeps/*/*")
    table = pd.read_csv(folder / "sweep.csv")
    assert set(table.loc[table["jobs"] == 0, "status"]) == {"finished"}
    (failed,) = table[table["jobs"] == 1].to_dict("records")
    assert failed["status"] == "failed"
    assert failed["error"]
