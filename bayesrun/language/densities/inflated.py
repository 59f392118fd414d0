"""Distributions with a point mass at a boundary: hurdle models, and zero- (and one-) inflated ones.

`zero` is the probability of a structural zero. In a hurdle model every zero is structural and the rest is positive;
in a zero-inflated one, the distribution has additional zeros of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from bayesrun.language.densities.algebra import (
    SMALLEST,
    at_least,
    beta_binomial_mass,
    beta_proportion_density,
    equals,
    exp,
    expm1,
    gamma_density,
    less,
    log,
    log1m,
    log1mexp,
    log1p,
    log_beta_rest,
    log_complement,
    log_gamma_p,
    log_gamma_q,
    log_normal_cdf,
    log_normal_density,
    logaddexp,
    negative_binomial_mass,
    negative_binomial_zero,
    poisson_mass,
    square,
    where,
)
from bayesrun.language.densities.base import Array, Declared, Density, Draw, Parameters, Values, spread
from bayesrun.language.values import Value

Of = Callable[[Values], Value]


def _hurdle_counts(
    mass: Density, at_zero: Of, mean: Of, survival: Density, draw: Callable[..., Array], *names: str
) -> Declared:
    """Return a hurdle distribution of counts (Mullahy 1986, doi:10.1016/0304-4076(86)90002-3).

    Parameters
    ----------
    mass
        Log probability of the counts.
    at_zero
        Log probability of 0 before truncation.
    mean
        Mean before truncation.
    survival
        Log probability of more than a count, before truncation.
    draw
        `(rng, *parameters) -> positive counts`.
    names
        Their parameters.
    """

    def log_density(x: Value, p: Values) -> Value:
        positive = log1m(p["zero"]) + mass(at_least(x, 1.0), p) - log1mexp(at_zero(p))
        return where(equals(x, 0), log(p["zero"]), positive)

    def expected(p: Values) -> Value:
        return (1.0 - p["zero"]) * mean(p) / -expm1(at_zero(p))

    tails = _of_positive(survival, lambda p: log1mexp(at_zero(p)))
    return Declared(log_density, _or_zero(draw, *names), expected, *tails)


def _of_positive(survival: Density, all_: Of | None = None) -> tuple[Density, Density]:
    """Return the tails of a hurdle distribution, given the survival function of the distribution before truncation.

    Parameters
    ----------
    survival
        Log probability of more than a value.
    all_
        Log probability of a positive value; None if all are positive.
    """

    def beyond(x: Value, p: Values) -> Value:
        own = survival(at_least(x, 0.0), p) if all_ is None else survival(at_least(x, 0.0), p) - all_(p)
        return where(less(x, 0.0), 0.0, log1m(p["zero"]) + own)

    def below(x: Value, p: Values) -> Value:
        return where(less(x, 0.0), -np.inf, log_complement(where(less(x, 0.0), -1.0, beyond(x, p))))

    return below, beyond


def _hurdle(
    density: Density, mean: Of, draw: Callable[..., Array], *names: str, survival: Density | None = None
) -> Declared:
    """Return a hurdle distribution of a positive quantity with this density."""

    def log_density(x: Value, p: Values) -> Value:
        none = equals(x, 0)
        return where(none, log(p["zero"]), log1m(p["zero"]) + density(where(none, 0.5, x), p))

    tails = (None, None) if survival is None else _of_positive(survival)
    return Declared(log_density, _or_zero(draw, *names), lambda p: (1.0 - p["zero"]) * mean(p), *tails)


def _with_zeros(mass: Density, mean: Of, draw: Callable[..., Array], *names: str) -> Declared:
    """Return a zero-inflated distribution of counts (Lambert 1992, doi:10.2307/1269547)."""

    def log_density(x: Value, p: Values) -> Value:
        own = log1m(p["zero"]) + mass(x, p)
        return where(equals(x, 0), logaddexp(log(p["zero"]), own), own)

    return Declared(log_density, _or_zero(draw, *names), lambda p: (1.0 - p["zero"]) * mean(p))


def _or_zero(draw: Callable[..., Array], *names: str) -> Draw:
    """Return the draws of a distribution that are 0 with probability `zero`."""

    def drawn(p: Parameters, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        zero, *own = spread(p["zero"], *(p[name] for name in names), shape=shape)
        return np.where(rng.random(zero.shape) < zero, 0, draw(rng, *own))

    return drawn


def _first_event(rng: np.random.Generator, rate: Array, length: Array) -> Array:
    """Draw the time of the first event of a Poisson process, given that one occurs within the length."""
    return np.asarray(-np.log1p(rng.random(np.shape(rate)) * np.expm1(-rate * length)) / rate)


def _positive_poisson(rng: np.random.Generator, mu: Array) -> Array:
    """Draw positive counts: the first event, and those in the remaining time."""
    mu = np.maximum(mu, np.finfo(float).tiny)
    return np.asarray(1 + rng.poisson(np.maximum(mu - _first_event(rng, np.ones_like(mu), mu), 0.0)))


def _positive_negative_binomial(rng: np.random.Generator, mu: Array, alpha: Array) -> Array:
    """Draw positive counts: the size of the first cluster, and of those in the remaining time.

    A negative binomial count is the sum of clusters of logarithmic size that come at the rate `log(1 + mu / alpha)` in
    a time of length `alpha`.
    """
    mu = np.maximum(mu, np.finfo(float).tiny)
    left = np.maximum(alpha - _first_event(rng, np.log1p(mu / alpha), alpha), 0.0)
    return np.asarray(rng.logseries(mu / (mu + alpha)) + rng.poisson(rng.standard_gamma(left) * mu / alpha))


def _zero_one_inflated_beta(x: Value, p: Values) -> Value:
    """Return the log density of proportions (Ospina and Ferrari 2010, doi:10.1007/s00362-008-0125-4)."""
    none, all_ = equals(x, 0), equals(x, 1)
    inside = where(none, 0.5, where(all_, 0.5, x))
    between = log1m(p["zero_one"]) + beta_proportion_density(inside, p["mu"], p["phi"])
    at_one, at_zero = log(p["zero_one"]) + log(p["one"]), log(p["zero_one"]) + log1m(p["one"])
    return where(none, at_zero, where(all_, at_one, between))


def _draw_zero_one_inflated_beta(p: Parameters, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    mu, phi, zero_one, one = spread(p["mu"], p["phi"], p["zero_one"], p["one"], shape=shape)
    ends = (rng.random(mu.shape) < one).astype(float)
    return np.where(rng.random(mu.shape) < zero_one, ends, rng.beta(mu * phi, (1.0 - mu) * phi))


DISTRIBUTIONS: Mapping[str, Declared] = MappingProxyType(
    {
        "HurdleGamma": _hurdle(
            lambda x, p: gamma_density(x, p["alpha"], p["alpha"] / p["mu"]),
            lambda p: p["mu"],
            lambda rng, mu, alpha: rng.standard_gamma(alpha) * mu / alpha,
            *("mu", "alpha"),
            survival=lambda x, p: log_gamma_q(p["alpha"], at_least(x, SMALLEST) * p["alpha"] / p["mu"]),
        ),
        "HurdleLogNormal": _hurdle(
            lambda x, p: log_normal_density(x, p["mu"], p["sigma"]),
            lambda p: exp(p["mu"] + 0.5 * square(p["sigma"])),
            lambda rng, mu, sigma: rng.lognormal(mu, sigma),
            *("mu", "sigma"),
            survival=lambda x, p: log_normal_cdf((p["mu"] - log(at_least(x, SMALLEST))) / p["sigma"]),
        ),
        "HurdleNegativeBinomial": _hurdle_counts(
            lambda x, p: negative_binomial_mass(x, p["mu"], p["alpha"]),
            lambda p: negative_binomial_zero(p["mu"], p["alpha"]),
            lambda p: p["mu"],
            lambda x, p: log_beta_rest(p["alpha"], x + 1.0, log(p["alpha"]) - log(p["mu"])),
            _positive_negative_binomial,
            *("mu", "alpha"),
        ),
        "HurdlePoisson": _hurdle_counts(
            lambda x, p: poisson_mass(x, p["mu"]),
            lambda p: -p["mu"],
            lambda p: p["mu"],
            lambda x, p: log_gamma_p(x + 1.0, p["mu"]),
            _positive_poisson,
            "mu",
        ),
        "ZeroInflatedBeta": _hurdle(
            lambda x, p: beta_proportion_density(x, p["mu"], p["phi"]),
            lambda p: p["mu"],
            lambda rng, mu, phi: rng.beta(mu * phi, (1.0 - mu) * phi),
            *("mu", "phi"),
        ),
        "ZeroInflatedBetaBinomial": _with_zeros(
            lambda x, p: beta_binomial_mass(x, p["n"], p["mu"] * p["phi"], (1.0 - p["mu"]) * p["phi"]),
            lambda p: p["n"] * p["mu"],
            lambda rng, n, mu, phi: rng.binomial(np.rint(n).astype(np.int64), rng.beta(mu * phi, (1.0 - mu) * phi)),
            *("n", "mu", "phi"),
        ),
        "ZeroInflatedGeometric": _with_zeros(
            lambda x, p: x * (log(p["mu"]) - log1p(p["mu"])) - log1p(p["mu"]),
            lambda p: p["mu"],
            lambda rng, mu: rng.geometric(1.0 / (1.0 + mu)) - 1,
            "mu",
        ),
        "ZeroOneInflatedBeta": Declared(
            _zero_one_inflated_beta,
            _draw_zero_one_inflated_beta,
            lambda p: (1.0 - p["zero_one"]) * p["mu"] + p["zero_one"] * p["one"],
        ),
    }
)
