"""Log densities of common distributions as expressions, for models that need them at every value of a hidden state.

Each agrees with the density of the engine's distribution of the same name; a contract test compares them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from bayesrun.language.densities.algebra import (
    LOG_SQRT_2PI,
    absolute,
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
    picked,
    poisson_mass,
    square,
    where,
    xlogy,
)
from bayesrun.language.densities.base import Density, Values
from bayesrun.language.densities.lookup import log_density
from bayesrun.language.distributions import known_family
from bayesrun.language.values import Value, constant


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


_OWN: Mapping[str, Density] = MappingProxyType(
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
    return sorted(_OWN)


def written_density(name: str) -> Callable[[Value, Values], Value] | None:
    """Return the log density of a distribution as an expression; None if there is none.

    Parameters
    ----------
    name
        Its name. Parameters broadcast against the value from the right, their own axes last.
    """
    if name in _OWN:
        return _OWN[name]
    known = known_family(name)
    return (lambda x, p: log_density(known, x, p)) if known.declared else None
