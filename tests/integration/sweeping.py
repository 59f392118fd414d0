"""Sweeps through the real command, for tests: how they are started, and what they leave."""

import subprocess
import sys
import time
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).parents[2]
BRIEF = ["model=switchpoint", "model.figures=[]", "sampler.chains=2", "sampler.progress=false", "predictive.prior=0"]
SHORT = [*BRIEF, "sampler.draws=100", "sampler.tune=100"]
RATE = "model.priors.early_rate.lam"


def command(outputs, *overrides):
    return [sys.executable, "-m", "bayesrun", *overrides, f"paths.outputs={outputs}"]


def bayesrun(outputs, *overrides, **more):
    done = subprocess.run(command(outputs, *overrides), cwd=ROOT, capture_output=True, text=True, timeout=600, **more)
    return done.returncode, done.stdout, done.stderr


def sweeps(outputs):
    return sorted(p for p in Path(outputs).glob("sweeps/*/*") if p.is_dir())


def only_sweep(outputs):
    (folder,) = sweeps(outputs)
    return folder


def table_of(folder):
    return pd.read_csv(folder / "sweep.csv")


def runs(outputs, experiment="switchpoint"):
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{outputs}/mlflow.db")
    found = client.get_experiment_by_name(experiment)
    return client.search_runs([found.experiment_id], max_results=200)


def children(outputs):
    return [r for r in runs(outputs) if "mlflow.parentRunId" in r.data.tags]


def wait_for(condition, process, seconds=240):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        if process.poll() is not None:
            return
        time.sleep(0.1)


def children_of(pid):
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
