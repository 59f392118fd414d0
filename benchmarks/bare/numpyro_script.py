"""NumPyro: run in the peers' environment. The switchpoint is summed out by hand, as NumPyro users do."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Callable, Mapping

os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=2")

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from data import disasters, logistic, regression, returns, schools
from numpyro.infer import MCMC, NUTS, init_to_median
from script import main

numpyro.enable_x64()


def _sample(arguments: Namespace, model: Callable[[], None], names: list[str]) -> Mapping[str, np.ndarray]:
    method = "parallel" if arguments.cores >= arguments.chains else "sequential"
    if arguments.cores > 1 and arguments.chains > arguments.cores:
        method = "vectorized"
    mcmc = MCMC(
        NUTS(model, init_strategy=init_to_median),
        num_warmup=arguments.tune,
        num_samples=arguments.draws,
        num_chains=arguments.chains,
        chain_method=method,
        progress_bar=False,
    )
    mcmc.run(jax.random.PRNGKey(arguments.seed))
    samples = mcmc.get_samples(group_by_chain=True)
    return {name: np.asarray(samples[name]) for name in names}


def linear_regression(arguments: Namespace) -> Mapping[str, np.ndarray]:
    """Regress on two predictors."""
    data = regression()

    def model() -> None:
        alpha = numpyro.sample("alpha", dist.Normal(0, 10))
        beta = numpyro.sample("beta", dist.Normal(0, 10).expand([2]))
        sigma = numpyro.sample("sigma", dist.HalfNormal(1))
        numpyro.sample("Y", dist.Normal(alpha + beta[0] * data["X1"] + beta[1] * data["X2"], sigma), obs=data["Y"])

    return _sample(arguments, model, ["alpha", "beta", "sigma"])


def glm_logistic(arguments: Namespace) -> Mapping[str, np.ndarray]:
    """Regress a binary outcome."""
    data = logistic()

    def model() -> None:
        intercept, slope = numpyro.sample("Intercept", dist.Normal(0, 10)), numpyro.sample("X1", dist.Normal(0, 10))
        numpyro.sample("Y", dist.Bernoulli(logits=intercept + slope * data["X1"]), obs=data["Y"])

    return _sample(arguments, model, ["Intercept", "X1"])


def eight_schools(arguments: Namespace) -> Mapping[str, np.ndarray]:
    """Fit the hierarchy, non-centred."""
    data = schools()

    def model() -> None:
        mu, tau = numpyro.sample("mu", dist.Normal(0, 5)), numpyro.sample("tau", dist.HalfCauchy(5))
        offset = numpyro.sample("offset", dist.Normal(0, 1).expand([8]))
        theta = numpyro.deterministic("theta", mu + tau * offset)
        numpyro.sample("y", dist.Normal(theta, data["stderr"]), obs=data["y"])

    return _sample(arguments, model, ["mu", "tau", "theta"])


def switchpoint(arguments: Namespace) -> Mapping[str, np.ndarray]:
    """Find when the rate switched; the switchpoint is summed out and not drawn, missing counts are left out."""
    data = disasters()
    years, seen = data["year"], ~np.isnan(data["count"])
    before = years[:, None] >= years[seen]
    counts = data["count"][seen]

    def model() -> None:
        early, late = numpyro.sample("early_rate", dist.Exponential(1.0)), numpyro.sample("late_rate", dist.Exponential(1.0))
        terms = dist.Poisson(jnp.where(before, early, late)).log_prob(counts).sum(axis=1)
        numpyro.factor("disasters", jax.nn.logsumexp(terms))

    return _sample(arguments, model, ["early_rate", "late_rate"])


def stochastic_volatility(arguments: Namespace) -> Mapping[str, np.ndarray]:
    """Follow the volatility of returns, as NumPyro's example does."""
    change = returns()

    def model() -> None:
        nu, sigma = numpyro.sample("nu", dist.Exponential(1 / 10.0)), numpyro.sample("sigma", dist.Exponential(2.0))
        s = numpyro.sample("s", dist.GaussianRandomWalk(scale=sigma, num_steps=len(change)))
        numpyro.sample("r", dist.StudentT(nu, loc=0.0, scale=jnp.exp(-s)), obs=change)

    return _sample(arguments, model, ["nu", "sigma", "s"])


if __name__ == "__main__":
    main({f.__name__: f for f in (linear_regression, glm_logistic, eight_schools, switchpoint, stochastic_volatility)})
