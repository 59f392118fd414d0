"""PyStan: run in the peers' environment. Discrete variables are summed out and drawn in `generated quantities`."""

from __future__ import annotations

import asyncio
from argparse import Namespace
from collections.abc import Mapping
from typing import Any

import numpy as np
import stan
from data import chain, disasters, garch_returns, logistic, regression, returns, schools
from script import main


def _sample(arguments: Namespace, code: str, data: dict[str, Any], names: list[str]) -> Mapping[str, np.ndarray]:
    asyncio.set_event_loop(asyncio.new_event_loop())
    posterior = stan.build(code, data=data, random_seed=arguments.seed)
    fit = posterior.sample(num_chains=arguments.chains, num_samples=arguments.draws, num_warmup=arguments.tune)
    return {name: _by_chain(fit[name], arguments) for name in names}


def _by_chain(values: np.ndarray, arguments: Namespace) -> np.ndarray:
    """Undo PyStan's order (..., draw * chain), in which chains alternate."""
    by_draw = np.moveaxis(values, -1, 0).reshape(arguments.draws, arguments.chains, *values.shape[:-1])
    return np.swapaxes(by_draw, 0, 1)


def linear_regression(arguments: Namespace) -> Mapping[str, np.ndarray]:
    """Regress on two predictors."""
    data = regression()
    code = """
    data { int n; matrix[n, 2] X; vector[n] Y; }
    parameters { real alpha; vector[2] beta; real<lower=0> sigma; }
    model {
      alpha ~ normal(0, 10); beta ~ normal(0, 10); sigma ~ normal(0, 1);
      Y ~ normal_id_glm(X, alpha, beta, sigma);
    }"""
    given = {"n": 100, "X": np.column_stack([data["X1"], data["X2"]]).tolist(), "Y": data["Y"].tolist()}
    return _sample(arguments, code, given, ["alpha", "beta", "sigma"])


def glm_logistic(arguments: Namespace) -> Mapping[str, np.ndarray]:
    """Regress a binary outcome."""
    data = logistic()
    code = """
    data { int n; vector[n] x; array[n] int Y; }
    parameters { real Intercept; real X1; }
    model { Intercept ~ normal(0, 10); X1 ~ normal(0, 10); Y ~ bernoulli_logit(Intercept + X1 * x); }"""
    given = {"n": 100, "x": data["X1"].tolist(), "Y": data["Y"].tolist()}
    return _sample(arguments, code, given, ["Intercept", "X1"])


def eight_schools(arguments: Namespace) -> Mapping[str, np.ndarray]:
    """Fit the hierarchy, non-centred."""
    data = schools()
    code = """
    data { int n; vector[n] y; vector[n] stderr; }
    parameters { real mu; real<lower=0> tau; vector[n] raw; }
    transformed parameters { vector[n] theta = mu + tau * raw; }
    model { mu ~ normal(0, 5); tau ~ cauchy(0, 5); raw ~ normal(0, 1); y ~ normal(theta, stderr); }"""
    given = {"n": 8, "y": data["y"].tolist(), "stderr": data["stderr"].tolist()}
    return _sample(arguments, code, given, ["mu", "tau", "theta"])


def switchpoint(arguments: Namespace) -> Mapping[str, np.ndarray]:
    """Find when the rate switched, from cumulative sums."""
    data = disasters()
    seen = ~np.isnan(data["count"])
    before = data["year"][:, None] >= data["year"][seen]
    counts = data["count"][seen]
    code = """
    data { int n; int first; vector[n] years; vector[n] counts; real all_years; real all_counts; }
    parameters { real<lower=0> early_rate; real<lower=0> late_rate; }
    transformed parameters {
      vector[n] terms = counts * log(early_rate) - years * early_rate
        + (all_counts - counts) * log(late_rate) - (all_years - years) * late_rate;
    }
    model { early_rate ~ exponential(1); late_rate ~ exponential(1); target += log_sum_exp(terms); }
    generated quantities { int switchpoint = first - 1 + categorical_logit_rng(terms); }"""
    given = {
        "n": len(before), "first": int(data["year"][0]), "years": before.sum(1).astype(float).tolist(),
        "counts": (before @ counts).tolist(), "all_years": float(seen.sum()), "all_counts": float(counts.sum()),
    }  # fmt: skip
    return _sample(arguments, code, given, ["early_rate", "late_rate", "switchpoint"])


def stochastic_volatility(arguments: Namespace) -> Mapping[str, np.ndarray]:
    """Follow the volatility of returns, centred as in the tutorial."""
    change = returns()
    code = """
    data { int n; vector[n] r; }
    parameters { real<lower=0> nu; real<lower=0> sigma; vector[n] s; }
    model {
      nu ~ exponential(0.1); sigma ~ exponential(2);
      s[2:n] ~ normal(s[1:(n - 1)], sigma);
      r ~ student_t(nu, 0, exp(-s));
    }"""
    return _sample(arguments, code, {"n": len(change), "r": change.tolist()}, ["nu", "sigma", "s"])


def garch_mean(arguments: Namespace) -> Mapping[str, np.ndarray]:
    """Fit GARCH(1, 1) with a mean."""
    y = garch_returns()
    code = """
    data { int n; vector[n] y; }
    parameters {
      real mu; real<lower=0> alpha0; real<lower=0, upper=1> alpha1; real<lower=0, upper=(1 - alpha1)> beta1;
    }
    model {
      vector[n] variance;
      variance[1] = 0.25;
      for (t in 2:n) variance[t] = alpha0 + alpha1 * square(y[t - 1] - mu) + beta1 * variance[t - 1];
      mu ~ normal(0, 10); alpha0 ~ normal(0, 5); target += -log1m(alpha1);
      y ~ normal(mu, sqrt(variance));
    }"""
    return _sample(arguments, code, {"n": len(y), "y": y.tolist()}, ["mu", "alpha0", "alpha1", "beta1"])


def hmm(arguments: Namespace) -> Mapping[str, np.ndarray]:
    """Sum the states of a hidden Markov chain out by Stan's own function."""
    y = chain()
    code = """
    data { int n; vector[n] y; }
    parameters { array[2] simplex[2] theta; ordered[2] mu; }
    model {
      matrix[2, n] emission;
      matrix[2, 2] transition;
      for (i in 1:2) {
        transition[i] = theta[i]';
        for (t in 1:n) emission[i, t] = normal_lpdf(y[t] | mu[i], 1);
      }
      mu[1] ~ normal(3, 1); mu[2] ~ normal(10, 1);
      target += hmm_marginal(emission, transition, rep_vector(0.5, 2));
    }"""
    return _sample(arguments, code, {"n": len(y), "y": y.tolist()}, ["theta", "mu"])


MODELS = (linear_regression, glm_logistic, eight_schools, switchpoint, stochastic_volatility, garch_mean, hmm)

if __name__ == "__main__":
    main({f.__name__: f for f in MODELS})
