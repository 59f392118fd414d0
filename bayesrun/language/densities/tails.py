"""Tails of distributions: cumulative distribution and survival functions, and draws between limits.

Censored and truncated likelihoods need them. Both functions are computed as logarithms separately, so that small
probabilities keep their precision. Each takes the parameters of its distribution; for discrete ones the value is a
whole number. Distributions not listed here are rejected.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from bayesrun.language.densities.algebra import (
    SMALLEST,
    absolute,
    arctangent,
    at_least,
    at_most,
    exp,
    less,
    log,
    log1m,
    log_beta_i,
    log_beta_rest,
    log_complement,
    log_difference,
    log_gamma_p,
    log_gamma_q,
    log_normal_cdf,
    log_odds,
    log_sigmoid,
    logaddexp,
    square,
    where,
)
from bayesrun.language.densities.base import Array, Density, Values, spread
from bayesrun.language.densities.continuous import inverse_gaussian_log_cdf, inverse_gaussian_log_survival
from bayesrun.language.densities.named_densities import declared, unnamed
from bayesrun.language.distributions import Distribution
from bayesrun.language.values import Value, constant

Scaled = Callable[[Value, Values], Value]
_LOG_2 = float(np.log(2.0))
_FAR_OUT = 1e6
"""A standard normal value beyond which the probability is 0."""


@dataclass(frozen=True)
class Tails:
    """A distribution function.

    Parameters
    ----------
    log_cdf
        Logarithm of the probability of at most a value.
    log_survival
        Logarithm of the probability of more than it.
    """

    log_cdf: Density
    log_survival: Density


def tails(family: Distribution) -> Tails | None:
    """Return the distribution function of a family; None if no exact form is known."""
    if not family.declared:
        return _OF_ENGINES.get(family.name)
    this = declared(family.name)
    if this.log_cdf is None or this.log_survival is None:
        return None
    return Tails(this.log_cdf, this.log_survival)


def log_between(known: Tails, low: Value | None, high: Value | None, parameters: Values) -> Value:
    """Return the log probability of more than `low` and at most `high`, computed from the tail in which both lie.

    Parameters
    ----------
    known
        The distribution function.
    low, high
        Limits; None for no limit. At least one is given.
    parameters
        Of the distribution.
    """
    if low is None:
        assert high is not None
        return known.log_cdf(high, parameters)
    if high is None:
        return known.log_survival(low, parameters)
    below, above = known.log_cdf(low, parameters), known.log_survival(low, parameters)
    upper = less(above, below)
    larger = where(upper, above, known.log_cdf(high, parameters))
    smaller = where(upper, known.log_survival(high, parameters), below)
    return log_difference(larger, smaller)


def _parameter(p: Values, name: str, default: float) -> Value:
    return p[name] if name in p else constant(default)


def _sigma(p: Values) -> Value:
    return p["sigma"] if "sigma" in p else p["tau"] ** -0.5


def _standard_log_odds(x: Value, p: Values) -> Value:
    """Return the standardized log odds of a proportion; far out for limits at 0 and 1 and beyond."""
    inside = _standard(log_odds(x), p)
    return where(x >= 1.0, _FAR_OUT, where(x > 0.0, inside, -_FAR_OUT))


def _standard(x: Value, p: Values) -> Value:
    return (x - _parameter(p, "mu", 0.0)) / _sigma(p)


def _symmetric(log_cdf: Callable[[Value], Value], scaled: Scaled) -> Tails:
    """Return the tails of a distribution that is symmetric about its location."""
    return Tails(lambda x, p: log_cdf(scaled(x, p)), lambda x, p: log_cdf(-scaled(x, p)))


def _of_hazard(hazard: Scaled) -> Tails:
    """Return the tails of a distribution with this cumulative hazard, `S = exp(-H)`."""
    return Tails(lambda x, p: log_complement(-hazard(x, p)), lambda x, p: -hazard(x, p))


def _positive(x: Value) -> Value:
    """Return a value, or the smallest number above 0 where it is not positive."""
    return at_least(x, SMALLEST)


def _laplace(z: Value) -> Value:
    low = at_most(z, 0.0)
    return where(low, z - _LOG_2, log1m(0.5 * exp(-absolute(z))))


def _cauchy(z: Value) -> Value:
    """Return `log(1/2 + arctan(z) / pi)`; of the lower tail by the arc tangent of `1 / |z|`."""
    low = less(z, -1.0)
    inverse = arctangent(1.0 / where(low, -z, 1.0))
    return where(low, log(inverse / np.pi), log(0.5 + arctangent(where(low, 0.0, z)) / np.pi))


def _half_normal(x: Value, p: Values) -> Value:
    return log_normal_cdf(-_positive(x) / _sigma(p)) + _LOG_2


def _gumbel(x: Value, p: Values) -> Value:
    return -exp(-(x - _parameter(p, "mu", 0.0)) / _parameter(p, "beta", 1.0))


def _trials(x: Value, p: Values) -> Value:
    """Return the negative log probability that `x` trials fail."""
    return -at_least(x, 0.0) * log1m(p["p"])


def _gamma(of: Callable[[Values], tuple[Value, Value]]) -> Tails:
    """Return the tails of a gamma distribution of this shape and rate."""
    return Tails(
        lambda x, p: log_gamma_p(of(p)[0], of(p)[1] * _positive(x)),
        lambda x, p: log_gamma_q(of(p)[0], of(p)[1] * _positive(x)),
    )


def _shape_and_rate(p: Values) -> tuple[Value, Value]:
    if "alpha" in p:
        return p["alpha"], p["beta"]
    return square(p["mu"] / p["sigma"]), p["mu"] / square(p["sigma"])


def _beta(of: Callable[[Values], tuple[Value, Value]]) -> Tails:
    """Return the tails of a beta distribution of these shapes."""
    return Tails(lambda x, p: log_beta_i(*of(p), log_odds(x)), lambda x, p: log_beta_rest(*of(p), log_odds(x)))


def _shapes(p: Values) -> tuple[Value, Value]:
    if "alpha" in p:
        return p["alpha"], p["beta"]
    total = p["mu"] * (1.0 - p["mu"]) / square(p["sigma"]) - 1.0
    return p["mu"] * total, (1.0 - p["mu"]) * total


def _student(z: Value, nu: Value) -> Value:
    """Return `log P(T <= z)`; beyond `|z|` is half of an incomplete beta function at `nu / (nu + z^2)`."""
    odds = log(nu) - 2.0 * log(_positive(absolute(z)))
    beyond = log_beta_i(0.5 * nu, constant(0.5), odds) - _LOG_2
    return where(less(z, 0.0), beyond, log_complement(beyond))


def _standard_student(x: Value, p: Values) -> Value:
    scale = p["sigma"] if "sigma" in p else p["lam"] ** -0.5
    return (x - _parameter(p, "mu", 0.0)) / scale


def _counts(at_most_: Density, more: Density) -> Tails:
    """Return the tails of a distribution of counts, given their forms at counts from 0 up."""
    return Tails(
        lambda x, p: where(less(x, 0.0), -np.inf, at_most_(at_least(x, 0.0), p)),
        lambda x, p: where(less(x, 0.0), 0.0, more(at_least(x, 0.0), p)),
    )


def _negative_binomial(of: Callable[[Value, Value, Value], Value]) -> Density:
    """Return a tail of the counts, of shape and log odds `log(alpha / mu)` of a success."""

    def logs(x: Value, p: Values) -> Value:
        shape = p["alpha"] if "alpha" in p else p["n"]
        odds = log(shape) - log(p["mu"]) if "mu" in p else log_odds(p["p"])
        return of(shape, x + 1.0, odds)

    return logs


def _binomial(of: Callable[[Value, Value, Value], Value], at_the_end: float) -> Density:
    """Return a tail of the number of successes; from the number of trials on it is known."""

    def logs(x: Value, p: Values) -> Value:
        all_ = at_most(p["n"], x)
        left = where(all_, 1.0, p["n"] - x)
        return where(all_, at_the_end, of(left, where(all_, 0.0, x) + 1.0, -log_odds(p["p"])))

    return logs


def _half(below: Callable[[Value, Values], Value]) -> Tails:
    """Return the tails of the absolute value of a distribution symmetric about 0, given its lower tail at `-x`."""

    def survival(x: Value, p: Values) -> Value:
        return below(_positive(x), p) + _LOG_2

    return Tails(lambda x, p: log_complement(survival(x, p)), survival)


def _half_student(x: Value, p: Values) -> Value:
    scale = p["sigma"] if "sigma" in p else p["lam"] ** -0.5
    return _student(-x / scale, _parameter(p, "nu", 1.0))


def _inverse_gamma(p: Values) -> tuple[Value, Value]:
    """Return shape and scale."""
    if "alpha" in p:
        return p["alpha"], p["beta"]
    ratio = square(p["mu"] / p["sigma"])
    return ratio + 2.0, p["mu"] * (ratio + 1.0)


def _share(x: Value, p: Values) -> Value:
    """Return where a value lies between the limits of a uniform distribution, 0 to 1."""
    low, high = _parameter(p, "lower", 0.0), _parameter(p, "upper", 1.0)
    share = (x - low) / (high - low)
    return where(less(share, 0.0), 0.0, where(less(share, 1.0), share, 1.0))


def _kumaraswamy(x: Value, p: Values) -> Value:
    inside = less(x, 1.0)
    return where(inside, -p["b"] * log1m(exp(p["a"] * log(_positive(where(inside, x, 0.5))))), np.inf)


def _ex_gaussian(x: Value, p: Values) -> tuple[Value, Value]:
    """Return the two terms of the distribution function, `Phi(z) - exp(s^2 / 2 - s z) Phi(z - s)`, `s = sigma / nu`.

    The second factor is below the first, as the difference is a probability.
    """
    ratio, z = p["sigma"] / p["nu"], (x - _parameter(p, "mu", 0.0)) / p["sigma"]
    return log_normal_cdf(z), 0.5 * square(ratio) - ratio * z + log_normal_cdf(z - ratio)


def _ex_gaussian_survival(x: Value, p: Values) -> Value:
    z = (x - _parameter(p, "mu", 0.0)) / p["sigma"]
    return logaddexp(log_normal_cdf(-z), _ex_gaussian(x, p)[1])


def _moyal(x: Value, p: Values) -> Value:
    z = (x - _parameter(p, "mu", 0.0)) / _parameter(p, "sigma", 1.0)
    return log_normal_cdf(-exp(-0.5 * z)) + _LOG_2


def _with_zeros(name: str) -> Tails:
    """Return the tails of zero-inflated counts, where `psi` is the share of the distribution itself."""

    def own(p: Values) -> Values:
        return {**p, "mu": p["theta"]} if "theta" in p else p

    def at_most_(x: Value, p: Values) -> Value:
        known = _OF_ENGINES[name]
        return logaddexp(log1m(p["psi"]), log(p["psi"]) + known.log_cdf(x, own(p)))

    return _counts(at_most_, lambda x, p: log(p["psi"]) + _OF_ENGINES[name].log_survival(x, own(p)))


def _of_wald(of: Callable[[Value, Values], Value]) -> Density:
    """Return a tail of PyMC3's Wald distribution, an inverse Gaussian one that may be shifted."""

    def logs(x: Value, p: Values) -> Value:
        lam, phi = p.get("lam"), p.get("phi")
        mu = p["mu"] if "mu" in p else lam / phi  # type: ignore[operator]
        if lam is None:
            lam = constant(1.0) if phi is None else mu * phi
        return of(_positive(x - _parameter(p, "alpha", 0.0)), {"mu": mu, "lam": lam})

    return logs


_GUMBEL = Tails(_gumbel, lambda x, p: log_complement(_gumbel(x, p)))
_LOG_NORMAL = _symmetric(log_normal_cdf, lambda x, p: _standard(log(_positive(x)), p))
_OF_ENGINES: Mapping[str, Tails] = MappingProxyType(
    {
        "Beta": _beta(_shapes),
        "Binomial": _counts(_binomial(log_beta_i, 0.0), _binomial(log_beta_rest, -np.inf)),
        "Cauchy": _symmetric(_cauchy, lambda x, p: (x - p["alpha"]) / p["beta"]),
        "ChiSquared": _gamma(lambda p: (0.5 * p["nu"], constant(0.5))),
        "DiscreteWeibull": _of_hazard(lambda x, p: -log(p["q"]) * at_least(x + 1.0, 0.0) ** p["beta"]),
        "ExGaussian": Tails(lambda x, p: log_difference(*_ex_gaussian(x, p)), _ex_gaussian_survival),
        "Exponential": _of_hazard(lambda x, p: _positive(x) * p["lam"]),
        "Gamma": _gamma(_shape_and_rate),
        "Geometric": _of_hazard(_trials),
        "Gumbel": _GUMBEL,
        "HalfCauchy": _half(lambda x, p: _cauchy(-x / p["beta"])),
        "HalfNormal": Tails(lambda x, p: log_complement(_half_normal(x, p)), _half_normal),
        "HalfStudentT": _half(_half_student),
        "InverseGamma": Tails(
            lambda x, p: log_gamma_q(_inverse_gamma(p)[0], _inverse_gamma(p)[1] / _positive(x)),
            lambda x, p: log_gamma_p(_inverse_gamma(p)[0], _inverse_gamma(p)[1] / _positive(x)),
        ),
        "Kumaraswamy": _of_hazard(_kumaraswamy),
        "Laplace": _symmetric(_laplace, lambda x, p: (x - p["mu"]) / p["b"]),
        "Logistic": _symmetric(log_sigmoid, lambda x, p: (x - _parameter(p, "mu", 0.0)) / _parameter(p, "s", 1.0)),
        "LogNormal": _LOG_NORMAL,
        "Lognormal": _LOG_NORMAL,
        "LogitNormal": _symmetric(log_normal_cdf, _standard_log_odds),
        "Moyal": Tails(_moyal, lambda x, p: log_complement(_moyal(x, p))),
        "NegativeBinomial": _counts(_negative_binomial(log_beta_i), _negative_binomial(log_beta_rest)),
        "Normal": _symmetric(log_normal_cdf, _standard),
        "Pareto": _of_hazard(lambda x, p: p["alpha"] * at_least(log(_positive(x)) - log(p["m"]), 0.0)),
        "Poisson": _counts(lambda x, p: log_gamma_q(x + 1.0, p["mu"]), lambda x, p: log_gamma_p(x + 1.0, p["mu"])),
        "StudentT": Tails(
            lambda x, p: _student(_standard_student(x, p), p["nu"]),
            lambda x, p: _student(-_standard_student(x, p), p["nu"]),
        ),
        "Uniform": Tails(lambda x, p: log(_share(x, p)), lambda x, p: log1m(_share(x, p))),
        "Wald": Tails(_of_wald(inverse_gaussian_log_cdf), _of_wald(inverse_gaussian_log_survival)),
        "Weibull": _of_hazard(lambda x, p: exp(p["alpha"] * (log(_positive(x)) - log(p["beta"])))),
        "ZeroInflatedBinomial": _with_zeros("Binomial"),
        "ZeroInflatedNegativeBinomial": _with_zeros("NegativeBinomial"),
        "ZeroInflatedPoisson": _with_zeros("Poisson"),
    }
)


_AGAIN = 4
"""Rounds of rejection sampling before the remaining draws are made by inversion."""
_STEPS = 200
_LOWEST = {"positive": 0.0, "unit": 0.0, "count": -1.0, "binary": -1.0}


def draw_within(
    family: Distribution,
    parameters: Mapping[str, Array],
    limits: Mapping[str, Array],
    draw: Callable[[], Array],
    rng: np.random.Generator,
) -> Array:
    """Draw from a truncated distribution.

    Parameters
    ----------
    family
        The distribution; its tails are known.
    parameters
        Its parameters (draw, ...).
    limits
        `lower`, `upper` or both (draw, ...); values at a limit are within.
    draw
        Draws (draw, *shape) from the untruncated distribution, new ones at each call.
    rng
        Source of randomness.

    Returns
    -------
    ndarray
        Draws (draw, *shape).
    """
    drawn = np.array(draw())
    low, high = (
        np.broadcast_to(spread(limits.get(side, np.array([end])), shape=drawn.shape[1:])[0], drawn.shape)
        for side, end in (("lower", -np.inf), ("upper", np.inf))
    )
    for _ in range(_AGAIN):
        beyond = (drawn < low) | (drawn > high)
        if not beyond.any():
            return drawn
        drawn = np.where(beyond, draw(), drawn)
    beyond = (drawn < low) | (drawn > high)
    if beyond.any():
        wide = spread(*parameters.values(), shape=drawn.shape[1:])
        at = {n: np.broadcast_to(v, drawn.shape)[beyond] for n, v in zip(parameters, wide, strict=True)}
        known = tails(family)
        assert known is not None
        drawn[beyond] = _inverted(family, known, at, low[beyond], high[beyond], rng)
    return drawn


def _inverted(
    family: Distribution,
    known: Tails,
    parameters: Mapping[str, Array],
    low: Array,
    high: Array,
    rng: np.random.Generator,
) -> Array:
    """Draw by inverting the distribution function between the limits, by bisection."""
    values = unnamed(parameters)
    start = np.ceil(low) - 1.0 if family.discrete else low
    high = np.floor(high) if family.discrete else high
    lower = constant(start) if np.isfinite(start).all() else None

    def log_share(x: Array) -> Array:
        return np.asarray(log_between(known, lower, constant(x), values).known)

    upper = constant(high) if np.isfinite(high).all() else None
    whole = _log_all(known, lower, upper, values, low.shape)
    wanted = whole + np.log(rng.random(low.shape))
    with np.errstate(all="ignore"):
        left, right = _bracket(family, start, high, log_share, wanted)
        for _ in range(_STEPS):
            middle = left + 0.5 * (right - left)
            short = log_share(middle) < wanted
            left, right = np.where(short, middle, left), np.where(short, right, middle)
    return np.asarray(np.clip(np.ceil(right - 1e-9) if family.discrete else right, low, high))


def _log_all(known: Tails, lower: Value | None, upper: Value | None, values: Any, shape: tuple[int, ...]) -> Array:
    if lower is None and upper is None:
        return np.zeros(shape)
    return np.asarray(log_between(known, lower, upper, values).known)


def _bracket(
    family: Distribution, low: Array, high: Array, log_share: Callable[[Array], Array], wanted: Array
) -> tuple[Array, Array]:
    """Return finite points that bracket the solution."""
    right = np.where(np.isfinite(high), high, np.where(np.isfinite(low), low, 0.0) + 1.0)
    lowest = _LOWEST.get(family.support, -np.inf)
    left = np.where(np.isfinite(low), low, np.where(np.isfinite(lowest), lowest, right - 1.0))
    step = 1.0
    for _ in range(1000):
        short = ~np.isfinite(high) & (log_share(right) < wanted)
        over = ~np.isfinite(low) & ~np.isfinite(lowest) & (log_share(left) > wanted)
        if not (short.any() or over.any()):
            break
        step *= 2.0
        right, left = np.where(short, right + step, right), np.where(over, left - step, left)
    return left, right
