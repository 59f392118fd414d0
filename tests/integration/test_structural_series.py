"""Structural time series through the real command, against the exact posterior of two parameters on a grid."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats

from tests.conftest import ROOT, Command, only_run

SHORT = ["sampler.draws=1000", "sampler.tune=500", "sampler.chains=2", "tracking=none", "model.figures=[]"]
YEARS = "+predict.data={{name: new, source: inline, dim: year, values: {{year: {}}}}}"
MISSING = (1890, 1950)
"""Years whose flow is taken out."""


@dataclass(frozen=True)
class Exact:
    """The posterior of the local level of the Nile on a grid, and the moments of what follows from it."""

    mean: dict[str, float]
    sd: dict[str, float]


def _grid() -> tuple[Any, Any, Any]:
    """Return the cells of a grid over both sds, with the log prior at them."""
    sigma, drift = np.meshgrid(np.linspace(60, 200, 141), np.linspace(0.5, 200, 134), indexing="ij")
    log_prior = stats.halfnorm.logpdf(sigma, scale=200) + stats.halfnorm.logpdf(drift, scale=100)
    return sigma, drift, log_prior


@pytest.fixture(scope="module")
def exact() -> Exact:
    """Sum over the grid; at each cell the filter is that of a single number, written out."""
    flow = pd.read_csv(ROOT / "data" / "nile.csv", index_col="year")["flow"].astype(float)
    flow[list(MISSING)] = np.nan
    sigma, drift, log_density = _grid()
    level, variance = np.full(sigma.shape, 1000.0), np.full(sigma.shape, 500.0**2)
    for y in flow:
        if not np.isnan(y):
            width = variance + sigma**2
            log_density = log_density + stats.norm.logpdf(y, level, np.sqrt(width))
            level = level + variance / width * (y - level)
            variance = variance * sigma**2 / width
        last = level, variance
        variance = variance + drift**2
    weights = np.exp(log_density - log_density.max())
    weights /= weights.sum()
    level, variance = last

    def moments(mean: Any, var: Any) -> tuple[float, float]:
        centre = float((weights * mean).sum())
        return centre, float(np.sqrt((weights * (var + (mean - centre) ** 2)).sum()))

    found = {
        "sigma": moments(sigma, 0.0),
        "sd_level": moments(drift, 0.0),
        "flow_level[1970]": moments(level, variance),
        "flow_end[level]": moments(level, variance),
        "1971": moments(level, variance + drift**2 + sigma**2),
        "1975": moments(level, variance + 5 * drift**2 + sigma**2),
    }
    return Exact({n: m for n, (m, _) in found.items()}, {n: s for n, (_, s) in found.items()})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, bayesrun: Command) -> Path:
    """Return a run of the shipped model with two years missing, with forecasts of two later years."""
    folder = tmp_path_factory.mktemp("nile")
    table = (ROOT / "data" / "nile.csv").read_text().splitlines()
    kept = [f"{line[:5]}" if line[:4] in map(str, MISSING) else line for line in table]
    (folder / "nile.csv").write_text("\n".join(kept) + "\n")
    changed = [f"data.path={folder / 'nile.csv'}", "data.sha256=null", f"paths.outputs={folder}"]
    done = bayesrun("model=local_level", *changed, YEARS.format("[1971, 1975]"), *SHORT)
    assert done.returncode == 0, done.stderr
    return only_run(folder)


def test_the_posterior_is_exact_up_to_monte_carlo_error(run: Path, exact: Exact) -> None:
    summary = pd.read_csv(run / "summary.csv", index_col="name")
    for name in ("sigma", "sd_level", "flow_level[1970]", "flow_end[level]"):
        row = summary.loc[name]
        assert abs(row["mean"] - exact.mean[name]) < 4 * np.hypot(row["mcse_mean"], exact.sd[name] / 200), name
        assert abs(row["sd"] / exact.sd[name] - 1) < 0.1, name
    assert json.loads((run / "status.json").read_text())["verdict"] == "ok"


def test_later_years_are_forecast_from_the_last_one(run: Path, exact: Exact) -> None:
    table = pd.read_csv(run / "predictions.csv")
    found = table[table["kind"] == "observation"].set_index("year")
    for year in (1971, 1975):
        wanted, width = exact.mean[str(year)], exact.sd[str(year)]
        assert abs(found.loc[year, "mean"] - wanted) < 4.5 * width / np.sqrt(1000)
        assert abs(found.loc[year, "sd"] / width - 1) < 0.12


def test_missing_years_have_no_term_and_are_predicted(run: Path) -> None:
    said = [f["message"] for f in json.loads((run / "findings.json").read_text()) if f["check"] == "loo"]
    assert "from 98 observed points (2 missing points are left out)" in said[0]
    with xr.open_dataset(run / "posterior.nc", group="posterior") as posterior:
        assert "flow_missing" not in posterior
        level = posterior["flow_level"].sel(year=list(MISSING)).mean(("chain", "draw")).values
    with xr.open_dataset(run / "posterior.nc", group="posterior_predictive") as predicted:
        drawn = predicted["flow"].sel(year=list(MISSING))
    assert (np.abs(drawn.mean(("chain", "draw")).values - level) < 4.5 * 150 / np.sqrt(1000)).all()
    with xr.open_dataset(run / "posterior.nc", group="observed_data") as seen:
        assert np.isnan(seen["flow"].sel(year=list(MISSING)).values).all()


def test_forecasts_of_a_finished_run_go_on_and_other_years_are_refused(
    run: Path, exact: Exact, bayesrun: Command, tmp_path: Path
) -> None:
    task = ["task=predict", f"run={run}", f"paths.outputs={tmp_path}", "tracking=none"]
    done = bayesrun(*task, YEARS.format("[1975]"))
    assert done.returncode == 0, done.stderr
    (table,) = tmp_path.rglob("predictions.csv")
    found = pd.read_csv(table)
    row = found[found["kind"] == "observation"].set_index("year").loc[1975]
    assert abs(row["mean"] - exact.mean["1975"]) < 4.5 * exact.sd["1975"] / np.sqrt(1000)
    assert abs(row["sd"] / exact.sd["1975"] - 1) < 0.12
    for years in ("[1960]", "[1970, 1971]", "[1973, 1972]"):
        refused = bayesrun(*task, YEARS.format(years))
        assert refused.returncode == 1
        assert "new rows must come after those of the fit, in order" in refused.stderr


@pytest.mark.slow
def test_fits_of_simulated_series_find_their_parameters(bayesrun: Command, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "short.yaml").write_text(
        """
name: short
type: declarative
priors:
  sigma: {dist: Gamma, alpha: 4, beta: 4}
  drift: {dist: Gamma, alpha: 4, beta: 8}
  rho: {dist: Uniform, lower: 0, upper: 0.9}
likelihood:
  y:
    dist: LinearGaussian
    level: {sd: drift, init: {dist: Normal, mu: 0, sigma: 2}}
    ar: {rho: rho, sd: sigma}
    sigma: 0.3
    observed: y
"""
    )
    data = "+data={name: d, source: inline, values: {y: [0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]}}"
    short = ["sampler.draws=300", "sampler.tune=300", "sbc.fits=60", "sbc.ranks=39", "tracking=none"]
    given = ["--config-dir", str(tmp_path), "model=short", data, f"paths.outputs={tmp_path}"]
    done = bayesrun("task=sbc", *given, *short)
    assert done.returncode == 0, done.stderr
    assert "verdict: ok" in done.stdout
