"""GLM posteriors, sampled by the real command, against exact ones.

The linear model is conjugate given sigma, so its posterior is a one-dimensional integral; the logistic one has two
coefficients and is integrated on a grid. The likelihoods are written here by themselves, from the data that ran.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy.optimize import minimize
from scipy.special import gammaln, polygamma
from scipy.stats import nbinom

from tests.conftest import Command, only_run

WITHIN = 4.0
"""Monte Carlo standard errors that a sampled mean or sd may be away from the exact one."""


def _run(bayesrun: Command, outputs: Path, *arguments: str) -> Path:
    done = bayesrun(*arguments, "tracking=none", "model.figures=[]", f"paths.outputs={outputs}")
    assert done.returncode == 0, done.stderr
    return only_run(outputs)


def _agree(folder: Path, exact: dict[str, tuple[float, float]]) -> None:
    summary = pd.read_csv(folder / "summary.csv", index_col="name")
    for name, (mean, sd) in exact.items():
        row = summary.loc[name]
        assert abs(row["mean"] - mean) < WITHIN * row["mcse_mean"], (name, row["mean"], mean)
        assert abs(row["sd"] - sd) < WITHIN * row["mcse_sd"], (name, row["sd"], sd)


def _data(folder: Path) -> dict[str, Any]:
    with xr.open_dataset(folder / "posterior.nc", group="constant_data") as data:
        return {str(name): data[name].values for name in data.data_vars}


def _linear(x: np.ndarray, y: np.ndarray, prior_sd: float, sigma_sd: float) -> dict[str, tuple[float, float]]:
    """Integrate `beta | sigma ~ N(m, V)` over sigma, with `beta ~ N(0, prior_sd^2)`, `sigma ~ HalfNormal(sigma_sd)`."""
    sigmas = np.linspace(0.6, 1.8, 2_001)
    weights, means, squares = [], [], []
    for sigma in sigmas:
        precision = x.T @ x / sigma**2 + np.eye(x.shape[1]) / prior_sd**2
        covariance = np.linalg.inv(precision)
        m = covariance @ x.T @ y / sigma**2
        weights.append(
            -len(y) * np.log(sigma)
            - 0.5 * (y @ y / sigma**2 - m @ precision @ m)
            + 0.5 * np.linalg.slogdet(covariance)[1]
            - 0.5 * (sigma / sigma_sd) ** 2
        )
        means.append([*m, sigma])
        squares.append([*(np.diag(covariance) + m**2), sigma**2])
    w = np.exp(np.array(weights) - np.max(weights))
    w /= w.sum()
    assert w[0] < 1e-8 and w[-1] < 1e-8, "the grid of sigma is too narrow"
    first, second = w @ np.array(means), w @ np.array(squares)
    return {
        n: (a, float(np.sqrt(b - a**2)))
        for n, a, b in zip(["Intercept", "X1", "X2", "sigma"], first, second, strict=True)
    }


def _logistic(x: np.ndarray, success: np.ndarray, prior_sd: float) -> dict[str, tuple[float, float]]:
    a, b = np.meshgrid(np.linspace(-2, 2, 301), np.linspace(-0.5, 5, 301), indexing="ij")
    log = -0.5 * (a**2 + b**2) / prior_sd**2
    for value, is_success in zip(x, success, strict=True):
        eta = a + b * value
        log = log - np.logaddexp(0, -eta if is_success else eta)
    w = np.exp(log - log.max())
    w /= w.sum()
    assert max(w[0].sum(), w[-1].sum(), w[:, 0].sum(), w[:, -1].sum()) < 1e-8, "the grid is too narrow"
    moments = {}
    for name, at in (("Intercept", a), ("X1", b)):
        mean = float((w * at).sum())
        moments[name] = (mean, float(np.sqrt((w * (at - mean) ** 2).sum())))
    return moments


@pytest.mark.slow
def test_linear_posterior_is_the_closed_form(bayesrun: Command, tmp_path: Path) -> None:
    folder = _run(bayesrun, tmp_path, "model=glm_linear")
    data = _data(folder)
    x = np.column_stack([np.ones(len(data["Y"])), data["X1"], data["X2"]])
    _agree(folder, _linear(x, data["Y"], prior_sd=10.0, sigma_sd=10.0))


@pytest.mark.slow
def test_logistic_posterior_is_the_integral_on_a_grid(bayesrun: Command, tmp_path: Path) -> None:
    folder = _run(bayesrun, tmp_path, "model=glm_logistic")
    data = _data(folder)
    _agree(folder, _logistic(data["X1"], data["Y"] > np.median(data["Y"]), prior_sd=10.0))


BIOASSAY = """\
# Dose and deaths of five animals each (Racine et al. 1986); log dose in log g/ml
name: bioassay
source: inline
values:
  dose: [-0.86, -0.30, -0.05, 0.73]
  animals: [5, 5, 5, 5]
  deaths: [0, 1, 3, 5]
"""
MODEL = """\
defaults: [{/data@_global_.data: bioassay}, _self_]
name: bioassay_glm
type: glm
formula: deaths ~ dose
family: binomial
priors:
  Intercept: {dist: Normal, mu: 0, sigma: 2}
  dose: {dist: Normal, mu: 10, sigma: 10}
options: {trials: animals}
figures: [effects]
"""


def _bioassay() -> dict[str, tuple[float, float]]:
    a, b = np.meshgrid(np.linspace(-6, 8, 701), np.linspace(-15, 60, 751), indexing="ij")
    log = -0.5 * (a / 2) ** 2 - 0.5 * ((b - 10) / 10) ** 2
    for dose, deaths in ((-0.86, 0), (-0.30, 1), (-0.05, 3), (0.73, 5)):
        eta = a + b * dose
        log = log - deaths * np.logaddexp(0, -eta) - (5 - deaths) * np.logaddexp(0, eta)
    w = np.exp(log - log.max())
    w /= w.sum()
    found = {}
    for name, at in (("Intercept", a), ("dose", b)):
        mean = float((w * at).sum())
        found[name] = (mean, float(np.sqrt((w * (at - mean) ** 2).sum())))
    return found


@pytest.mark.slow
def test_a_published_model_in_a_users_own_yaml(bayesrun: Command, tmp_path: Path) -> None:
    """Bioassay (Gelman et al., Bayesian Data Analysis, section 3.7) as counts of successes, from `--config-dir`."""
    config = tmp_path / "conf"
    for place, text in (("model/bioassay_glm", MODEL), ("data/bioassay", BIOASSAY)):
        (config / place).parent.mkdir(parents=True, exist_ok=True)
        (config / f"{place}.yaml").write_text(text)
    arguments = ("--config-dir", str(config), "model=bioassay_glm")
    _agree(_run(bayesrun, tmp_path / "out", *arguments), _bioassay())


def _most_likely_counts(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Return estimates and standard errors of intercept and slope, and the estimate of alpha, by maximum likelihood."""

    def loss(at: np.ndarray) -> float:
        mu, alpha = np.exp(at[0] + at[1] * x), np.exp(at[2])
        return float(-nbinom.logpmf(y, alpha, alpha / (alpha + mu)).sum())

    start = [np.log(y.mean()), 0.0, 0.0]
    exact = {"xatol": 1e-9, "fatol": 1e-9, "maxiter": 20_000, "maxfev": 20_000}
    found = minimize(loss, start, method="Nelder-Mead", options=exact)
    assert found.success, found.message
    design, mu, alpha = np.c_[np.ones(len(x)), x], np.exp(found.x[0] + found.x[1] * x), np.exp(found.x[2])
    # the coefficients' expected information; alpha is orthogonal to them (Lawless 1987, doi:10.2307/3314912)
    information = design.T @ (design * (mu / (1.0 + mu / alpha))[:, None])
    return found.x[:2], np.sqrt(np.diag(np.linalg.inv(information))), float(alpha)


def test_default_priors_of_negative_binomial_are_weak(bayesrun: Command, tmp_path: Path) -> None:
    """The posterior is that of the likelihood alone, with `alpha` near 1000; further families: test_weak_priors."""
    level, variation = 10_000, 0.03
    rng = np.random.default_rng(18)
    x = rng.normal(size=300)
    y = rng.poisson(level * np.exp(0.1 * x) * rng.gamma(variation**-2, variation**2, size=300))
    pd.DataFrame({"x": x, "y": y}).to_csv(tmp_path / "counts.csv", index=False)
    (tmp_path / "conf/data").mkdir(parents=True)
    (tmp_path / "conf/data/counts.yaml").write_text(f"{{name: counts, source: csv, path: '{tmp_path}/counts.csv'}}")
    model = ("model=glm", "data=counts", "model.formula='y ~ x'", "model.family=negative_binomial")
    sampler = ("sampler.draws=1500", "sampler.tune=500", "sampler.chains=2", "predictive.posterior=false")
    folder = _run(bayesrun, tmp_path / "out", "--config-dir", str(tmp_path / "conf"), *model, *sampler)
    summary = pd.read_csv(folder / "summary.csv", index_col="name")
    estimates, errors, alpha = _most_likely_counts(x, y)
    for name, estimate, error in zip(("Intercept", "x"), estimates, errors, strict=True):
        row = summary.loc[name]
        assert abs(row["mean"] - estimate) < 0.05 * error + WITHIN * row["mcse_mean"], (name, row["mean"], estimate)
        assert abs(row["sd"] - error) < 0.05 * error + WITHIN * row["mcse_sd"], (name, row["sd"], error)
    assert summary.loc["alpha", "hdi_3%"] < alpha < summary.loc["alpha", "hdi_97%"]


def test_six_counts_of_billions_have_the_interval_of_the_likelihood(bayesrun: Command, tmp_path: Path) -> None:
    """It is compared with the exact posterior, summed on a grid: sd 0.0158, where maximum likelihood has 0.0129."""
    rows = zip((3.0e9, 3.1e9, 2.9e9, 5.2e9, 5.0e9, 5.1e9), (0, 0, 0, 1, 1, 1), strict=True)
    (tmp_path / "six.csv").write_text("\n".join(["y,x", *(f"{y:.0f},{x}" for y, x in rows)]))
    (tmp_path / "conf/data").mkdir(parents=True)
    (tmp_path / "conf/data/six.yaml").write_text(f"{{name: six, source: csv, path: '{tmp_path}/six.csv'}}")
    model = ("model=glm", "data=six", "model.formula='y ~ x'", "model.family=negative_binomial")
    sampler = ("sampler.draws=4000", "sampler.tune=500", "sampler.chains=2", "predictive.posterior=false")
    folder = _run(bayesrun, tmp_path / "out", "--config-dir", str(tmp_path / "conf"), *model, *sampler)
    summary = pd.read_csv(folder / "summary.csv", index_col="name")
    # at this size the counts are gamma distributed; in each of two groups of three, the level is summed out
    groups = np.array([3.0, 3.1, 2.9]), np.array([5.2, 5.0, 5.1])
    log_shape = np.linspace(-2.0, 12.0, 4000)
    shape = np.exp(log_shape)
    log_density = log_shape.copy()
    for y in groups:
        log_density += 3 * (shape * log_shape - gammaln(shape)) + (shape - 1) * np.log(y).sum()
        log_density += gammaln(3 * shape) - 3 * shape * np.log(shape * y.sum())
    weight = np.exp(log_density - log_density.max())
    weight /= weight.sum()
    variance = float(weight @ polygamma(1, 3 * shape))
    assert np.sqrt(variance) == pytest.approx(0.0158, abs=1e-4)
    for name, sd in (("Intercept", np.sqrt(variance)), ("x", np.sqrt(2 * variance))):
        row = summary.loc[name]
        # a t distribution with 6 degrees of freedom, whose excess kurtosis is 3
        error = sd * np.sqrt((3 + 2) / (4 * row["ess_bulk"]))
        assert abs(row["sd"] - sd) < WITHIN * error, (name, row["sd"], sd)
