"""Posteriors to draw: exact draws from known distributions, in the form that a run saves."""

from __future__ import annotations

import arviz as az
import numpy as np
import pandas as pd
import pytest

from bayesrun.diagnostics.summary import summarise
from bayesrun.figures.base import Subject

CHAINS = 4


def subject(idata: az.InferenceData, model: dict[str, object]) -> Subject:
    """A subject with the summary that a run would make of it."""
    return Subject(idata, summarise(idata), model)


def _stats(rng: np.random.Generator, draws: int) -> dict[str, np.ndarray]:
    shape = (CHAINS, draws)
    return {
        "diverging": rng.random(shape) < 0.004,
        "energy": rng.normal(150, 1.5, shape),
        "tree_depth": rng.integers(2, 4, shape),
        "acceptance_rate": rng.beta(8, 2, shape),
        "step_size": np.full(shape, 0.7),
        "n_steps": np.full(shape, 7),
        "lp": rng.normal(-150, 1.5, shape),
    }


def _normal_terms(y: np.ndarray, mean: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    z = (y - mean) / sigma[..., None]
    return -0.5 * z**2 - np.log(sigma)[..., None] - 0.5 * np.log(2 * np.pi)


def make_regression(draws: int = 1000) -> Subject:
    """Linear regression under flat priors: the exact normal-inverse-gamma posterior."""
    rng = np.random.default_rng(8927)
    x = np.column_stack([rng.normal(size=100), rng.normal(size=100) * 0.2])
    y = 1 + x @ [1.0, 2.5] + rng.normal(size=100)
    design = np.column_stack([np.ones(100), x])
    inverse = np.linalg.inv(design.T @ design)
    best = inverse @ design.T @ y
    rest = ((y - design @ best) ** 2).sum()
    sigma = np.sqrt(rest / rng.chisquare(97, (CHAINS, draws)))
    noise = rng.normal(size=(CHAINS, draws, 3)) @ np.linalg.cholesky(inverse).T
    theta = best + sigma[..., None] * noise
    mean = theta @ design.T
    idata = az.from_dict(
        posterior={"alpha": theta[..., 0], "beta": theta[..., 1:], "sigma": sigma},
        prior={
            "alpha": rng.normal(0, 10, (1, 500)),
            "beta": rng.normal(0, 10, (1, 500, 2)),
            "sigma": abs(rng.normal(0, 1, (1, 500))),
        },
        posterior_predictive={"Y_obs": rng.normal(mean, sigma[..., None])},
        log_likelihood={"Y_obs": _normal_terms(y, mean, sigma)},
        sample_stats=_stats(rng, draws),
        observed_data={"Y_obs": y},
        constant_data={"Y": y, "X1": x[:, 0], "X2": x[:, 1]},
        coords={"predictor": ["X1", "X2"], "obs": np.arange(100)},
        dims={"beta": ["predictor"], "Y_obs": ["obs"], "Y": ["obs"], "X1": ["obs"], "X2": ["obs"]},
    )
    model = {"name": "linear_regression", "type": "linear_regression", "options": {"predictors": ["X1", "X2"]}}
    return subject(idata, model)


def make_switchpoint(draws: int = 1000) -> Subject:
    """Counts by year with two gaps; draws near the tutorial's posterior."""
    rng = np.random.default_rng(1851)
    years = np.arange(1851, 1962)
    switch = rng.choice(
        np.arange(1886, 1896), (CHAINS, draws), p=[0.02, 0.05, 0.08, 0.12, 0.19, 0.23, 0.14, 0.09, 0.05, 0.03]
    )
    early, late = rng.gamma(116, 1 / 37.6, (CHAINS, draws)), rng.gamma(62, 1 / 66.5, (CHAINS, draws))
    rate = np.where(years <= switch[..., None], early[..., None], late[..., None])
    counts = rng.poisson(np.where(years < 1891, 3.09, 0.93)).astype(float)
    gaps = np.isin(years, [1890, 1934])
    counts[gaps] = np.nan
    terms = np.where(gaps, np.nan, counts * np.log(rate) - rate)
    idata = az.from_dict(
        posterior={
            "switchpoint": switch,
            "early_rate": early,
            "late_rate": late,
            "disasters_missing": rng.poisson(rate[..., gaps]),
        },
        prior={
            "switchpoint": rng.integers(1851, 1962, (1, 500)),
            "early_rate": rng.exponential(1, (1, 500)),
            "late_rate": rng.exponential(1, (1, 500)),
        },
        posterior_predictive={"disasters": rng.poisson(rate)},
        log_likelihood={"disasters": terms},
        sample_stats=_stats(rng, draws),
        observed_data={"disasters": counts},
        constant_data={"disasters": counts},
        coords={"year": years, "year_missing": [1890, 1934]},
        dims={"disasters": ["year"], "disasters_missing": ["year_missing"]},
    )
    options = {"form": "compound", "response": "disasters", "time": "year"}
    return subject(idata, {"name": "switchpoint", "type": "switchpoint", "options": options})


def make_volatility(days: int = 400, draws: int = 250) -> Subject:
    """Returns over business days, their log volatility a random walk known up to noise."""
    rng = np.random.default_rng(2008)
    dates = pd.bdate_range("2008-05-02", periods=days).values
    walk = 4 + np.cumsum(rng.normal(0, 0.06, days))
    s = (walk + 0.25 * rng.normal(size=(CHAINS, draws, days))).astype(np.float32)
    returns = np.exp(-walk) * rng.standard_t(8, days)
    spread = np.exp(-s)
    idata = az.from_dict(
        posterior={
            "nu": 2 + rng.gamma(10, 0.8, (CHAINS, draws)),
            "sigma": rng.gamma(50, 0.0012, (CHAINS, draws)),
            "s": s,
            "volatility_process": spread,
        },
        posterior_predictive={"r": spread * rng.standard_t(8, spread.shape)},
        sample_stats=_stats(rng, draws),
        observed_data={"r": returns},
        constant_data={"returns": returns},
        coords={"date": dates},
        dims={"s": ["date"], "volatility_process": ["date"], "r": ["date"], "returns": ["date"]},
    )
    return subject(idata, {"name": "stochastic_volatility", "type": "stochastic_volatility", "options": {}})


@pytest.fixture(scope="session")
def regression() -> Subject:
    """See `make_regression`."""
    return make_regression()


@pytest.fixture(scope="session")
def switchpoint() -> Subject:
    """See `make_switchpoint`."""
    return make_switchpoint()


@pytest.fixture(scope="session")
def volatility() -> Subject:
    """See `make_volatility`."""
    return make_volatility()
