"""A run through the real command: what it writes to its folder and in MLflow, under the design's names."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import arviz as az
import numpy as np
import pandas as pd
import pytest
import yaml

from tests.conftest import ROOT, Command, only_run

FILES = {
    "config.yaml", "posterior.nc", "summary.csv", "metrics.json", "findings.json", "status.json", "provenance.json",
    "figures", "model.svg", "run.log",
}  # fmt: skip
METRICS = {
    "r_hat_max", "ess_bulk_min", "ess_tail_min", "mcse_max_ratio", "divergences", "bfmi_min", "tree_depth_saturated",
    "accept_mean", "elpd_loo", "elpd_loo_se", "p_loo", "pareto_k_max", "elpd_waic", "n_draws", "seconds_compile",
    "seconds_sample", "seconds_total", "ess_per_second",
}  # fmt: skip
TAGS = {"verdict", "status", "model", "data", "config_digest", "data_digest", "git_commit", "steps"}
GROUPS = {
    "posterior", "sample_stats", "log_likelihood", "observed_data", "constant_data", "prior", "prior_predictive",
    "posterior_predictive",
}  # fmt: skip
COLUMNS = ["name", "mean", "sd", "hdi_3%", "hdi_97%", "mcse_mean", "mcse_sd", "ess_bulk", "ess_tail", "r_hat"]


@pytest.fixture(scope="module")
def compound(bayesrun: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tutorial's switchpoint at the default draws; returns its outputs folder."""
    outputs = tmp_path_factory.mktemp("compound")
    done = bayesrun("model=switchpoint", "model.options.form=compound", f"paths.outputs={outputs}")
    assert done.returncode == 0, done.stderr
    (outputs / "console.txt").write_text(done.stdout)
    return outputs


def test_the_folder_has_every_file(compound: Path) -> None:
    folder = only_run(compound)
    assert {p.name for p in folder.iterdir()} >= FILES
    figures = {p.stem for p in (folder / "figures").glob("*.png")}
    assert figures >= {"trace", "posterior", "rank", "energy", "ppc"}
    assert not list(folder.glob(".*")), "a temporary file was left"


def test_posterior_has_every_group_and_labels(compound: Path) -> None:
    idata = az.from_netcdf(only_run(compound) / "posterior.nc")
    assert set(idata.groups()) >= GROUPS
    assert idata.posterior.sizes["chain"] == 4
    assert idata.posterior.sizes["draw"] == 1000
    assert idata.posterior["disasters_missing"]["year_missing"].values.tolist() == [1890, 1934]
    assert idata.observed_data["disasters"]["year"].values[[0, -1]].tolist() == [1851, 1961]
    assert int(np.isnan(idata.observed_data["disasters"]).sum()) == 2


def test_the_verdict_of_the_compound_step_is_honest(compound: Path) -> None:
    folder = only_run(compound)
    findings = json.loads((folder / "findings.json").read_text())
    status = json.loads((folder / "status.json").read_text())
    assert status["status"] == "finished"
    assert status["verdict"] in ("warn", "fail")
    assert {"ess"} <= {f["check"] for f in findings if f["severity"] != "ok"}
    assert set(findings[0]) == {"check", "severity", "variable", "value", "threshold", "message", "remedy"}
    assert f"verdict: {status['verdict']}" in (compound / "console.txt").read_text()


def test_the_summary_has_its_columns_and_labels(compound: Path) -> None:
    table = pd.read_csv(only_run(compound) / "summary.csv")
    assert list(table.columns) == COLUMNS
    assert "disasters_missing[1890]" in set(table["name"])


def test_metrics_and_mlflow_have_the_designs_names(compound: Path) -> None:
    from mlflow import MlflowClient

    folder = only_run(compound)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert set(metrics) >= METRICS | {"mean/early_rate", "sd/disasters_missing.1890"}
    client = MlflowClient(f"sqlite:///{compound}/mlflow.db")
    experiment = client.get_experiment_by_name("switchpoint")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert set(run.data.tags) >= TAGS
    assert set(run.data.metrics) >= set(metrics) | {"progress", "divergences_so_far"}
    for name, value in metrics.items():
        assert run.data.metrics[name] == pytest.approx(value)
    assert run.data.params["model.priors.early_rate.lam"] == "1"
    assert run.inputs.dataset_inputs[0].dataset.name == "mining_disasters"
    assert "early_rate" in run.data.tags["mlflow.note.content"]
    artifacts = {a.path for a in client.list_artifacts(run.info.run_id)}
    assert artifacts >= FILES
    assert json.loads(run.data.tags["steps"])["switchpoint"] == "Metropolis"


def test_a_run_folder_runs_again_with_the_same_draws(compound: Path, bayesrun: Command, tmp_path: Path) -> None:
    first = only_run(compound)
    done = bayesrun("--config-dir", str(first), "--config-name", "config", f"paths.outputs={tmp_path}")
    assert done.returncode == 0, done.stderr
    second = only_run(tmp_path)
    assert second != first
    one, two = (az.from_netcdf(f / "posterior.nc").posterior for f in (first, second))
    assert one.identical(two) or all(np.array_equal(one[v], two[v]) for v in one.data_vars)
    configs = [yaml.safe_load((f / "config.yaml").read_text()) for f in (first, second)]
    for config in configs:
        del config["paths"], config["tracking"]
    assert configs[0] == configs[1]


def test_linear_regression_meets_least_squares(bayesrun: Command, tmp_path: Path) -> None:
    flat = [f"model.priors.{n}.sigma=1000" for n in ("alpha", "beta", "sigma")]
    done = bayesrun("model=linear_regression", *flat, f"paths.outputs={tmp_path}", "tracking=none", "model.figures=[]")
    assert done.returncode == 0, done.stderr
    idata = az.from_netcdf(only_run(tmp_path) / "posterior.nc")
    data = idata.constant_data
    design = np.column_stack([np.ones(data.sizes["obs"]), data["X1"], data["X2"]])
    exact = np.linalg.lstsq(design, data["Y"].values, rcond=None)[0]
    table = pd.read_csv(only_run(tmp_path) / "summary.csv", index_col="name")
    for name, value in zip(["alpha", "beta[X1]", "beta[X2]"], exact, strict=True):
        assert abs(table.loc[name, "mean"] - value) < 4 * table.loc[name, "mcse_mean"]


@pytest.mark.parametrize("engine", ["nutpie", "pymc3"])
def test_the_same_seed_gives_the_same_draws(engine: str, bayesrun: Command, tmp_path: Path) -> None:
    draws = []
    for name in ("a", "b"):
        outputs = tmp_path / name
        small = ["sampler.draws=50", "sampler.tune=50", "sampler.chains=2", "tracking=none", "model.figures=[]"]
        done = bayesrun("model=linear_regression", f"sampler.engine={engine}", *small, f"paths.outputs={outputs}")
        assert done.returncode == 0, done.stderr
        draws.append(az.from_netcdf(only_run(outputs) / "posterior.nc").posterior)
    for variable in draws[0].data_vars:
        assert np.array_equal(draws[0][variable], draws[1][variable])


@pytest.mark.parametrize("engine", ["nutpie", "pymc3"])
def test_max_seconds_keeps_the_draws_so_far(engine: str, bayesrun: Command, tmp_path: Path) -> None:
    long = ["sampler.draws=1000000", "sampler.tune=200", "sampler.chains=2", "sampler.max_seconds=3"]
    done = bayesrun(
        "model=linear_regression", f"sampler.engine={engine}", *long, "tracking=none", "model.figures=[]",
        "predictive.posterior=false", "diagnostics.log_likelihood=false", f"paths.outputs={tmp_path}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    folder = only_run(tmp_path)
    assert json.loads((folder / "status.json").read_text())["status"] == "partial"
    assert az.from_netcdf(folder / "posterior.nc").posterior.sizes["draw"] > 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_keeps_the_draws_and_is_told(number: signal.Signals, tmp_path: Path) -> None:
    arguments = ["sampler.draws=500000", "sampler.tune=100", "sampler.chains=2", f"paths.outputs={tmp_path}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "bayesrun", "model=linear_regression", *arguments, "model.figures=[]",
         "predictive.posterior=false", "diagnostics.log_likelihood=false", "sampler.progress=true"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    _wait_for(lambda: any(_sampling(p) for p in tmp_path.glob("runs/*/*/run.log")))
    time.sleep(3)  # the tuning draws are made in that time
    process.send_signal(number)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 130, output
    assert "Traceback" not in output
    folder = only_run(tmp_path)
    assert json.loads((folder / "status.json").read_text())["status"] == "partial"
    assert az.from_netcdf(folder / "posterior.nc").posterior.sizes["draw"] > 1
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("linear_regression").experiment_id])
    assert run.info.status == "KILLED"


def _sampling(log: Path) -> bool:
    return "first draw" in log.read_text()


def _wait_for(condition, seconds: float = 120) -> None:  # type: ignore[no-untyped-def]
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not begin to sample"
        time.sleep(0.2)


def test_a_verdict_of_fail_can_be_the_exit_status(bayesrun: Command, tmp_path: Path) -> None:
    few = ["sampler.draws=20", "sampler.tune=20", "sampler.chains=2", "model.figures=[]", "tracking=none"]
    done = bayesrun("model=linear_regression", *few, "diagnostics.fail_run=true", f"paths.outputs={tmp_path}")
    assert done.returncode == 3, done.stdout + done.stderr


@pytest.mark.slow
def test_the_compound_switchpoint_meets_its_exact_posterior(bayesrun: Command, tmp_path: Path) -> None:
    done = bayesrun(
        "model=switchpoint", "model.options.form=compound", "sampler.draws=10000", f"paths.outputs={tmp_path}",
        "tracking=none", "model.figures=[]", "predictive.posterior=false", "diagnostics.log_likelihood=false",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    exact = {
        "switchpoint": (1889.7841, 2.4406), "early_rate": (3.08704, 0.28602), "late_rate": (0.93173, 0.11748),
        "disasters_missing[1890]": (2.1522, 1.8108), "disasters_missing[1934]": (0.9317, 0.9724),
    }  # fmt: skip
    table = pd.read_csv(only_run(tmp_path) / "summary.csv", index_col="name")
    for name, (mean, sd) in exact.items():
        row = table.loc[name]
        assert abs(row["mean"] - mean) < 4 * row["mcse_mean"], name
        assert abs(row["sd"] - sd) < max(4 * row["mcse_sd"], 0.05 * sd), name
