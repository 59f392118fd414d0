"""PyMC3 as its tutorial writes it: run in bayesrun's own environment."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from typing import Any

import numpy as np
import pymc3 as pm
from data import disasters, logistic, regression, returns, schools
from script import first_draw, main

seen: list[int] = []


def _told(trace: Any, draw: Any) -> None:
    if not seen:
        seen.append(1)
        first_draw()


def _sample(arguments: Namespace, names: list[str]) -> Mapping[str, np.ndarray]:
    trace = pm.sample(
        draws=arguments.draws,
        tune=arguments.tune,
        chains=arguments.chains,
        cores=arguments.cores,
        random_seed=arguments.seed,
        progressbar=False,
        callback=_told,
        return_inferencedata=False,
    )
    return {name: np.stack(trace.get_values(name, combine=False)) for name in names}


def linear_regression(arguments: Namespace) -> Mapping[str, np.ndarray]:
    """Regress on two predictors."""
    data = regression()
    with pm.Model():
        alpha = pm.Normal("alpha", mu=0, sigma=10)
        beta = pm.Normal("beta", mu=0, sigma=10, shape=2)
        sigma = pm.HalfNormal("sigma", sigma=1)
        mu = alpha + beta[0] * data["X1"] + beta[1] * data["X2"]
        pm.Normal("Y_obs", mu=mu, sigma=sigma, observed=data["Y"])
        return _sample(arguments, ["alpha", "beta", "sigma"])


def glm_logistic(arguments: Namespace) -> Mapping[str, np.ndarray]:
    """Regress a binary outcome."""
    data = logistic()
    with pm.Model():
        intercept = pm.Normal("Intercept", mu=0, sigma=10)
        slope = pm.Normal("X1", mu=0, sigma=10)
        pm.Bernoulli("Y", logit_p=intercept + slope * data["X1"], observed=data["Y"])
        return _sample(arguments, ["Intercept", "X1"])


def eight_schools(arguments: Namespace) -> Mapping[str, np.ndarray]:
    """Fit the hierarchy, non-centred."""
    data = schools()
    with pm.Model():
        mu, tau = pm.Normal("mu", mu=0, sigma=5), pm.HalfCauchy("tau", beta=5)
        theta = pm.Deterministic("theta", mu + tau * pm.Normal("offset", 0, 1, shape=8))
        pm.Normal("y", mu=theta, sigma=data["stderr"], observed=data["y"])
        return _sample(arguments, ["mu", "tau", "theta"])


def switchpoint(arguments: Namespace) -> Mapping[str, np.ndarray]:
    """Find when the rate of disasters switched."""
    data = disasters()
    counts = np.ma.masked_invalid(data["count"])
    with pm.Model():
        switchpoint = pm.DiscreteUniform("switchpoint", lower=data["year"].min(), upper=data["year"].max(), testval=1900)
        early, late = pm.Exponential("early_rate", 1.0), pm.Exponential("late_rate", 1.0)
        rate = pm.math.switch(switchpoint >= data["year"], early, late)
        pm.Poisson("disasters", rate, observed=np.ma.masked_array(np.where(counts.mask, 0, counts.data).astype(int), counts.mask))
        return _sample(arguments, ["switchpoint", "early_rate", "late_rate", "disasters_missing"])


def stochastic_volatility(arguments: Namespace) -> Mapping[str, np.ndarray]:
    """Follow the volatility of returns, centred."""
    change = returns()
    with pm.Model():
        nu = pm.Exponential("nu", 1 / 10.0, testval=5.0)
        sigma = pm.Exponential("sigma", 2.0, testval=0.1)
        s = pm.GaussianRandomWalk("s", sigma=sigma, shape=len(change))
        volatility = pm.Deterministic("volatility_process", pm.math.exp(-2 * s) ** 0.5)
        pm.StudentT("r", nu=nu, sigma=volatility, observed=change)
        return _sample(arguments, ["nu", "sigma", "s"])


if __name__ == "__main__":
    main({f.__name__: f for f in (linear_regression, glm_logistic, eight_schools, switchpoint, stochastic_volatility)})
