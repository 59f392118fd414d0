"""Every experiment that is shipped runs, briefly; and a search by Optuna."""

import json
import re
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
    search = ["model.priors.early_rate.lam=interval(0.1,4)", "hydra.sweeper.n_trials=3", "sweep.metric=ess_bulk_min"]
    done = bayesrun("-m", "sweeper=optuna", "model=switchpoint", *search, *BRIEF, f"paths.outputs={tmp_path}")
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = tmp_path.glob("sweeps/*/*")
    values = pd.read_csv(folder / "sweep.csv")["model.priors.early_rate.lam"].unique()
    assert len(values) == 3
    assert all(0.1 <= v <= 4 for v in values)
    jobs = json.loads((folder / "sweep.json").read_text())["jobs"]
    best = max(jobs, key=lambda job: job["metrics"]["ess_bulk_min"])
    first = re.search(r"<p[^>]*>(.*?)</p>", (folder / "sweep.html").read_text())
    assert first.group(1).startswith("The highest ess_bulk_min of 3 jobs is ")
    assert f"at &#39;{best['setting']}&#39;; next is" in first.group(1)
    assert "A new study" not in done.stdout + done.stderr


def test_the_ends_of_a_search_are_checked_before_its_first_job(bayesrun, tmp_path):
    search = ["model.priors.early_rate.lam=interval(-1,4)", "model.priors.late_rate.lamm=range(1,9)"]
    done = bayesrun("-m", "sweeper=optuna", "model=switchpoint", *search, f"paths.outputs={tmp_path}")
    assert done.returncode == 1
    assert "model.priors.early_rate.lam: must be above 0 (got -1)" in done.stderr
    assert "model.priors.late_rate.lamm: Exponential has no parameter 'lamm'" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("sweeps/*"))


@pytest.mark.slow
def test_a_search_for_a_metric_that_no_run_has_ends_after_one_job(bayesrun, tmp_path):
    search = ["model.priors.tau.beta=interval(1,9)", "sampler=prior", "hydra.sweeper.n_trials=4"]
    search.append("sweep.metric=n_drwas")
    done = bayesrun("-m", "sweeper=optuna", "model=eight_schools", *search, *BRIEF, f"paths.outputs={tmp_path}")
    assert done.returncode == 1
    assert "sweep.metric: a run has no metric 'n_drwas'\n    did you mean 'n_draws'?" in done.stderr
    assert "There is no best setting" in done.stdout
    assert done.stdout.count("finished, verdict") == 1
