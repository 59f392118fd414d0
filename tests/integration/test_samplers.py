"""The real command with every sampler but the default: its folder, its verdict, its numbers."""

from __future__ import annotations

import json
from pathlib import Path

import arviz as az
import numpy as np
import pandas as pd
import pytest

from tests.conftest import Command, only_run

EXACT = {
    "switchpoint": (1889.7841, 2.4406),
    "early_rate": (3.08704, 0.28602),
    "late_rate": (0.93173, 0.11748),
    "disasters_missing[1890]": (2.1522, 1.8108),
    "disasters_missing[1934]": (0.9317, 0.9724),
}
"""Means and sds of the switchpoint's exact posterior."""


def finished(bayesrun: Command, outputs: Path, *words: str) -> Path:
    done = bayesrun(*words, "tracking=none", "model.figures=[]", f"paths.outputs={outputs}")
    assert done.returncode == 0, done.stderr
    folder = only_run(outputs)
    assert json.loads((folder / "status.json").read_text())["status"] == "finished"
    return folder


def findings(folder: Path) -> set[str]:
    return {f["check"] for f in json.loads((folder / "findings.json").read_text())}


@pytest.mark.parametrize("form", ["marginal", "compound"])
def test_smc_meets_the_exact_posterior_of_the_switchpoint(form: str, bayesrun: Command, tmp_path: Path) -> None:
    folder = finished(bayesrun, tmp_path, "model=switchpoint", "sampler=smc", f"model.options.form={form}")
    table = pd.read_csv(folder / "summary.csv", index_col="name")
    for name, (mean, sd) in EXACT.items():
        row = table.loc[name]
        assert abs(row["mean"] - mean) < 4 * row["mcse_mean"], name
        assert abs(row["sd"] - sd) < max(4 * row["mcse_sd"], 0.05 * sd), name
    assert {"r_hat", "ess", "particles", "loo"} <= findings(folder)
    evidence = az.from_netcdf(folder / "posterior.nc").sample_stats["log_marginal_likelihood"]
    assert evidence.dims == ("chain",)
    metric = json.loads((folder / "metrics.json").read_text())["log_marginal_likelihood"]
    assert metric == pytest.approx(float(np.log(np.exp(evidence - metric).mean()) + metric))


def test_advi_is_near_the_posterior_and_judged_by_its_bound(bayesrun: Command, tmp_path: Path) -> None:
    folder = finished(bayesrun, tmp_path, "model=linear_regression", "sampler=advi", "model.priors.alpha.sigma=100")
    idata = az.from_netcdf(folder / "posterior.nc")
    data = idata.constant_data
    design = np.column_stack([np.ones(data.sizes["obs"]), data["X1"], data["X2"]])
    exact = np.linalg.lstsq(design, data["Y"].values, rcond=None)[0]
    table = pd.read_csv(folder / "summary.csv", index_col="name")
    for name, value in zip(["alpha", "beta[X1]", "beta[X2]"], exact, strict=True):
        assert abs(table.loc[name, "mean"] - value) < 0.15 * table.loc[name, "sd"]
    assert findings(folder) == {"elbo", "approximation"}
    assert idata.sample_stats["elbo"].dims == ("iteration",)
    assert {"elbo", "approximation_k"} <= set(json.loads((folder / "metrics.json").read_text()))


def test_prior_shows_what_the_model_believes_before_the_data(bayesrun: Command, tmp_path: Path) -> None:
    folder = finished(bayesrun, tmp_path, "model=switchpoint", "sampler.method=prior")
    table = pd.read_csv(folder / "summary.csv", index_col="name")
    for name, mean in {
        "switchpoint": 1906.0,
        "early_rate": 1.0,
        "late_rate": 1.0,
        "disasters_missing[1890]": 1.0,
    }.items():
        assert abs(table.loc[name, "mean"] - mean) < 4 * table.loc[name, "mcse_mean"], name
    assert json.loads((folder / "status.json").read_text())["verdict"] == "ok"


def test_what_a_method_can_not_sample_leaves_nothing_behind(bayesrun: Command, tmp_path: Path) -> None:
    done = bayesrun("model=arbitrary_deterministic", "sampler=advi", f"paths.outputs={tmp_path}/out", "tracking=none")
    assert done.returncode == 1
    assert "sampler.method: advi approximates continuous variables only" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.rglob("*.json"))


def test_the_time_limit_draws_from_the_fit_so_far(bayesrun: Command, tmp_path: Path) -> None:
    long = ["sampler.iterations=5000000", "sampler.max_seconds=1", "sampler.draws=100"]
    done = bayesrun(
        "model=linear_regression",
        "sampler=advi",
        *long,
        "tracking=none",
        "model.figures=[]",
        f"paths.outputs={tmp_path}",
    )
    assert done.returncode == 0, done.stderr
    folder = only_run(tmp_path)
    assert json.loads((folder / "status.json").read_text())["status"] == "partial"
    assert az.from_netcdf(folder / "posterior.nc").posterior.sizes["draw"] == 100
