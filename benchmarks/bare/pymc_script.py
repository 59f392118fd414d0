"""PyMC 6 with nutpie, its default sampler: run in the peers' environment."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
from data import chain, disasters, garch_returns, logistic, regression, returns, schools
from script import main


def _sample(arguments: Namespace, names: list[str]) -> Mapping[str, np.ndarray]:
    made = pm.sample(
        draws=arguments.draws,
        tune=arguments.tune,
        chains=arguments.chains,
        cores=arguments.cores,
        random_seed=arguments.seed,
        progressbar=False,
        compute_convergence_checks=False,
    )
    return {name: made["posterior"][name].values for name in names}


def linear_regression(arguments: Namespace) -> Mapping[str, np.ndarray]:
    """Regress on two predictors."""
    data = regression()
    with pm.Model():
        alpha = pm.Normal("alpha", mu=0, sigma=10)
        beta = pm.Normal("beta", mu=0, sigma=10, shape=2)
        sigma = pm.HalfNormal("sigma", sigma=1)
        pm.Normal("Y_obs", alpha + beta[0] * data["X1"] + beta[1] * data["X2"], sigma, observed=data["Y"])
        return _sample(arguments, ["alpha", "beta", "sigma"])


def glm_logistic(arguments: Namespace) -> Mapping[str, np.ndarray]:
    """Regress a binary outcome."""
    data = logistic()
    with pm.Model():
        intercept, slope = pm.Normal("Intercept", mu=0, sigma=10), pm.Normal("X1", mu=0, sigma=10)
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
    with pm.Model():
        switchpoint = pm.DiscreteUniform("switchpoint", lower=int(data["year"].min()), upper=int(data["year"].max()))
        early, late = pm.Exponential("early_rate", 1.0), pm.Exponential("late_rate", 1.0)
        rate = pm.math.switch(switchpoint >= data["year"], early, late)
        pm.Poisson("disasters", rate, observed=data["count"])
        return _sample(arguments, ["switchpoint", "early_rate", "late_rate", "disasters_unobserved"])


def stochastic_volatility(arguments: Namespace) -> Mapping[str, np.ndarray]:
    """Follow the volatility of returns, as the tutorial writes it."""
    change = returns()
    with pm.Model():
        nu, sigma = pm.Exponential("nu", 1 / 10.0, initval=5.0), pm.Exponential("sigma", 2.0, initval=0.1)
        s = pm.GaussianRandomWalk("s", sigma=sigma, init_dist=pm.Normal.dist(0, 100), shape=len(change))
        pm.StudentT("r", nu=nu, sigma=pm.math.exp(-s), observed=change)
        return _sample(arguments, ["nu", "sigma", "s"])


def garch_mean(arguments: Namespace) -> Mapping[str, np.ndarray]:
    """Fit GARCH(1, 1) with a mean; the variances are a scan, as PyMC's documentation writes recurrences."""
    y = garch_returns()
    with pm.Model():
        mu, alpha0 = pm.Normal("mu", 0, 10), pm.HalfNormal("alpha0", 5)
        alpha1 = pm.Uniform("alpha1", 0, 1)
        beta1 = pm.Uniform("beta1", 0, 1 - alpha1)
        later = pytensor.scan(
            lambda before, last, mu, a0, a1, b1: a0 + a1 * (before - mu) ** 2 + b1 * last,
            sequences=[pt.as_tensor(y[:-1])],
            outputs_info=[pt.constant(0.25, dtype="float64")],
            non_sequences=[mu, alpha0, alpha1, beta1],
            return_updates=False,
        )
        variance = pt.concatenate([[0.25], later])
        pm.Normal("y", mu, pt.sqrt(variance), observed=y)
        return _sample(arguments, ["mu", "alpha0", "alpha1", "beta1"])


def hmm(arguments: Namespace) -> Mapping[str, np.ndarray]:
    """Sum the states of a hidden Markov chain out by the forward algorithm, a scan."""
    y = chain()
    with pm.Model():
        theta = pm.Dirichlet("theta", a=np.ones((2, 2)))
        ordered = pm.distributions.transforms.ordered
        mu = pm.Normal("mu", [3, 10], 1, transform=ordered, initval=[3.0, 10.0])
        emission = pm.logp(pm.Normal.dist(mu, 1), y[:, None])
        last = pytensor.scan(
            lambda now, before, log_theta: now + pt.logsumexp(before[:, None] + log_theta, axis=0),
            sequences=[emission[1:]],
            outputs_info=[np.log(0.5) + emission[0]],
            non_sequences=[pt.log(theta)],
            return_updates=False,
        )
        pm.Potential("y", pt.logsumexp(last[-1]))
        return _sample(arguments, ["theta", "mu"])


MODELS = (linear_regression, glm_logistic, eight_schools, switchpoint, stochastic_volatility, garch_mean, hmm)

if __name__ == "__main__":
    main({f.__name__: f for f in MODELS})
