"""Series with missing values through the real command: their posterior goes on to later rows, compared by its draws."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from tests.conftest import ROOT, Command, only_run

SHORT = ["sampler.draws=500", "sampler.tune=500", "sampler.chains=2", "tracking=none", "model.figures=[]"]
LATER = "+predict.data={name: later, source: inline, dim: time, values: {time: [%s]}}"
MISSING = (20, 21, 60)


def _run(model: str, column: str, rows: int, folder: Path, bayesrun: Command) -> Path:
    """Run a shipped model with values taken out of its data, and forecast two rows."""
    source = next((ROOT / "conf" / "data").glob(f"{model}.yaml")).read_text()
    path = next(line.split(":", 1)[1].split("#")[0].strip() for line in source.splitlines() if line.startswith("path:"))
    table = pd.read_csv(ROOT / "data" / path).head(rows)
    table.loc[list(MISSING), column] = np.nan
    table.to_csv(folder / "series.csv", index=False)
    changed = [f"data.path={folder / 'series.csv'}", "data.sha256=null", f"paths.outputs={folder}"]
    done = bayesrun(f"model={model}", *changed, LATER % f"{rows}, {rows + 1}", *SHORT)
    assert done.returncode == 0, done.stderr
    return only_run(folder)


def _forecasts(run: Path) -> pd.DataFrame:
    table = pd.read_csv(run / "predictions.csv")
    return table[table["kind"] == "observation"].reset_index(drop=True)


def test_a_hidden_markov_chain_goes_on_from_its_last_states(tmp_path: Path, bayesrun: Command) -> None:
    run = _run("hmm", "y", 100, tmp_path, bayesrun)
    said = [f["message"] for f in json.loads((run / "findings.json").read_text()) if f["check"] == "loo"]
    assert "from 97 observed points (3 missing points are left out)" in said[0]
    with xr.open_dataset(run / "posterior.nc", group="posterior") as posterior:
        assert not [name for name in posterior if str(name).endswith("_missing")]
        theta, mu = (posterior[name].values.reshape(1000, *posterior[name].shape[2:]) for name in ("theta", "mu"))
        state = next(posterior[name] for name in posterior if str(name).endswith("_state")).values.reshape(1000, -1)
    chance = theta[np.arange(1000), state[:, -1]]
    for row, found in _forecasts(run).iterrows():
        mean = (chance * mu).sum(axis=1).mean()
        sd = np.sqrt((chance * (mu**2 + 1)).sum(axis=1).mean() - mean**2)
        assert abs(found["mean"] - mean) < 4.5 * sd / np.sqrt(1000), row
        assert abs(found["sd"] / sd - 1) < 0.1, row
        chance = np.einsum("sj,sjk->sk", chance, theta)


def test_an_arma_goes_on_from_its_last_errors(tmp_path: Path, bayesrun: Command) -> None:
    run = _run("arma", "y", 80, tmp_path, bayesrun)
    with xr.open_dataset(run / "posterior.nc", group="posterior") as posterior:
        imputed = next(str(name) for name in posterior if str(name).endswith("_missing"))
        assert posterior[imputed].shape == (2, 500, 3)
        mu, phi, theta, sigma = (posterior[n].values.ravel() for n in ("mu", "phi", "theta", "sigma"))
        error = posterior["err_end"].values.ravel()
    last = pd.read_csv(tmp_path / "series.csv")["y"].iloc[-1]
    first = mu + phi * last + theta * error
    second = mu + phi * first
    spread = (sigma**2, sigma**2 * (1 + (phi + theta) ** 2))
    for found, mean, variance in zip(_forecasts(run).to_dict("records"), (first, second), spread, strict=True):
        sd = np.sqrt(variance.mean() + mean.var())
        assert abs(found["mean"] - mean.mean()) < 4.5 * sd / np.sqrt(1000)
        assert found["sd"] == pytest.approx(sd, rel=0.1)


SERIES = """
name: series
type: declarative
priors:
  rho: {dist: Normal, mu: 0, sigma: 1, shape: 2}
  sigma: {dist: HalfNormal, sigma: 2}
  step: {dist: HalfNormal, sigma: 1}
  w: {dist: GaussianRandomWalk, sigma: step, steps: time, dims: [time]}
likelihood:
  y: {dist: AR, rho: rho, sigma: sigma, constant: true, observed: y}
  z: {dist: Normal, mu: w, sigma: 0.3, observed: z}
"""


def test_one_later_row_is_enough_for_an_autoregression_and_a_walk(tmp_path: Path, bayesrun: Command) -> None:
    rng = np.random.default_rng(4)
    y = [0.0]
    for shock in rng.normal(size=39):
        y.append(1 + 0.6 * y[-1] + shock)
    values = {"time": list(range(40)), "y": y, "z": rng.normal(size=40).cumsum().tolist()}
    data = json.dumps({"name": "series", "source": "inline", "dim": "time", "values": values})
    for path, text in (("model", SERIES), ("data", data)):
        (tmp_path / path).mkdir()
        (tmp_path / path / "series.yaml").write_text(text)
    given = ["--config-dir", tmp_path, "model=series", "data=series", f"paths.outputs={tmp_path}/out"]
    done = bayesrun(*given, LATER % "40", *SHORT, "report=false")
    assert done.returncode == 0, done.stderr
    run = only_run(tmp_path / "out")
    found = _forecasts(run).set_index("variable")
    with xr.open_dataset(run / "posterior.nc", group="posterior") as posterior:
        rho, w = (posterior[name].values.reshape(1000, -1) for name in ("rho", "w"))
        sigma, step = (posterior[name].values.ravel() for name in ("sigma", "step"))
    means = {"y": rho[:, 0] + rho[:, 1] * y[-1], "z": w[:, -1]}
    for name, variance in (("y", sigma**2), ("z", step**2 + 0.09)):
        sd = np.sqrt(variance.mean() + means[name].var())
        assert abs(found["mean"][name] - means[name].mean()) < 4.5 * sd / np.sqrt(1000)
        assert found["sd"][name] == pytest.approx(sd, rel=0.1)
