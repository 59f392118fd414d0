"""Log densities of the elementary distributions from which others are built, as expressions."""

from __future__ import annotations

from bayesrun.language.densities.algebra import (
    LOG_SQRT_2PI,
    betaln,
    gammaln,
    log,
    log1m,
    log1p,
    log_ways,
    square,
    xlogy,
)
from bayesrun.language.values import Value


def log_normal_density(x: Value, mu: Value, sigma: Value) -> Value:
    """Return the log density of `LogNormal` at `x > 0`."""
    return -0.5 * square((log(x) - mu) / sigma) - log(sigma) - log(x) - LOG_SQRT_2PI


def gamma_density(x: Value, alpha: Value, beta: Value) -> Value:
    """Return the log density of `Gamma` of shape `alpha` and rate `beta` at `x > 0`."""
    return alpha * log(beta) - gammaln(alpha) + (alpha - 1.0) * log(x) - beta * x


def beta_density(x: Value, a: Value, b: Value) -> Value:
    """Return the log density of `Beta` at `0 < x < 1`."""
    return (a - 1.0) * log(x) + (b - 1.0) * log1m(x) - betaln(a, b)


def beta_proportion_density(x: Value, mu: Value, phi: Value) -> Value:
    """Return the log density of `Beta` of mean `mu` and precision `phi` at `0 < x < 1`."""
    return beta_density(x, mu * phi, (1.0 - mu) * phi)


def poisson_mass(x: Value, mu: Value) -> Value:
    """Return the log probability of `Poisson`."""
    return xlogy(x, mu) - gammaln(x + 1.0) - mu


def negative_binomial_mass(x: Value, mu: Value, alpha: Value) -> Value:
    """Return the log probability of `NegativeBinomial` of mean `mu` and shape `alpha`."""
    ways = gammaln(x + alpha) - gammaln(x + 1.0) - gammaln(alpha)
    return ways + xlogy(x, mu / (mu + alpha)) + negative_binomial_zero(mu, alpha)


def negative_binomial_zero(mu: Value, alpha: Value) -> Value:
    """Return the log probability of 0 of `NegativeBinomial`."""
    return -alpha * log1p(mu / alpha)


def beta_binomial_mass(x: Value, n: Value, a: Value, b: Value) -> Value:
    """Return the log probability of `BetaBinomial`."""
    return log_ways(n, x) + betaln(x + a, n - x + b) - betaln(a, b)
