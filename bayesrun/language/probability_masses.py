"""Log probabilities of the discrete distributions in NumPy, for known parameters.

Builders marginalize discrete variables, or list their possible values, without an engine. Parameters and values
are broadcast; parametrizations are those of the table in `distributions`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.language.densities.algebra import LARGEST_PRECISION, LARGEST_SHAPE
from bayesrun.language.densities.named_densities import known_log_density
from bayesrun.language.plan import Plan
from bayesrun.lazy import special

Array = NDArray[Any]
Parameters = Mapping[str, Array]


def log_probability(this: Plan, values: Array) -> Array:
    """Return the log probability of values under a discrete distribution whose parameters are known.

    Parameters
    ----------
    this
        The distribution.
    values
        Whole numbers; broadcast against the parameters from the right.

    Returns
    -------
    ndarray
        Log probabilities; minus infinity outside the support.
    """
    with np.errstate(all="ignore"):
        logs = _log_probability(this, np.asarray(values))
    if this.truncated:
        lower, upper = (this.values[n].known if n in this.values else None for n in ("lower", "upper"))
        inside = (lower is None or values >= lower) & (upper is None or values <= upper)
        logs = np.where(inside, logs, -np.inf)
    return np.asarray(np.where(np.isnan(logs), -np.inf, logs))


def _log_probability(this: Plan, values: Array) -> Array:
    if this.family.declared:
        return np.asarray(known_log_density(this.family, values, _parameters(this)))
    of_family = _MASSES.get(this.family.name)
    return of_family(_parameters(this), values) if of_family else _mixture(this, values)


def _parameters(this: Plan) -> dict[str, Array]:
    return {name: np.asarray(value.known, dtype=float) for name, value in this.values.items()}


def _mixture(this: Plan, values: Array) -> Array:
    weights, components = np.log(this.values["w"].known), this.inner["comp_dists"]
    if isinstance(components, Plan):
        terms = log_probability(components, np.asarray(values)[..., None])
    else:
        terms = np.stack([log_probability(one, values) for one in components], axis=-1)
    return np.asarray(special.logsumexp(weights + terms, axis=-1))


def _inside(logs: Array, *conditions: Any) -> Array:
    return np.asarray(np.where(np.prod(np.broadcast_arrays(*conditions), axis=0), logs, -np.inf))


def _ways(n: Array, x: Array) -> Array:
    """Return the logarithm of the binomial coefficient."""
    return np.asarray(special.gammaln(n + 1) - special.gammaln(x + 1) - special.gammaln(n - x + 1))


def _bernoulli(p: Parameters, x: Array) -> Array:
    if "logit_p" in p:
        return _inside(-np.logaddexp(0.0, np.where(x, -p["logit_p"], p["logit_p"])), x >= 0, x <= 1)
    return _inside(np.where(x, np.log(p["p"]), np.log1p(-p["p"])), x >= 0, x <= 1)


def _binomial(p: Parameters, x: Array) -> Array:
    n, share = p["n"], p["p"]
    return _inside(_ways(n, x) + special.xlogy(x, share) + special.xlog1py(n - x, -share), x >= 0, x <= n)


def _beta_binomial(p: Parameters, x: Array) -> Array:
    alpha, beta, n = p["alpha"], p["beta"], p["n"]
    shrink = np.minimum(1.0, LARGEST_PRECISION / (alpha + beta))
    alpha, beta = shrink * alpha, shrink * beta
    return _inside(_ways(n, x) + special.betaln(x + alpha, n - x + beta) - special.betaln(alpha, beta), x >= 0, x <= n)


def _categorical(p: Parameters, x: Array) -> Array:
    return _picked(p["p"] / p["p"].sum(axis=-1, keepdims=True), x)


def _picked(shares: Array, x: Array) -> Array:
    """Return the log probability of each value; probabilities are over (..., category)."""
    last = shares.shape[-1] - 1
    place = np.clip(x, 0, last).astype(np.int64)
    wide = np.broadcast_to(shares, (*np.broadcast_shapes(place.shape, shares.shape[:-1]), last + 1))
    place = np.broadcast_to(place, wide.shape[:-1])
    return _inside(np.log(np.take_along_axis(wide, place[..., None], axis=-1)[..., 0]), x >= 0, x <= last)


def _ordered(link: Callable[[Array], Array]) -> Callable[[Parameters, Array], Array]:
    def mass(p: Parameters, x: Array) -> Array:
        below = link(p["cutpoints"] - p["eta"][..., None])
        edges = [np.zeros((*below.shape[:-1], 1)), below, np.ones((*below.shape[:-1], 1))]
        return _picked(np.diff(np.concatenate(edges, axis=-1), axis=-1), x)

    return mass


def _constant(p: Parameters, x: Array) -> Array:
    return _inside(np.zeros(np.shape(x)), x == p["c"])


def _discrete_uniform(p: Parameters, x: Array) -> Array:
    return _inside(-np.log(p["upper"] - p["lower"] + 1), x >= p["lower"], x <= p["upper"])


def _discrete_weibull(p: Parameters, x: Array) -> Array:
    q, beta = p["q"], p["beta"]
    return _inside(np.log(q ** (x**beta) - q ** ((x + 1.0) ** beta)), x >= 0)


def _geometric(p: Parameters, x: Array) -> Array:
    return _inside(np.log(p["p"]) + special.xlog1py(x - 1, -p["p"]), x >= 1)


def _hypergeometric(p: Parameters, x: Array) -> Array:
    total, good, n = p["N"], p["k"], p["n"]
    logs: Array = _ways(good, x) + _ways(total - good, n - x) - _ways(total, n)
    return _inside(logs, x >= np.maximum(0, n - total + good), x <= np.minimum(good, n))


def _poisson(p: Parameters, x: Array) -> Array:
    return _poisson_of(p["mu"], x)


def _poisson_of(mu: Array, x: Array) -> Array:
    return _inside(special.xlogy(x, mu) - special.gammaln(x + 1) - mu, x >= 0)


def _negative_binomial(p: Parameters, x: Array) -> Array:
    alpha = p["alpha"] if "alpha" in p else p["n"]
    return _negative_binomial_of(p["mu"] if "mu" in p else alpha * (1 - p["p"]) / p["p"], alpha, x)


def _negative_binomial_of(mu: Array, alpha: Array, x: Array) -> Array:
    alpha = np.minimum(alpha, LARGEST_SHAPE)
    ways = special.gammaln(x + alpha) - special.gammaln(x + 1) - special.gammaln(alpha)
    return _inside(ways + special.xlogy(x, mu / (mu + alpha)) + alpha * np.log(alpha / (mu + alpha)), x >= 0)


def _zero_inflated(psi: Array, logs: Array, at_zero: Array, x: Array) -> Array:
    return _inside(np.where(x > 0, np.log(psi) + logs, np.logaddexp(np.log1p(-psi), np.log(psi) + at_zero)), x >= 0)


def _zero_inflated_poisson(p: Parameters, x: Array) -> Array:
    return _zero_inflated(p["psi"], _poisson_of(p["theta"], x), -p["theta"], x)


def _zero_inflated_binomial(p: Parameters, x: Array) -> Array:
    return _zero_inflated(p["psi"], _binomial(p, x), p["n"] * np.log1p(-p["p"]), x)


def _zero_inflated_negative_binomial(p: Parameters, x: Array) -> Array:
    mu, alpha = p["mu"], p["alpha"]
    at_zero = -alpha * np.log1p(mu / alpha)
    return _zero_inflated(p["psi"], _negative_binomial_of(mu, alpha, x), at_zero, x)


_MASSES: Mapping[str, Callable[[Parameters, Array], Array]] = MappingProxyType(
    {
        "Bernoulli": _bernoulli,
        "BetaBinomial": _beta_binomial,
        "Binomial": _binomial,
        "Categorical": _categorical,
        "Constant": _constant,
        "ConstantDist": _constant,
        "DiscreteUniform": _discrete_uniform,
        "DiscreteWeibull": _discrete_weibull,
        "Geometric": _geometric,
        "HyperGeometric": _hypergeometric,
        "NegativeBinomial": _negative_binomial,
        "OrderedLogistic": _ordered(lambda x: special.expit(x)),
        "OrderedProbit": _ordered(lambda x: special.ndtr(x)),
        "Poisson": _poisson,
        "ZeroInflatedBinomial": _zero_inflated_binomial,
        "ZeroInflatedNegativeBinomial": _zero_inflated_negative_binomial,
        "ZeroInflatedPoisson": _zero_inflated_poisson,
    }
)
