"""Every experiment that is shipped runs, briefly; and a search by Optuna."""

import json
from pathlib import Path

import pandas as pd
import pytest

from tests.conftest import ROOT

EXPERIMENTS = sorted(p.stem for p in (ROOT / "conf" / "experiment").glob("*.yaml"))
BRIEF = ["sampler.draws=60", "sampler.tune=60", "sampler.chains=2", "model.figures=[]", "predictive.prior=0"]
JOBS = {"switchpoint_prior_sweep": 5, "volatility_priors": 3, "glm_prior_sensitivity": 8}


def test_every_experiment_opens_with_its_command():
    for name in EXPERIMENTS:
        lines = (ROOT / "conf" / "experiment" / f"{name}.yaml").read_text().splitlines()
        assert lines[0] == "# @package _global_", name
        assert any(f"python -m bayesrun experiment={name}" in line for line in lines[:5]), name


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_runs(bayesrun, tmp_path, name):
    done = bayesrun(f"experiment={name}", "launcher=parallel", *BRIEF, f"paths.outputs={tmp_path}", timeout=1200)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = tmp_path.glob("sweeps/*/*")
    jobs = json.loads((folder / "sweep.json").read_text())["jobs"]
    assert len(jobs) == JOBS.get(name, len(jobs))
    assert {job["status"] for job in jobs} == {"finished"}
    table = pd.read_csv(folder / "sweep.csv")
    assert table["shift"].notna().any()
    assert (folder / "sweep.html").stat().st_size > 10_000
    if name == "glm_prior_sensitivity":
        assert table["spread"].notna().all()
        assert "sensitivity_prior_max" in json.loads((Path(jobs[0]["folder"]) / "metrics.json").read_text())


@pytest.mark.slow
def test_optuna_searches(bayesrun, tmp_path):
    search = ["model.priors.early_rate.lam=interval(0.1,4)", "hydra.sweeper.n_trials=3"]
    done = bayesrun("-m", "sweeper=optuna", "model=switchpoint", *search, *BRIEF, f"paths.outputs={tmp_path}")
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = tmp_path.glob("sweeps/*/*")
    values = pd.read_csv(folder / "sweep.csv")["model.priors.early_rate.lam"].unique()
    assert len(values) == 3
    assert all(0.1 <= v <= 4 for v in values)
