"""Continuous distributions parametrized by their mean, for regressions."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from bayesrun.language.densities.algebra import (
    LOG_SQRT_2PI,
    SMALLEST,
    at_least,
    beta_proportion_density,
    exp,
    gamma_density,
    gammaln,
    log,
    log_beta_i,
    log_beta_rest,
    log_complement,
    log_difference,
    log_gamma_p,
    log_gamma_q,
    log_normal_cdf,
    log_odds,
    logaddexp,
    square,
)
from bayesrun.language.densities.base import Array, Declared, Values, elementwise
from bayesrun.language.values import Value
from bayesrun.lazy import special


def _inverse_gaussian(x: Value, p: Values) -> Value:
    mu, lam = p["mu"], p["lam"]
    return 0.5 * (log(lam) - 3.0 * log(x)) - LOG_SQRT_2PI - 0.5 * lam * square((x - mu) / mu) / x


def inverse_gaussian_log_cdf(x: Value, p: Values) -> Value:
    """Return `log(Phi(a) + exp(2 lam / mu) Phi(-b))` (Chhikara and Folks 1974)."""
    low, high = _standardized(x, p)
    return logaddexp(log_normal_cdf(low), 2.0 * p["lam"] / p["mu"] + log_normal_cdf(high))


def inverse_gaussian_log_survival(x: Value, p: Values) -> Value:
    """Return `log(Phi(-a) - exp(2 lam / mu) Phi(-b))`."""
    low, high = _standardized(x, p)
    return log_difference(log_normal_cdf(-low), 2.0 * p["lam"] / p["mu"] + log_normal_cdf(high))


def _standardized(x: Value, p: Values) -> tuple[Value, Value]:
    positive = at_least(x, SMALLEST)
    root = (p["lam"] / positive) ** 0.5
    return root * (positive / p["mu"] - 1.0), -root * (positive / p["mu"] + 1.0)


def _log_hazard_of_mean(x: Value, p: Values) -> Value:
    """Return the logarithm of the cumulative hazard `(x / scale)^alpha`, with `scale = mu / Gamma(1 + 1 / alpha)`."""
    return p["alpha"] * (log(at_least(x, SMALLEST)) - log(p["mu"]) + gammaln(1.0 + 1.0 / p["alpha"]))


def _weibull_mean(x: Value, p: Values) -> Value:
    hazard = _log_hazard_of_mean(x, p)
    return log(p["alpha"]) - log(x) + hazard - exp(hazard)


def _shapes(p: Values) -> tuple[Value, Value]:
    return p["mu"] * p["phi"], (1.0 - p["mu"]) * p["phi"]


def _scaled(x: Value, p: Values) -> Value:
    return at_least(x, SMALLEST) * p["alpha"] / p["mu"]


def _draw_weibull_mean(rng: np.random.Generator, mu: Array, alpha: Array) -> Array:
    return np.asarray(mu / special.gamma(1.0 + 1.0 / alpha) * rng.weibull(alpha))


def _draw_beta_proportion(rng: np.random.Generator, mu: Array, phi: Array) -> Array:
    return rng.beta(mu * phi, (1.0 - mu) * phi)


DISTRIBUTIONS: Mapping[str, Declared] = MappingProxyType(
    {
        "BetaProportion": Declared(
            lambda x, p: beta_proportion_density(x, p["mu"], p["phi"]),
            elementwise(_draw_beta_proportion, "mu", "phi"),
            mean=lambda p: p["mu"],
            log_cdf=lambda x, p: log_beta_i(*_shapes(p), log_odds(x)),
            log_survival=lambda x, p: log_beta_rest(*_shapes(p), log_odds(x)),
        ),
        "GammaMean": Declared(
            lambda x, p: gamma_density(x, p["alpha"], p["alpha"] / p["mu"]),
            elementwise(lambda rng, mu, alpha: rng.standard_gamma(alpha) * mu / alpha, "mu", "alpha"),
            mean=lambda p: p["mu"],
            log_cdf=lambda x, p: log_gamma_p(p["alpha"], _scaled(x, p)),
            log_survival=lambda x, p: log_gamma_q(p["alpha"], _scaled(x, p)),
        ),
        "InverseGaussian": Declared(
            _inverse_gaussian,
            elementwise(lambda rng, mu, lam: rng.wald(mu, lam), "mu", "lam"),
            mean=lambda p: p["mu"],
            log_cdf=inverse_gaussian_log_cdf,
            log_survival=inverse_gaussian_log_survival,
        ),
        "WeibullMean": Declared(
            _weibull_mean,
            elementwise(_draw_weibull_mean, "mu", "alpha"),
            mean=lambda p: p["mu"],
            log_cdf=lambda x, p: log_complement(-exp(_log_hazard_of_mean(x, p))),
            log_survival=lambda x, p: -exp(_log_hazard_of_mean(x, p)),
        ),
    }
)
