"""Building blocks of log densities: numerically stable functions of values, and elementary densities made of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bayesrun.language.functions import exp, log, square, where
from bayesrun.language.values import Operand, Value, apply, compute, constant

SMALLEST = float(np.finfo(float).tiny)
LOG_SQRT_2PI = float(0.5 * np.log(2.0 * np.pi))
LARGEST_PRECISION = 1e8
"""Sum of a beta-binomial's parameters from which it is a binomial distribution in effect.

Its density is a difference of log gamma functions, of which rounding leaves nothing from 1e12 on: noise in place of a
constant, in which chains get lost.
"""
LARGEST_SHAPE = 1e10
"""Shape from which a negative binomial distribution is Poisson's in effect, for the same reason; that of PyMC3."""


def _of_one(operation: str, doc: str) -> Callable[[Value], Value]:
    def function(x: Value) -> Value:
        return apply(operation, [x])

    function.__doc__ = doc
    return function


log1p = _of_one("log1p", "Return `log(1 + x)`.")
expm1 = _of_one("expm1", "Return `exp(x) - 1`.")
gammaln = _of_one("gammaln", "Return the logarithm of the gamma function.")
softplus = _of_one("softplus", "Return `log(1 + exp(x))`.")
sigmoid = _of_one("sigmoid", "Return the logistic function.")
log1mexp = _of_one("log1mexp", "Return `log(1 - exp(x))` for `x <= 0`.")
log_normal_cdf = _of_one("log_normal_cdf", "Return the logarithm of the standard normal distribution function.")
absolute = _of_one("abs", "Return the absolute value.")
arctangent = _of_one("atan", "Return the inverse tangent.")


def log_sigmoid(x: Value) -> Value:
    """Return the logarithm of the logistic function."""
    return -softplus(-x)


def log1m(x: Value) -> Value:
    """Return `log(1 - x)`."""
    return log1p(-x)


def logaddexp(a: Value, b: Value) -> Value:
    """Return `log(exp(a) + exp(b))`."""
    return apply("logaddexp", [a, b])


def log_odds(x: Value) -> Value:
    """Return `log(x / (1 - x))` of a proportion, finite at its ends."""
    inside = apply("clip", [x, SMALLEST, 1.0 - 1e-16])
    return log(inside) - log1m(inside)


def log_complement(x: Value) -> Value:
    """Return `log(1 - exp(x))` of a log probability; finite, with zero derivative, where the probability is 1."""
    return log1mexp(apply("minimum", [x, -SMALLEST]))


def log_gamma_p(a: Value, x: Value) -> Value:
    """Return the logarithm of the regularized lower incomplete gamma function."""
    return apply("log_gamma_p", [a, x])


def log_gamma_q(a: Value, x: Value) -> Value:
    """Return the logarithm of the regularized upper incomplete gamma function."""
    return apply("log_gamma_q", [a, x])


def log_beta_i(a: Value, b: Value, log_odds: Value) -> Value:
    """Return the logarithm of the regularized incomplete beta function at a point of these log odds."""
    return apply("log_beta_i", [a, b, log_odds])


def log_beta_rest(a: Value, b: Value, log_odds: Value) -> Value:
    """Return the logarithm of the complement of the regularized incomplete beta function."""
    return apply("log_beta_rest", [a, b, log_odds])


def log_difference(a: Value, b: Value) -> Value:
    """Return `log(exp(a) - exp(b))` for `a >= b`, up to rounding."""
    return a + log1mexp(-at_least(a - b, 0.0))


def log_at_zero(y: Value) -> Value:
    """Return `log(y)`; minus infinity where `y` is 0, with the derivative 0 there, not one that is no number."""
    above = less(constant(0.0), y)
    return where(above, log(where(above, y, 1.0)), -np.inf)


def xlogy(x: Value, y: Value) -> Value:
    """Return `x log(y)`, 0 where x is 0."""
    zero = equals(x, 0)
    return where(zero, 0.0, x * log_at_zero(where(zero, 1.0, y)))


def betaln(a: Value, b: Value) -> Value:
    """Return the logarithm of the beta function."""
    return gammaln(a) + gammaln(b) - gammaln(a + b)


def log_ways(n: Value, x: Value) -> Value:
    """Return the logarithm of the binomial coefficient."""
    return gammaln(n + 1.0) - gammaln(x + 1.0) - gammaln(n - x + 1.0)


def equals(a: Value, b: Operand) -> Value:
    """Return where two values are equal."""
    return apply("equal", [a, b])


def less(a: Value, b: Operand) -> Value:
    """Return where the first value is below the second."""
    return apply("less", [a, b])


def at_most(a: Value, b: Operand) -> Value:
    """Return where the first value is less than or equal to the second."""
    return apply("less_equal", [a, b])


def only_where(logs: Value, *conditions: Value) -> Value:
    """Return log densities, minus infinity where any condition does not hold."""
    return apply("bounded", [logs, *conditions])


def at_least(a: Value, low: float) -> Value:
    """Return the value, clipped below at `low`, so that a branch that is not taken can't fail."""
    return apply("maximum", [a, low])


def column(x: Value) -> Value:
    """Return a value with a new last axis of size 1, for categories."""
    return compute("rearrange", [x], (*x.dims, None), (*range(x.ndim), None), ())


def categories(size: int) -> Value:
    """Return the codes 0, 1, ... of this many categories."""
    return constant(np.arange(size))


def over_last(operation: str, x: Value) -> Value:
    """Reduce the last axis by an operation of the language (`sum`, `logsumexp`), or accumulate along it (`cumsum`)."""
    kept = x.dims if operation == "cumsum" else x.dims[:-1]
    return compute(operation, [x], kept, x.ndim - 1)


def picked(terms: Value, category: Value) -> Value:
    """Return the term of each value's category, 0 where there is no such category.

    Parameters
    ----------
    terms
        Over (..., category).
    category
        Codes of categories; they broadcast against the terms without their last axis.
    """
    chosen = equals(column(category), categories(terms.shape[-1]))
    return over_last("sum", where(chosen, terms, 0.0))


__all__ = ["exp", "log", "square", "where"]


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
    alpha = apply("minimum", [alpha, LARGEST_SHAPE])
    ways = gammaln(x + alpha) - gammaln(x + 1.0) - gammaln(alpha)
    return ways + xlogy(x, mu / (mu + alpha)) + negative_binomial_zero(mu, alpha)


def negative_binomial_zero(mu: Value, alpha: Value) -> Value:
    """Return the log probability of 0 of `NegativeBinomial`."""
    return -alpha * log1p(mu / alpha)


def beta_binomial_mass(x: Value, n: Value, a: Value, b: Value) -> Value:
    """Return the log probability of `BetaBinomial`; from `LARGEST_PRECISION` on it is practically `Binomial`'s."""
    shrink = apply("minimum", [1.0, LARGEST_PRECISION / (a + b)])
    a, b = shrink * a, shrink * b
    return log_ways(n, x) + betaln(x + a, n - x + b) - betaln(a, b)
