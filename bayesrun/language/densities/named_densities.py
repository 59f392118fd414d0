"""Log densities by the name of a distribution: of declared ones, within their supports, and of common ones.

The common ones are written as expressions for models that need them at every value of a hidden state. Each agrees with
the density of the engine's distribution of the same name; a contract test compares them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from bayesrun.language.densities import categories, continuous, inflated
from bayesrun.language.densities.algebra import (
    LOG_SQRT_2PI,
    absolute,
    at_most,
    beta_binomial_mass,
    beta_density,
    gamma_density,
    gammaln,
    less,
    log,
    log1m,
    log1p,
    log_at_zero,
    log_normal_density,
    log_sigmoid,
    log_ways,
    negative_binomial_mass,
    only_where,
    picked,
    poisson_mass,
    square,
    where,
    xlogy,
)
from bayesrun.language.densities.base import DENSITIES, Declared, Density, Values
from bayesrun.language.distributions import Distribution, known_family
from bayesrun.language.values import Value, constant


def _no_draws(p: Mapping[str, Any], shape: tuple[int, ...], rng: Any) -> Any:
    raise ValueError("the rows of a series with hidden states are drawn together")


_DECLARED: Mapping[str, Declared] = {
    **{name: one for module in (categories, continuous, inflated) for name, one in module.DISTRIBUTIONS.items()},
    # their terms are computed by the forward algorithm and the Kalman filter, from the data
    "HiddenMarkov": Declared(lambda x, p: p["terms"], _no_draws),
    "LinearGaussian": Declared(lambda x, p: p["terms"], _no_draws),
}


def declared(name: str) -> Declared:
    """Return the definition of a declared distribution (`Distribution.declared`)."""
    return _DECLARED[name] if name in _DECLARED else DENSITIES.load(name, f"dist: {name}")


def log_density(family: Distribution, x: Value, parameters: Values) -> Value:
    """Return the log density of a declared distribution.

    Parameters
    ----------
    family
        The distribution.
    x
        Points at which to evaluate it, with unnamed axes.
    parameters
        Its parameters, with unnamed axes, which broadcast against `x` from the right.

    Returns
    -------
    Value
        Over the axes of `x` without those of one draw; minus infinity outside of the support and of the parameters'
        domains.
    """
    logs = declared(family.name).log_density(x, parameters)
    return only_where(logs, *_in_domains(family, parameters), *_in_support(family, x))


def _in_domains(family: Distribution, parameters: Values) -> Iterator[Value]:
    for name, value in parameters.items():
        known = family.parameters[name]
        if known.axes == 0:
            yield from _within(known.domain, value)


def _in_support(family: Distribution, x: Value) -> Iterator[Value]:
    if family.event == 0:
        yield from _within({"unit": "open_unit"}.get(family.support, family.support), x)


def _within(domain: str, value: Value) -> Iterator[Value]:
    zero, one = constant(0.0), constant(1.0)
    if domain in ("positive", "open_unit"):
        yield less(zero, value)
    elif domain in ("nonnegative", "count", "unit", "unit_or_end"):
        yield at_most(zero, value)
    if domain in ("unit", "unit_or_end"):
        yield at_most(value, one)
    elif domain == "open_unit":
        yield less(value, one)


def known_log_density(family: Distribution, x: Any, parameters: Mapping[str, Any]) -> Any:
    """Return the log density of a declared distribution of known parameters at known values, both as arrays."""
    return log_density(family, constant(x), unnamed(parameters)).known


def unnamed(arrays: Mapping[str, Any]) -> dict[str, Value]:
    """Return known arrays as values with unnamed axes."""
    return {name: constant(array) for name, array in arrays.items()}


def _mu(p: Values) -> Value:
    return p["mu"] if "mu" in p else constant(0.0)


def _sigma(p: Values, precision: str = "tau") -> Value:
    return p["sigma"] if "sigma" in p else p[precision] ** -0.5


def _normal(x: Value, p: Values) -> Value:
    sigma = _sigma(p)
    return -0.5 * square((x - _mu(p)) / sigma) - log(sigma) - LOG_SQRT_2PI


def _student(x: Value, p: Values) -> Value:
    nu, sigma = p["nu"], _sigma(p, "lam")
    norm = gammaln((nu + 1.0) / 2.0) - gammaln(nu / 2.0) - 0.5 * log(nu * np.pi) - log(sigma)
    return norm - (nu + 1.0) / 2.0 * log1p(square((x - _mu(p)) / sigma) / nu)


def _laplace(x: Value, p: Values) -> Value:
    return -log(2.0 * p["b"]) - absolute(x - p["mu"]) / p["b"]


def _gamma(x: Value, p: Values) -> Value:
    if "alpha" in p:
        return gamma_density(x, p["alpha"], p["beta"])
    return gamma_density(x, square(p["mu"] / p["sigma"]), p["mu"] / square(p["sigma"]))


def _beta(x: Value, p: Values) -> Value:
    if "alpha" in p:
        return beta_density(x, p["alpha"], p["beta"])
    total = p["mu"] * (1.0 - p["mu"]) / square(p["sigma"]) - 1.0
    return beta_density(x, p["mu"] * total, (1.0 - p["mu"]) * total)


def _log1m_at_one(p: Value) -> Value:
    """Return `log(1 - p)`; minus infinity where `p` is 1, with the derivative 0 there."""
    below = less(p, 1.0)
    return where(below, log1m(where(below, p, 0.0)), -np.inf)


def _bernoulli(x: Value, p: Values) -> Value:
    if "logit_p" in p:
        return where(x, log_sigmoid(p["logit_p"]), log_sigmoid(-p["logit_p"]))
    return where(x, log_at_zero(p["p"]), _log1m_at_one(p["p"]))


def _binomial(x: Value, p: Values) -> Value:
    return log_ways(p["n"], x) + xlogy(x, p["p"]) + xlogy(p["n"] - x, 1.0 - p["p"])


def _beta_binomial(x: Value, p: Values) -> Value:
    return beta_binomial_mass(x, p["n"], p["alpha"], p["beta"])


_COMMON: Mapping[str, Density] = MappingProxyType(
    {
        "Bernoulli": _bernoulli,
        "Beta": _beta,
        "BetaBinomial": _beta_binomial,
        "Binomial": _binomial,
        "Categorical": lambda x, p: picked(log_at_zero(p["p"]), x),
        "Exponential": lambda x, p: log(p["lam"]) - p["lam"] * x,
        "Gamma": _gamma,
        "Geometric": lambda x, p: log(p["p"]) + (x - 1.0) * log1m(p["p"]),
        "Laplace": _laplace,
        "LogNormal": lambda x, p: log_normal_density(x, _mu(p), _sigma(p)),
        "NegativeBinomial": lambda x, p: negative_binomial_mass(x, p["mu"], p["alpha"] if "alpha" in p else p["n"]),
        "Normal": _normal,
        "Poisson": lambda x, p: poisson_mass(x, p["mu"]),
        "StudentT": _student,
    }
)


def written_families() -> list[str]:
    """Return the names of the distributions that are written down here; declared ones have a density, too."""
    return sorted(_COMMON)


def written_density(name: str) -> Callable[[Value, Values], Value] | None:
    """Return the log density of a distribution as an expression; None if there is none.

    Parameters
    ----------
    name
        Its name. Parameters broadcast against the value from the right, their own axes last.
    """
    if name in _COMMON:
        return _COMMON[name]
    known = known_family(name)
    return (lambda x, p: log_density(known, x, p)) if known.declared else None
