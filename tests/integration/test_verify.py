"""`task=verify` through the real command: known posteriors are met, and a wrong sampler is not."""

from __future__ import annotations

import json
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats

from bayesrun.pipeline import load_data
from bayesrun.tasks.known_posteriors import KNOWN
from tests.composing import parsed
from tests.conftest import Command, only_run


@pytest.mark.slow
def test_all_known_posteriors_are_met(bayesrun: Command, tmp_path: Path) -> None:
    done = bayesrun("task=verify", f"paths.outputs={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert "verdict: ok (108 means and sds, the largest difference is " in done.stdout
    folder = only_run(tmp_path)
    table = pd.read_csv(folder / "verify.csv")
    assert set(table["model"]) == set(KNOWN)
    assert np.allclose(table["in_mcse"], (table["found"] - table["exact"]) / table["mcse"])
    assert json.loads((folder / "status.json").read_text())["verdict"] == "ok"
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("verify").experiment_id])
    assert run.data.tags["verdict"] == "ok" and run.data.metrics["verify_moments"] == 108


def test_a_sampler_that_is_wrong_is_seen(bayesrun: Command, tmp_path: Path) -> None:
    models = "verify.models=[beta_binomial,eight_schools]"
    wrong = ["sampler=prior", models, "diagnostics.fail_run=true"]
    done = bayesrun("task=verify", f"paths.outputs={tmp_path}", "tracking=none", *wrong)
    assert done.returncode == 3, done.stderr
    assert "verdict: fail (38 means and sds" in done.stdout
    assert "beta_binomial: the mean of p is 0.3" in done.stdout or "beta_binomial: the mean of p is 0.4" in done.stdout
    assert json.loads((only_run(tmp_path) / "status.json").read_text())["verdict"] == "fail"


def test_what_can_not_be_verified_is_told(bayesrun: Command, tmp_path: Path) -> None:
    done = bayesrun("task=verify", f"paths.outputs={tmp_path}", "verify.models=[eight_school]")
    assert done.returncode == 1
    assert "verify.models[0]: unknown model 'eight_school'\n    did you mean 'eight_schools'?" in done.stderr
    other = bayesrun("task=verify", f"paths.outputs={tmp_path}", "model=switchpoint")
    assert "model: has no meaning for this task\n    allowed: sampler, engine" in other.stderr
    assert not list(tmp_path.glob("runs/*"))


def test_moments_of_the_eight_schools_are_those_of_the_published_reference() -> None:
    data = parsed_data("eight_schools")
    exact = KNOWN["eight_schools"].exact(data)
    # posteriordb, eight_schools-eight_schools_noncentered: 10,000 independent draws
    for name, mean, sd in (("mu", 4.4105, 3.3093), ("tau", 3.6021, 3.1985)):
        assert abs(float(exact[name][0]) - mean) < 4 * sd / 100
        assert abs(float(exact[name][1]) / sd - 1) < 0.05
    assert abs(float(exact["theta"][0][0]) - 6.1505) < 4 * 5.6159 / 100


def test_the_kalman_smoother_is_the_joint_normal() -> None:
    y = np.array(KNOWN["local_level"].data["values"]["y"])  # type: ignore[index]
    places = np.arange(len(y))
    prior = 9.0 + 0.25 * np.minimum.outer(places, places)
    gain = prior @ np.linalg.inv(prior + np.eye(len(y)))
    mean, sd = KNOWN["local_level"].exact(xr.Dataset({"y": ("obs", y)}))["level"]
    assert np.allclose(mean, gain @ y) and np.allclose(sd, np.sqrt(np.diag(prior - gain @ prior)))


def test_the_integral_of_the_regression_is_that_of_a_fine_grid() -> None:
    data = parsed_data("linear_regression")
    y, x = data["Y"].values, np.column_stack([np.ones(100), data["X1"].values, data["X2"].values])
    sigma = np.linspace(0.5, 2.0, 400)
    evidence = [
        stats.multivariate_normal(np.zeros(100), 100.0 * x @ x.T + s**2 * np.eye(100)).logpdf(y) - 0.5 * s**2
        for s in sigma
    ]
    weights = np.exp(np.array(evidence) - max(evidence))
    mean, sd = KNOWN["linear_regression"].exact(data)["sigma"]
    expected = np.average(sigma, weights=weights)
    assert abs(float(mean) - expected) < 1e-6
    assert abs(float(sd) - np.sqrt(np.average((sigma - expected) ** 2, weights=weights))) < 1e-6


def parsed_data(model: str):  # type: ignore[no-untyped-def]
    return load_data(parsed(f"model={model}"))[0]
