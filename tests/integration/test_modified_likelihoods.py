"""A censored, a truncated and a weighted likelihood in one run of the real command: right values, LOO, new rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import arviz as az
import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import optimize, special, stats

from tests.conftest import Command, only_run

ROWS = 240
RNG = np.random.default_rng(20)
X = RNG.normal(size=ROWS)
TIMES, ENDS = np.exp(0.5 + 0.4 * X) * RNG.weibull(1.6, ROWS), RNG.uniform(0.5, 4.0, ROWS)
TIME, STATUS = np.minimum(TIMES, ENDS), np.where(TIMES > ENDS, "right", "none")
SMALL = stats.truncnorm(-np.inf, 0.5, loc=1.0, scale=1.0).rvs(ROWS, random_state=3)  # below 1.5
COUNTS, WEIGHTS = RNG.poisson(2.0, ROWS) * (RNG.random(ROWS) > 0.3), RNG.choice([0.5, 1.0, 2.0], ROWS)
MODEL = """
name: modified
type: declarative
figures: []
priors:
  alpha: {dist: Exponential, lam: 0.1}
  a: {dist: Normal, mu: 0, sigma: 50}
  b: {dist: Normal, mu: 0, sigma: 50}
  m: {dist: Normal, mu: 0, sigma: 50}
  s: {dist: Exponential, lam: 0.01}
  rate: {dist: Exponential, lam: 0.1}
  share: {dist: Beta, alpha: 1, beta: 1}
likelihood:
  y: {dist: Weibull, alpha: alpha, beta: exp(a + b * x), observed: time, censored: {status: status}}
  z: {dist: Normal, mu: m, sigma: s, observed: small, truncated: {upper: 1.5}}
  n: {dist: HurdlePoisson, mu: rate, zero: share, observed: counts, weights: w}
"""


def loss(p: Any) -> float:
    """Minus the log likelihood, by SciPy."""
    alpha, a, b, m, s, rate, share = np.exp(p[0]), *p[1:4], np.exp(p[4]), np.exp(p[5]), p[6]
    scale = np.exp(a + b * X)
    seen = np.where(STATUS == "none", stats.weibull_min.logpdf(TIME, alpha, scale=scale), -((TIME / scale) ** alpha))
    small = stats.norm.logpdf(SMALL, m, s) - stats.norm.logcdf(1.5, m, s)
    positive = stats.poisson.logpmf(COUNTS, rate) - np.log(-np.expm1(-rate)) + np.log1p(-share)
    counts = np.where(COUNTS == 0, np.log(share), positive)
    return -float(seen.sum() + small.sum() + (WEIGHTS * counts).sum())


@pytest.mark.slow
def test_a_run_has_the_posterior_of_the_modified_likelihoods(bayesrun: Command, tmp_path: Path) -> None:
    columns = {"x": X, "time": TIME, "status": STATUS, "small": SMALL, "counts": COUNTS, "w": WEIGHTS}
    frames = {"own": columns, "new": {"x": np.array([-1.0, 0.0, 2.0])}}
    for folder in ("data", "model"):
        (tmp_path / folder).mkdir()
    for name, frame in frames.items():
        values = {column: np.asarray(array).tolist() for column, array in frame.items()}
        text = yaml.safe_dump({"name": name, "source": "inline", "values": values})
        (tmp_path / "data" / f"{name}.yaml").write_text(text)
    (tmp_path / "model" / "modified.yaml").write_text(MODEL)
    few = ["sampler.draws=400", "sampler.tune=400", "sampler.chains=2", "tracking=none"]
    chosen = ["model=modified", "data=own", "predict.data=new", f"paths.outputs={tmp_path / 'out'}"]
    done = bayesrun("--config-dir", tmp_path, *few, *chosen)
    assert done.returncode == 0, done.stderr
    folder = only_run(tmp_path / "out")
    found = az.from_netcdf(folder / "posterior.nc")
    start = np.array([0.3, 0.3, 0.3, 1.0, 0.0, 0.7, 0.3])
    near = optimize.minimize(loss, start, method="Nelder-Mead", options={"maxiter": 9000})
    best = optimize.minimize(loss, near.x, method="BFGS")
    spread = np.sqrt(np.diag(best.hess_inv))
    for i, (name, of) in enumerate(
        [("alpha", np.log), ("a", None), ("b", None), ("m", None), ("s", np.log), ("rate", np.log), ("share", None)]
    ):
        draws = found.posterior[name].values.ravel()
        draws = draws if of is None else of(draws)
        # priors are flat, so mean and median are near the maximum, but for the skewness of a truncated normal
        apart = 0.35 if name not in ("m", "s") else 0.7
        assert abs(np.median(draws) - best.x[i]) < apart * spread[i], name
        assert 0.7 < draws.std() / spread[i] < (1.4 if name not in ("m", "s") else 2.5), name
    assert found.posterior_predictive["z"].values.max() <= 1.5
    assert found.log_likelihood["n"].values.std() > 0
    table = pd.read_csv(folder / "predictions.csv").query("kind == 'observation'")
    assert set(table["variable"]) == {"y", "z", "n"}
    assert table.query("variable == 'z'")["mean"].max() < 1.5
    later = table.query("variable == 'y'")["mean"].to_numpy()
    draws = {n: found.posterior[n].values.ravel() for n in ("alpha", "a", "b")}
    expected = [
        np.mean(np.exp(draws["a"] + draws["b"] * x) * special.gamma(1 + 1 / draws["alpha"])) for x in frames["new"]["x"]
    ]
    np.testing.assert_allclose(later, expected, rtol=0.15)
    assert "loo" in json.dumps(json.loads((folder / "metrics.json").read_text()))


VECTORS = """
name: vectors
type: declarative
figures: []
priors:
  mu: {dist: Normal, mu: 0, sigma: 50, dims: [part]}
  p: {dist: Dirichlet, a: [1, 1, 1], dims: [kind]}
likelihood:
  y_obs: {dist: MvNormal, mu: mu, cov: [[1.0, 0.5], [0.5, 1.0]], observed: y, observed_if: seen == 1}
  c_obs: {dist: Multinomial, n: 9, p: p, observed: c, weights: w}
"""


def test_a_run_with_weighted_vectors_and_vectors_that_are_not_observed(bayesrun: Command, tmp_path: Path) -> None:
    rng, rows = np.random.default_rng(3), 40
    seen, w = (rng.random(rows) > 0.2).astype(int), rng.choice([0.5, 1.0, 2.0], rows)
    y = rng.multivariate_normal([1.0, 2.0], [[1.0, 0.5], [0.5, 1.0]], rows)
    c = rng.multinomial(9, [0.2, 0.3, 0.5], rows)
    gaps = [[None if j and not s else float(v) for j, v in enumerate(row)] for row, s in zip(y, seen, strict=True)]
    dims = {"y": ["obs", "part"], "c": ["obs", "kind"], "w": ["obs"], "seen": ["obs"]}
    own = {"y": gaps, "c": c.tolist(), "w": w.tolist(), "seen": seen.tolist()}
    for folder in ("data", "model"):
        (tmp_path / folder).mkdir()
    for name, values in (("own", own), ("new", {**own, "y": y.tolist()})):
        text = yaml.safe_dump({"name": name, "source": "inline", "dims": dims, "values": values})
        (tmp_path / "data" / f"{name}.yaml").write_text(text)
    (tmp_path / "model" / "vectors.yaml").write_text(VECTORS)
    chosen = ["model=vectors", "data=own", "predict.data=new", "sampler.draws=500", "sampler.tune=500", "tracking=none"]
    done = bayesrun("--config-dir", tmp_path, *chosen, f"paths.outputs={tmp_path / 'out'}")
    assert done.returncode == 0, done.stderr
    folder = only_run(tmp_path / "out")
    summary = pd.read_csv(folder / "summary.csv", index_col=0)
    a = 1.0 + (w[:, None] * c).sum(axis=0)  # conjugate: the weights count rows
    share = a / a.sum()
    exact = {f"p[{i}]": (share[i], np.sqrt(share[i] * (1 - share[i]) / (a.sum() + 1))) for i in range(3)}
    mean, count = y[seen == 1].mean(axis=0), seen.sum()
    exact |= {f"mu[{i}]": (mean[i], count**-0.5) for i in range(2)}
    for name, (middle, sd) in exact.items():
        row = summary.loc[name]
        assert abs(row["mean"] - middle) < 4 * row["mcse_mean"] + 0.01 * sd, name
        assert abs(row["sd"] - sd) < 4 * row["mcse_sd"] + 0.01 * sd, name
    found = az.from_netcdf(folder / "posterior.nc")
    terms = found.log_likelihood
    assert terms["y_obs"].shape[2:] == terms["c_obs"].shape[2:] == (rows,)
    left_out = np.isnan(terms["y_obs"].values).all(axis=(0, 1))
    assert left_out.tolist() == (seen == 0).tolist() and not np.isnan(terms["c_obs"].values).any()
    assert f"from {rows + count} observed points" in done.stdout
    assert (found.posterior_predictive["c_obs"].values.sum(axis=-1) == 9).all()
    table = pd.read_csv(folder / "predictions.csv").query("kind == 'observation' and variable == 'c_obs'")
    np.testing.assert_allclose(table.query("obs == 0")["mean"], 9 * share, rtol=0.1)
    assert table.query("obs == 0")["kind_label"].tolist() == [0, 1, 2]
