"""Sweeps through the real command: their numbers, their failures, and what a kill leaves behind."""

import json
import os
import re
import signal
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
from scipy.special import gammaln

from tests.integration.sweeping import (
    BRIEF,
    RATE,
    ROOT,
    SHORT,
    bayesrun,
    children,
    children_of,
    command,
    only_sweep,
    runs,
    sweeps,
    table_of,
    wait_for,
)


def exact_posterior(early_lam, late_lam=1.0):
    """Return mean and sd of both rates: Gamma posteriors, mixed over the year of the switch."""
    data = pd.read_csv(ROOT / "data" / "mining_disasters.csv")
    year, counts = data["year"].to_numpy(), data.drop(columns="year").iloc[:, 0].to_numpy(dtype=float)
    seen = ~np.isnan(counts)
    weights, moments = [], []
    for switch in range(1851, 1962):
        parts = [(seen & (year <= switch), early_lam), (seen & (year > switch), late_lam)]
        shapes = [(1 + counts[rows].sum(), rows.sum() + lam) for rows, lam in parts]
        weights.append(sum(gammaln(a) - a * np.log(b) for a, b in shapes))
        moments.append([(a / b, a * (a + 1) / b**2) for a, b in shapes])
    probability = np.exp(np.array(weights) - max(weights))
    first, second = np.einsum("s,srm->mr", probability / probability.sum(), np.array(moments))
    return first, np.sqrt(second - first**2)


@pytest.fixture(scope="module")
def prior_sweep(tmp_path_factory):
    """Four priors of the early rate, side by side."""
    outputs = tmp_path_factory.mktemp("prior_sweep")
    draws = ["sampler.draws=2000", "sampler.tune=500"]
    status, out, err = bayesrun(outputs, "-m", "launcher=parallel", *BRIEF, *draws, f"{RATE}=0.5,1,2,4")
    assert status == 0, err
    return outputs, out


def test_shifts_are_those_of_the_exact_posteriors(prior_sweep):
    outputs, _ = prior_sweep
    folder = only_sweep(outputs)
    table = table_of(folder)
    base_mean, base_sd = exact_posterior(1.0)
    for number, lam in enumerate([0.5, 1.0, 2.0, 4.0]):
        summary = pd.read_csv(folder / str(number) / "summary.csv", index_col="name")
        mean, _ = exact_posterior(lam)
        for index, name in enumerate(["early_rate", "late_rate"]):
            row = table[(table["parameter"] == name) & (table["jobs"] == number)].iloc[0]
            exact = (mean[index] - base_mean[index]) / base_sd[index]
            # both means are uncertain, and so is the baseline's sd that divides them
            error = np.hypot(*(pd.read_csv(folder / j / "summary.csv", index_col="name").loc[name, "mcse_mean"]
                               for j in ("1", str(number)))) / base_sd[index]  # fmt: skip
            assert abs(row["shift"] - exact) < 4 * error + 0.05 * abs(exact), (name, lam)
            assert summary.loc[name, "mean"] == pytest.approx(row["mean"])
    baseline = table[table["jobs"] == 1]
    assert (baseline["shift"].dropna() == 0).all()


def test_the_sweep_is_a_parent_with_its_jobs_as_children(prior_sweep):
    outputs, _ = prior_sweep
    found = runs(outputs)
    (parent,) = (r for r in found if "mlflow.parentRunId" not in r.data.tags)
    jobs = children(outputs)
    assert {r.data.tags["mlflow.parentRunId"] for r in jobs} == {parent.info.run_id}
    assert sorted(r.info.run_name for r in jobs) == [f"early_rate.lam={v}" for v in ("0.5", "1", "2", "4")]
    assert {r.info.status for r in found} == {"FINISHED"}
    assert parent.data.metrics["jobs"] == 4
    assert "| early_rate |" in parent.data.tags["mlflow.note.content"]
    uploaded = {p.name for p in Path(parent.info.artifact_uri.removeprefix("file://")).iterdir()}
    assert {"sweep.csv", "sweep.html", "elpd.csv", "figures"} <= uploaded
    assert not uploaded & {"0", "1", "2", "3"}  # those are the children's


def test_a_finished_job_is_not_done_again(prior_sweep):
    outputs, _ = prior_sweep
    before = {r.data.tags["job"]: r.info.run_id for r in children(outputs)}
    draws = ["sampler.draws=2000", "sampler.tune=500"]
    status, out, err = bayesrun(outputs, "-m", *BRIEF, *draws, f"{RATE}=0.5,4")
    assert status == 0, err
    assert "2 jobs (2 done already)" in out
    table = table_of(sweeps(outputs)[-1])
    assert set(table["note"]) == {f"reused {before['0']}", f"reused {before['3']}"}


def test_the_draws_are_those_of_the_single_run(prior_sweep, tmp_path):
    import arviz as az

    outputs, _ = prior_sweep
    status, _, err = bayesrun(tmp_path, *BRIEF, "sampler.draws=2000", "sampler.tune=500", f"{RATE}=4")
    assert status == 0, err
    (single,) = tmp_path.glob("runs/*/*/posterior.nc")
    ours = az.from_netcdf(str(only_sweep_first(outputs) / "3" / "posterior.nc")).posterior
    theirs = az.from_netcdf(str(single)).posterior
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours.data_vars)


def only_sweep_first(outputs):
    return sweeps(outputs)[0]


def test_each_job_draws_what_the_sweep_says(prior_sweep, tmp_path):
    outputs, _ = prior_sweep
    assert not list((only_sweep_first(outputs) / "0").glob("figures/*"))  # model.figures=[] was said
    short = [o for o in SHORT if not o.startswith("model.figures")]
    status, _, err = bayesrun(tmp_path, "-m", *short, f"{RATE}=1,2", "sweep.figures=[trace]")
    assert status == 0, err
    assert [p.name for p in only_sweep(tmp_path).glob("0/figures/*")] == ["trace.png"]


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (  # without a model, whatever else is wrong
            ["model=switchpoint", f"{RATE}=1,-1", "model.priors.late_rate.lam=2,'sin('"],
            [f"{RATE}: must be above 0 (got -1)\n    in jobs 3, 4 of 4", "model.priors.late_rate.lam: "],
        ),
        (  # by building the model
            ["model=switchpoint", "model.priors.late_rate.lam=2,nosuch"],
            ["late_rate.lam: unknown name 'nosuch'", "in job 2 of 2: late_rate.lam=nosuch"],
        ),
        (
            ["model=linear_regression", "model.priors.beta.sigma=1,[1,2,3]", "sampler.step={beta:Slice},{b:Slice}"],
            ["model.priors.beta.sigma: an axis of size 3", "the model has no free variable 'b'", "in jobs 3, 4 of 4"],
        ),
        (  # a declarative model, by the plan of its values
            ["model=eight_schools", "model.priors.tau.beta=5,x"],
            ["model.priors.tau.beta: unknown name 'x'", "in job 2 of 2: tau.beta=x"],
        ),
        (  # new rows, by what the fit teaches about them
            ["predict.data=linear_regression,robust_regression", "predict.group_by=obs,nosuch"],
            ["predictor 'X1' is not in data set 'robust_regression'", "have no column 'nosuch'", "in jobs 3, 4"],
        ),
    ],
)  # fmt: skip
def test_faults_of_all_points_come_at_once_and_nothing_is_started(tmp_path, overrides, told):
    status, out, err = bayesrun(tmp_path, "-m", *overrides)
    assert status == 1
    assert [words for words in told if words not in err] == []
    assert "Traceback" not in err + out
    assert "WARNING" not in err + out
    assert not list(tmp_path.iterdir())


def test_a_job_that_fails_is_a_row_and_the_others_go_on(tmp_path):
    # a prior so wide that no whole number holds the counts where the chains start
    status, out, _ = bayesrun(tmp_path, "-m", *SHORT, f"{RATE}=1,1.0e-308")
    table = table_of(only_sweep(tmp_path))
    assert status == 1
    failed = table[table["parameter"].isna()]
    assert list(failed["status"]) == ["failed"]
    assert failed["error"].str.len().iloc[0] > 10
    assert (table[table["parameter"] == "late_rate"]["status"] == "finished").any()
    assert "no posterior" in out


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["launcher", "group"])
def test_a_killed_sweep_is_finished_by_resume(tmp_path, victim):
    arguments = ["-m", "launcher=parallel", *SHORT, f"{RATE}=0.5,1,2,4,8"]
    process = subprocess.Popen(
        command(tmp_path, *arguments), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    wait_for(lambda: len(list(tmp_path.glob("sweeps/*/*/.jobs/*.json"))) >= 2, process)
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(family) >= 2
    (os.killpg if victim == "group" else os.kill)(process.pid, signal.SIGKILL)
    process.wait()
    folder = only_sweep(tmp_path)
    _, alive = psutil.wait_procs(family, timeout=120)  # what is orphaned sees that its parent is gone
    ended = psutil.STATUS_ZOMBIE  # not every init reaps at once
    assert [p for p in alive if p.is_running() and p.status() != ended] == []
    status, _, err = bayesrun(tmp_path, f"resume={folder}")
    assert status == 0, err
    assert not [p.name for p in Path("/dev/shm").iterdir() if str(process.pid) in re.split(r"[_-]", p.name)]
    table = table_of(folder)
    assert set(table["status"]) == {"finished"}
    assert sorted(set(table["jobs"])) == [0, 1, 2, 3, 4]
    found = runs(tmp_path)
    assert {r.info.status for r in found} == {"FINISHED"}
    assert sorted(r.data.tags["job"] for r in children(tmp_path)) == ["0", "1", "2", "3", "4"]
    assert len(found) == 6
    undisturbed = tmp_path / "undisturbed"
    status, _, err = bayesrun(undisturbed, *arguments)
    columns = ["parameter", "setting", "mean", "sd", "shift", "overlap", "verdict", "status", "jobs"]
    pd.testing.assert_frame_equal(table[columns], table_of(only_sweep(undisturbed))[columns])


@pytest.mark.slow
def test_a_killed_worker_costs_no_job(tmp_path):
    arguments = ["-m", "launcher=parallel", *SHORT, f"{RATE}=0.5,1,2,4"]
    process = subprocess.Popen(command(tmp_path, *arguments), cwd=ROOT, stdout=subprocess.PIPE, text=True)
    wait_for(lambda: list(tmp_path.glob("sweeps/*/*/.jobs/*.json")), process)
    worker = next(p for p in children_of(process.pid) if "loky" in Path(f"/proc/{p}/cmdline").read_text())
    os.kill(worker, signal.SIGKILL)
    process.communicate(timeout=600)
    assert process.returncode == 0
    table = table_of(only_sweep(tmp_path))
    assert set(table["status"]) == {"finished"}
    assert {r.info.status for r in runs(tmp_path)} == {"FINISHED"}
    assert sorted(r.data.tags["job"] for r in children(tmp_path)) == ["0", "1", "2", "3"]


@pytest.mark.slow
def test_fail_fast_stops_and_the_rest_is_skipped(tmp_path):
    status, _, _ = bayesrun(tmp_path, "-m", *SHORT, f"{RATE}=1,1.0e-308,2", "fail_fast=true")
    assert status == 1
    state = json.loads((only_sweep(tmp_path) / "sweep.json").read_text())
    assert [job["status"] for job in state["jobs"]] == ["finished", "failed", "skipped"]
