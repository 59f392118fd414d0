"""Distribution functions, for likelihoods that are censored or truncated: of at most a value, and of more than it.

Both are logarithms in a form of their own, so that neither is lost where it is small. Each takes what the distribution
of that name takes; of discrete ones the value is a whole number. What is not here is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from bayesrun.language.densities.algebra import (
    absolute,
    arctangent,
    at_least,
    at_most,
    exp,
    less,
    log,
    log1m,
    log_complement,
    log_difference,
    log_normal_cdf,
    log_sigmoid,
    where,
)
from bayesrun.language.densities.base import Density, Values
from bayesrun.language.densities.lookup import declared
from bayesrun.language.distributions import Family
from bayesrun.language.values import Value, constant

Scaled = Callable[[Value, Values], Value]
_SMALLEST = float(np.finfo(float).tiny)


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


def tails(family: Family) -> Tails | None:
    """Return the distribution function of a family; None where none is known that is exact."""
    if not family.declared:
        return _OF_ENGINES.get(family.name)
    this = declared(family.name)
    if this.log_cdf is None or this.log_survival is None:
        return None
    return Tails(this.log_cdf, this.log_survival)


def with_tails() -> list[str]:
    """Return the names of the distributions of an engine whose distribution function is known."""
    return sorted(_OF_ENGINES)


def log_between(known: Tails, low: Value | None, high: Value | None, parameters: Values) -> Value:
    """Return the log probability of more than `low` and at most `high`, from the tail in which both are.

    Parameters
    ----------
    known
        The distribution function.
    low, high
        Limits; None where there is none. One of them is given.
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


def _standard(x: Value, p: Values) -> Value:
    return (x - _parameter(p, "mu", 0.0)) / _sigma(p)


def _symmetric(log_cdf: Callable[[Value], Value], scaled: Scaled) -> Tails:
    """Return the tails of a distribution that is symmetric around its location."""
    return Tails(lambda x, p: log_cdf(scaled(x, p)), lambda x, p: log_cdf(-scaled(x, p)))


def _of_hazard(hazard: Scaled) -> Tails:
    """Return the tails of a distribution of this cumulative hazard, `S = exp(-H)`."""
    return Tails(lambda x, p: log_complement(-hazard(x, p)), lambda x, p: -hazard(x, p))


def _positive(x: Value) -> Value:
    """Return a value, or the smallest number above 0 where it is not positive."""
    return at_least(x, _SMALLEST)


def _laplace(z: Value) -> Value:
    low = at_most(z, 0.0)
    return where(low, z - float(np.log(2.0)), log1m(0.5 * exp(-absolute(z))))


def _cauchy(z: Value) -> Value:
    """Return `log(1/2 + arctan(z) / pi)`; of the lower tail by the arc tangent of `1 / |z|`."""
    low = less(z, -1.0)
    inverse = arctangent(1.0 / where(low, -z, 1.0))
    return where(low, log(inverse / np.pi), log(0.5 + arctangent(where(low, 0.0, z)) / np.pi))


def _half_normal(x: Value, p: Values) -> Value:
    return log_normal_cdf(-_positive(x) / _sigma(p)) + float(np.log(2.0))


def _gumbel(x: Value, p: Values) -> Value:
    return -exp(-(x - _parameter(p, "mu", 0.0)) / _parameter(p, "beta", 1.0))


def _trials(x: Value, p: Values) -> Value:
    """Return minus the log probability that `x` trials fail."""
    return -at_least(x, 0.0) * log1m(p["p"])


_GUMBEL = Tails(_gumbel, lambda x, p: log_complement(_gumbel(x, p)))
_LOG_NORMAL = _symmetric(log_normal_cdf, lambda x, p: _standard(log(_positive(x)), p))
_OF_ENGINES: Mapping[str, Tails] = MappingProxyType(
    {
        "Cauchy": _symmetric(_cauchy, lambda x, p: (x - p["alpha"]) / p["beta"]),
        "Exponential": _of_hazard(lambda x, p: _positive(x) * p["lam"]),
        "Geometric": _of_hazard(_trials),
        "Gumbel": _GUMBEL,
        "HalfNormal": Tails(lambda x, p: log_complement(_half_normal(x, p)), _half_normal),
        "Laplace": _symmetric(_laplace, lambda x, p: (x - p["mu"]) / p["b"]),
        "Logistic": _symmetric(log_sigmoid, lambda x, p: (x - _parameter(p, "mu", 0.0)) / _parameter(p, "s", 1.0)),
        "LogNormal": _LOG_NORMAL,
        "Lognormal": _LOG_NORMAL,
        "LogitNormal": _symmetric(log_normal_cdf, lambda x, p: _standard(log(x) - log1m(x), p)),
        "Normal": _symmetric(log_normal_cdf, _standard),
        "Pareto": _of_hazard(lambda x, p: p["alpha"] * at_least(log(_positive(x)) - log(p["m"]), 0.0)),
        "Weibull": _of_hazard(lambda x, p: exp(p["alpha"] * (log(_positive(x)) - log(p["beta"])))),
    }
)
