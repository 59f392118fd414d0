"""`task=sbc` through the real command: what is right passes, planted errors are found, and no fit is made twice."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import psutil
import pytest

from tests.conftest import ROOT, Command, only_run
from tests.integration.killing import LINE

MODEL = """
name: counts
type: declarative
priors:
  rate: {dist: Gamma, alpha: 4, beta: 1}
  early: {dist: Bernoulli, p: 0.5}
likelihood:
  y: {dist: Poisson, mu: "rate + 2 * early", observed: y}
"""
DATA = "obs,y\n" + "".join(f"{row},{y}\n" for row, y in enumerate([3, 5, 2, 4, "", 6]))
AVERAGE = """
name: average
type: declarative
priors:
  theta: {dist: Normal, mu: 0, sigma: 0.5}
  sigma: {dist: HalfNormal, sigma: 1}
recurrence: {over: obs, state: {error: 0.0}, step: {forecast: "theta * error[t-1]", error: "x - forecast"}}
likelihood:
  y: {dist: Normal, mu: forecast, sigma: sigma, observed: x}
"""
SHORT = ("model.figures=[]", "sampler.draws=300", "sampler.tune=200", "sbc.ranks=49")


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write two models and their data."""
    folder = tmp_path_factory.mktemp("own")
    numbers = "x\n0.3\n1.2\n-0.5\n0.9\n0.1\n"
    for name, model, data in (("counts", MODEL, DATA), ("line", LINE, numbers), ("average", AVERAGE, numbers)):
        (folder / "model").mkdir(exist_ok=True)
        (folder / "data").mkdir(exist_ok=True)
        (folder / "model" / f"{name}.yaml").write_text(model)
        (folder / f"{name}.csv").write_text(data)
        drop = "drop_missing: impute\n" if name == "counts" else ""
        (folder / "data" / f"{name}.yaml").write_text(f"name: {name}\nsource: csv\npath: {folder / name}.csv\n{drop}")
    return folder


def _sbc(bayesrun: Command, own: Path, model: str, outputs: Path, *more: str):  # type: ignore[no-untyped-def]
    given = ["--config-dir", str(own), f"model={model}", f"data={model}", f"paths.outputs={outputs}", *SHORT]
    return bayesrun("task=sbc", *given, *more)


def _status(folder: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((folder / "status.json").read_text())
    return found


def _wrong(folder: Path) -> set[str]:
    table = pd.read_csv(folder / "calibration.csv")
    return set(table["quantity"][table["p_adjusted"] < 0.05])


def test_a_right_model_passes_with_discrete_and_missing_values(bayesrun: Command, tmp_path: Path) -> None:
    given = ["model=switchpoint", f"paths.outputs={tmp_path}", *SHORT, "sbc.fits=25"]
    done = bayesrun("task=sbc", *given)
    assert done.returncode == 0, done.stderr
    assert "verdict: ok (25 fits: the ranks of all 6 quantities are uniform" in done.stdout
    folder = only_run(tmp_path)
    ranks = pd.read_csv(folder / "ranks.csv")
    assert list(ranks["fit"]) == list(range(25))
    missing = {"disasters_missing[1890]", "disasters_missing[1934]"}
    named = {"early_rate", "late_rate", "switchpoint", "log_likelihood", "fit"}
    assert set(ranks.columns) == missing | named
    assert ranks.drop(columns="fit").to_numpy().max() <= 49
    expected = {"status": "finished", "verdict": "ok", "error": None, "task": "sbc", "parent": None}
    assert _status(folder) == expected
    assert (folder / "figures" / "rank_ecdf.png").stat().st_size > 10_000
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["sbc_fits"] == 25 and metrics["sbc_p_adjusted_min"] > 0.05
    (run,) = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db").search_runs(["1"])
    assert run.data.metrics["sbc_fits"] == 25 and run.data.tags["task"] == "sbc" and run.data.tags["verdict"] == "ok"


@pytest.mark.slow
def test_an_engines_own_steps_are_calibrated_with_discrete_parameters(
    bayesrun: Command, own: Path, tmp_path: Path
) -> None:
    short = ["tracking=none", "sbc.fits=20", "sampler.draws=100", "sampler.tune=100", "sbc.ranks=9"]
    done = _sbc(bayesrun, own, "counts", tmp_path, *short)
    assert done.returncode == 0, done.stderr
    assert _status(only_run(tmp_path))["verdict"] == "ok", done.stdout
    ranks = pd.read_csv(only_run(tmp_path) / "ranks.csv")
    assert {"rate", "early", "y_missing[4]", "log_likelihood", "fit"} == set(ranks.columns)


@pytest.mark.parametrize(
    "simulate, seen",
    [("{priors: {mu: {sigma: 4}}}", "mu"), ("{likelihood: {x: {sigma: 3 * sigma}}}", "sigma")],
    ids=["prior", "likelihood"],
)
def test_a_model_that_does_not_simulate_the_data_fails(
    bayesrun: Command, own: Path, tmp_path: Path, simulate: str, seen: str
) -> None:
    wrong = ["tracking=none", "sbc.fits=40", "diagnostics.fail_run=true", f"sbc.simulate={simulate}"]
    done = _sbc(bayesrun, own, "line", tmp_path, *wrong)
    assert done.returncode == 3, done.stderr
    folder = only_run(tmp_path)
    assert _status(folder)["verdict"] == "fail"
    assert seen in _wrong(folder)
    assert "verdict: fail" in done.stdout and "not uniform" in done.stdout


def test_a_sampler_that_ignores_the_data_is_seen_by_the_log_likelihood(
    bayesrun: Command, own: Path, tmp_path: Path
) -> None:
    done = _sbc(bayesrun, own, "line", tmp_path, "tracking=none", "sbc.fits=40", "sampler=prior")
    assert done.returncode == 0, done.stderr
    folder = only_run(tmp_path)
    assert _wrong(folder) == {"log_likelihood"}
    assert _status(folder)["verdict"] == "fail"


def test_quantities_of_ones_own_are_ranked(bayesrun: Command, own: Path, tmp_path: Path) -> None:
    """A distance of the data from a parameter sees a sampler that ignores the data; functions of parameters can not."""
    asked = 'sbc.quantities={misfit: "abs(mean(x) - mu)", ratio: mu / sigma, twice: 2 * mu}'
    done = _sbc(bayesrun, own, "line", tmp_path, "tracking=none", "sbc.fits=40", "sampler=prior", asked)
    assert done.returncode == 0, done.stderr
    folder = only_run(tmp_path)
    assert _wrong(folder) == {"log_likelihood", "misfit"}
    ranks, truth = pd.read_csv(folder / "ranks.csv"), _truths(tmp_path)
    assert {"mu", "sigma", "misfit", "ratio", "twice", "log_likelihood", "fit"} == set(ranks.columns)
    assert (ranks["twice"] == ranks["mu"]).all()
    assert truth[:, 3] == pytest.approx(truth[:, 0] / truth[:, 1])
    for quantities, said in (
        ('{odd: "log(mu)"}', "sbc.quantities: sbc.quantities.odd is not a number for some draws"),
        ("{odd: mu + tau}", "sbc.quantities.odd: unknown name 'tau'"),
        ("{mu: 2 * mu}", "sbc.quantities.mu: the name 'mu' is that of a variable, which is ranked anyway"),
    ):
        refused = _sbc(bayesrun, own, "line", tmp_path / "refused", f"sbc.quantities={quantities}", "tracking=none")
        assert refused.returncode == 1 and said in refused.stderr, refused.stderr
    assert not list((tmp_path / "refused").glob("runs/*"))


def _truths(outputs: Path) -> np.ndarray:
    (cache,) = outputs.glob("fits/sbc_*")
    return np.stack([np.load(path)["truth"] for path in sorted(cache.glob("[0-9]*.npz"))])


def test_a_killed_command_loses_no_fit(bayesrun: Command, own: Path, tmp_path: Path) -> None:
    given = ["--config-dir", str(own), "model=line", "data=line", f"paths.outputs={tmp_path}", *SHORT, "sbc.fits=25"]
    command = [sys.executable, "-m", "bayesrun", "task=sbc", *given]
    program = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while len(list(tmp_path.glob("fits/sbc_*/[0-9]*.npz"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    workers = psutil.Process(program.pid).children(recursive=True)
    program.send_signal(signal.SIGKILL)
    program.wait()
    psutil.wait_procs(workers, timeout=240)
    kept = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("fits/sbc_*/[0-9]*.npz")}
    assert 3 <= len(kept) < 25
    done = _sbc(bayesrun, own, "line", tmp_path, "sbc.fits=25")
    assert done.returncode == 0, done.stderr
    assert f"{len(kept)} fits were made before." in done.stdout
    now = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("fits/sbc_*/[0-9]*.npz")}
    assert len(now) == 25 and all(now[name] == at for name, at in kept.items())
    more = _sbc(bayesrun, own, "line", tmp_path, "sbc.fits=26")
    assert "25 fits were made before." in more.stdout, more.stderr


def test_the_posterior_of_a_run_is_calibrated_near_its_data(bayesrun: Command, own: Path, tmp_path: Path) -> None:
    given = ["--config-dir", str(own), "model=line", "data=line", f"paths.outputs={tmp_path / 'one'}"]
    fitted = bayesrun(*given, "sampler.draws=200", "tracking=none", "model.figures=[]")
    assert fitted.returncode == 0, fitted.stderr
    parent = only_run(tmp_path / "one")
    more = [f"paths.outputs={tmp_path / 'two'}", "tracking=none", *SHORT, "sbc.fits=30"]
    done = bayesrun("task=sbc", f"run={parent}", *more)
    assert done.returncode == 0, done.stderr
    assert "each fit has the run's data and new ones" in done.stdout
    folder = only_run(tmp_path / "two")
    assert _status(folder)["parent"] == str(parent) and _status(folder)["verdict"] != "fail"
    truths = _truths(tmp_path / "two")
    posterior = pd.read_csv(parent / "summary.csv", index_col="name")
    assert abs(truths[:, 0].mean() - posterior.loc["mu", "mean"]) < 4 * posterior.loc["mu", "sd"] / np.sqrt(30)


def test_a_series_is_calibrated_with_a_second_one_beside_it(bayesrun: Command, own: Path, tmp_path: Path) -> None:
    given = ["--config-dir", str(own), "model=average", "data=average", f"paths.outputs={tmp_path / 'one'}"]
    fitted = bayesrun(*given, "sampler.draws=200", "tracking=none", "model.figures=[]")
    assert fitted.returncode == 0, fitted.stderr
    more = [f"paths.outputs={tmp_path / 'two'}", "tracking=none", *SHORT, "sbc.fits=30"]
    done = bayesrun("task=sbc", f"run={only_run(tmp_path / 'one')}", *more)
    assert done.returncode == 0, done.stderr
    assert "each fit has the run's data and new ones" in done.stdout
    assert _status(only_run(tmp_path / "two"))["verdict"] != "fail"


def test_what_can_not_be_simulated_is_refused_before_a_fit(bayesrun: Command, own: Path, tmp_path: Path) -> None:
    flat = _sbc(bayesrun, own, "line", tmp_path, "tracking=none", "model.priors.mu={dist: Flat}")
    assert flat.returncode == 1
    assert "these variables have a flat prior: mu\n    give them a proper prior" in flat.stderr
    potential = _sbc(bayesrun, own, "line", tmp_path, "tracking=none", "+model.potentials.soft=-mu**2")
    assert "model.potentials.soft: the model has a potential" in potential.stderr
    few = _sbc(bayesrun, own, "line", tmp_path, "tracking=none", "sbc.fits=3")
    assert "sbc.fits: must be at least 20 (got 3)" in few.stderr
    assert not list(tmp_path.glob("runs/*"))
