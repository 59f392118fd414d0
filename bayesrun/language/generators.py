"""Random draws and expected values of distributions, vectorised over parameter values, in NumPy.

Parameters are arrays (draw, ...); the axes after the first broadcast with those of one draw, aligned on the right. The
engine draws from all other distributions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from bayesrun.language.densities.base import Array, Draw, Parameters, choose, meeting, negative_binomial, spread, wide
from bayesrun.language.densities.base import Mean as DeclaredMean
from bayesrun.language.densities.named_densities import declared, unnamed
from bayesrun.language.distributions import family
from bayesrun.lazy import special

Mean = Callable[[Parameters], Array]


def generator(name: str) -> Draw | None:
    """Return `(parameters, shape, rng) -> draws (draw, *shape)` of a distribution; None if there is none here."""
    return declared(name).draw if _is_declared(name) else _DRAWS.get(name)


def expectation(name: str) -> Mean | None:
    """Return `parameters -> expected values (draw, ...)` of a distribution; None if there are none here."""
    if not _is_declared(name):
        return _MEANS.get(name)
    mean = declared(name).mean
    return None if mean is None else lambda p: _evaluated(mean, p)


def level_probabilities(name: str) -> Mean | None:
    """Return `parameters -> probabilities (draw, ..., category)` of a categorical distribution; None for others."""
    return declared(name).shares if _is_declared(name) else _SHARES.get(name)


def _is_declared(name: str) -> bool:
    known = family(name)
    return known is not None and known.declared


def _evaluated(mean: DeclaredMean, p: Parameters) -> Array:
    """Evaluate an expected value; after the first axis, the parameters' axes broadcast, aligned on the right."""
    return np.asarray(mean(unnamed(dict(zip(p, meeting(*p.values()), strict=True)))).known)


def _scale(p: Parameters, name: str = "sigma", precision: str = "tau") -> Array:
    return p[name] if name in p else np.asarray(p[precision]) ** -0.5


def _at(p: Parameters, name: str, default: float) -> Array:
    given = p.get(name)
    return np.full((1,), default) if given is None else given


def _elementwise(draw: Callable[..., Array], of: Callable[[Parameters], tuple[Array, ...]]) -> Draw:
    """Return the generator of a distribution that is drawn elementwise."""

    def drawn(p: Parameters, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        return np.asarray(draw(rng, *spread(*of(p), shape=shape)))

    return drawn


def _normal(p: Parameters) -> tuple[Array, Array]:
    return _at(p, "mu", 0.0), _scale(p)


def _truncated_normal(p: Parameters, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    mu, sigma, lower, upper = spread(*_normal(p), _at(p, "lower", -np.inf), _at(p, "upper", np.inf), shape=shape)
    a, b = (lower - mu) / sigma, (upper - mu) / sigma
    flip = a > 0  # probabilities near 1 lose precision: draw the upper tail as a lower tail
    low, high = np.where(flip, -b, a), np.where(flip, -a, b)
    at = special.ndtr(low) + rng.random(mu.shape) * (special.ndtr(high) - special.ndtr(low))
    z = np.clip(special.ndtri(at), low, high)
    return np.asarray(mu + sigma * np.where(flip, -z, z))


def _truncated_normal_mean(p: Parameters) -> Array:
    mu, sigma, lower, upper = meeting(*_normal(p), _at(p, "lower", -np.inf), _at(p, "upper", np.inf))
    a, b = (lower - mu) / sigma, (upper - mu) / sigma
    density = (np.exp(-0.5 * a**2) - np.exp(-0.5 * b**2)) / np.sqrt(2.0 * np.pi)
    return np.asarray(mu + sigma * density / (special.ndtr(b) - special.ndtr(a)))


def _beta(p: Parameters) -> tuple[Array, Array]:
    if "alpha" in p:
        return p["alpha"], p["beta"]
    mu, sigma = meeting(p["mu"], p["sigma"])
    total = mu * (1.0 - mu) / sigma**2 - 1.0
    return mu * total, (1.0 - mu) * total


def _gamma(p: Parameters) -> tuple[Array, Array]:
    """Shape and rate."""
    if "alpha" in p:
        return p["alpha"], p["beta"]
    mu, sigma = meeting(p["mu"], p["sigma"])
    return mu**2 / sigma**2, mu / sigma**2


def _inverse_gamma(p: Parameters) -> tuple[Array, Array]:
    if "alpha" in p:
        return p["alpha"], p["beta"]
    mu, sigma = meeting(p["mu"], p["sigma"])
    alpha = 2.0 + mu**2 / sigma**2
    return alpha, mu * (alpha - 1.0)


def _negative_binomial(p: Parameters) -> tuple[Array, Array]:
    """Mean and shape."""
    shape = p["alpha"] if "alpha" in p else p["n"]
    if "mu" in p:
        return p["mu"], shape
    chance, size = meeting(p["p"], shape)
    return size * (1.0 - chance) / chance, size


def _chance(p: Parameters) -> Array:
    return special.expit(p["logit_p"]) if "logit_p" in p else p["p"]


def _zero_inflated(draw: Callable[..., Array]) -> Callable[..., Array]:
    def drawn(rng: np.random.Generator, psi: Array, *rest: Array) -> Array:
        return np.where(rng.random(psi.shape) < psi, draw(rng, *rest), 0)

    return drawn


def _log_normal_mean(p: Parameters) -> Array:
    mu, sigma = meeting(*_normal(p))
    return np.asarray(np.exp(mu + 0.5 * sigma**2))


def _wald(p: Parameters) -> tuple[Array, Array, Array]:
    shift = _at(p, "alpha", 0.0)
    if "mu" in p and "lam" in p:
        return p["mu"], p["lam"], shift
    if "mu" in p:
        mu, phi = meeting(p["mu"], _at(p, "phi", 1.0))
        return mu, mu * phi, shift
    lam, phi = meeting(p["lam"], p["phi"])
    return lam / phi, lam, shift


def _product(*names: str) -> Mean:
    def mean(p: Parameters) -> Array:
        found = meeting(*(p[name] for name in names))
        total = found[0]
        for one in found[1:]:
            total = total * one
        return np.asarray(total)

    return mean


def _ratio(of: Callable[[Parameters], tuple[Array, Array]], take: Callable[[Array, Array], Array]) -> Mean:
    return lambda p: np.asarray(take(*meeting(*of(p))))


def _categorical(p: Parameters, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    return choose(wide(p["p"], shape, 1), rng)


def _ordered_chances(p: Parameters, link: Callable[[Array], Array]) -> Array:
    """Probabilities of the categories, over the last axis."""
    eta, cuts = p["eta"], p["cutpoints"]
    eta = eta[..., None]
    cuts = cuts.reshape(cuts.shape[0], *(1,) * (eta.ndim - cuts.ndim), *cuts.shape[1:])
    below = link(cuts - eta)
    ends = np.ones((*below.shape[:-1], 1))
    return np.diff(np.concatenate([0.0 * ends, below, ends], axis=-1), axis=-1)


def _ordered(link: Callable[[Array], Array]) -> Draw:
    def draw(p: Parameters, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        return choose(wide(_ordered_chances(p, link), shape, 1), rng)

    return draw


def _factor(p: Parameters) -> Array:
    """Return the Cholesky factor of a covariance (draw, n, n)."""
    if "chol" in p:
        return np.asarray(np.tril(p["chol"]))
    return np.linalg.cholesky(p["cov"] if "cov" in p else np.linalg.inv(p["tau"]))


def _mv_normal(p: Parameters, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    count = max(len(v) for v in p.values())
    factor = np.broadcast_to(_factor(p), (count, shape[-1], shape[-1]))
    moved = np.einsum("nij,n...j->n...i", factor, rng.normal(size=(count, *shape)))
    if "nu" in p:
        freedom = wide(p["nu"], shape[:-1])
        moved = moved / np.sqrt(rng.chisquare(np.broadcast_to(freedom, (count, *shape[:-1]))) / freedom)[..., None]
    mu = p["mu"].reshape(len(p["mu"]), *(1,) * (len(shape) + 1 - p["mu"].ndim), *p["mu"].shape[1:])
    return np.asarray(mu + moved)


def _dirichlet(p: Parameters, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    weights = rng.standard_gamma(wide(p["a"], shape[:-1], 1))
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))


def _multinomial(p: Parameters, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    weights = np.array(wide(p["p"], shape[:-1], 1), dtype=float)
    counts = np.rint(wide(p["n"], shape[:-1])).astype(np.int64)
    return rng.multinomial(counts, weights / weights.sum(axis=-1, keepdims=True))


def _dirichlet_multinomial(p: Parameters, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    weights = rng.standard_gamma(wide(p["a"], shape[:-1], 1))
    return _multinomial({"n": p["n"], "p": weights}, shape, rng)


def _whole(values: Array) -> Array:
    return np.rint(values).astype(np.int64)


_DRAWS: Mapping[str, Draw] = {
    "Normal": _elementwise(lambda rng, m, s: rng.normal(m, s), _normal),
    "TruncatedNormal": _truncated_normal,
    "StudentT": _elementwise(
        lambda rng, n, m, s: m + s * rng.standard_t(n),
        lambda p: (p["nu"], _at(p, "mu", 0.0), _scale(p, precision="lam")),
    ),
    "Laplace": _elementwise(lambda rng, m, b: rng.laplace(m, b), lambda p: (p["mu"], p["b"])),
    "Logistic": _elementwise(lambda rng, m, s: rng.logistic(m, s), lambda p: (_at(p, "mu", 0.0), _at(p, "s", 1.0))),
    "Cauchy": _elementwise(lambda rng, a, b: a + b * rng.standard_cauchy(a.shape), lambda p: (p["alpha"], p["beta"])),
    "Gumbel": _elementwise(lambda rng, m, b: rng.gumbel(m, b), lambda p: (_at(p, "mu", 0.0), _at(p, "beta", 1.0))),
    "LogNormal": _elementwise(lambda rng, m, s: rng.lognormal(m, s), _normal),
    "LogitNormal": _elementwise(lambda rng, m, s: special.expit(rng.normal(m, s)), _normal),
    "HalfNormal": _elementwise(lambda rng, s: np.abs(rng.normal(0.0, s)), lambda p: (_scale(p),)),
    "HalfCauchy": _elementwise(lambda rng, b: np.abs(b * rng.standard_cauchy(b.shape)), lambda p: (p["beta"],)),
    "HalfStudentT": _elementwise(
        lambda rng, n, s: np.abs(s * rng.standard_t(n)), lambda p: (_at(p, "nu", 1.0), _scale(p, precision="lam"))
    ),
    "Exponential": _elementwise(lambda rng, r: rng.exponential(1.0 / r), lambda p: (p["lam"],)),
    "Gamma": _elementwise(lambda rng, a, b: rng.standard_gamma(a) / b, _gamma),
    "InverseGamma": _elementwise(lambda rng, a, b: b / rng.standard_gamma(a), _inverse_gamma),
    "ChiSquared": _elementwise(lambda rng, n: rng.chisquare(n), lambda p: (p["nu"],)),
    "Beta": _elementwise(lambda rng, a, b: rng.beta(a, b), _beta),
    "Weibull": _elementwise(lambda rng, a, b: b * rng.weibull(a), lambda p: (p["alpha"], p["beta"])),
    "Pareto": _elementwise(lambda rng, a, m: m * (1.0 + rng.pareto(a)), lambda p: (p["alpha"], p["m"])),
    "Wald": _elementwise(lambda rng, m, lam, a: a + rng.wald(m, lam), _wald),
    "ExGaussian": _elementwise(
        lambda rng, m, s, n: rng.normal(m, s) + rng.exponential(n),
        lambda p: (_at(p, "mu", 0.0), p["sigma"], p["nu"]),
    ),
    "VonMises": _elementwise(lambda rng, m, k: rng.vonmises(m, k), lambda p: (_at(p, "mu", 0.0), p["kappa"])),
    "Uniform": _elementwise(
        lambda rng, a, b: rng.uniform(a, b), lambda p: (_at(p, "lower", 0.0), _at(p, "upper", 1.0))
    ),
    "Bernoulli": _elementwise(lambda rng, q: _whole(rng.random(q.shape) < q), lambda p: (_chance(p),)),
    "Binomial": _elementwise(lambda rng, n, q: rng.binomial(_whole(n), q), lambda p: (p["n"], p["p"])),
    "BetaBinomial": _elementwise(
        lambda rng, n, a, b: rng.binomial(_whole(n), rng.beta(a, b)), lambda p: (p["n"], p["alpha"], p["beta"])
    ),
    "Poisson": _elementwise(lambda rng, m: rng.poisson(m), lambda p: (p["mu"],)),
    "NegativeBinomial": _elementwise(negative_binomial, _negative_binomial),
    "Geometric": _elementwise(lambda rng, q: rng.geometric(q), lambda p: (p["p"],)),
    "DiscreteUniform": _elementwise(
        lambda rng, a, b: rng.integers(_whole(a), _whole(b) + 1), lambda p: (p["lower"], p["upper"])
    ),
    "ZeroInflatedPoisson": _elementwise(
        _zero_inflated(lambda rng, m: rng.poisson(m)), lambda p: (p["psi"], p["theta"])
    ),
    "ZeroInflatedBinomial": _elementwise(
        _zero_inflated(lambda rng, n, q: rng.binomial(_whole(n), q)), lambda p: (p["psi"], p["n"], p["p"])
    ),
    "ZeroInflatedNegativeBinomial": _elementwise(
        _zero_inflated(negative_binomial), lambda p: (p["psi"], p["mu"], p["alpha"])
    ),
    "Constant": _elementwise(lambda rng, c: c, lambda p: (p["c"],)),
    "Categorical": _categorical,
    "OrderedLogistic": _ordered(lambda x: special.expit(x)),  # SciPy is imported when it is first needed
    "OrderedProbit": _ordered(lambda x: special.ndtr(x)),
    "MvNormal": _mv_normal,
    "MvStudentT": _mv_normal,
    "Dirichlet": _dirichlet,
    "Multinomial": _multinomial,
    "DirichletMultinomial": _dirichlet_multinomial,
}
_DRAWS = {**_DRAWS, "Lognormal": _DRAWS["LogNormal"], "ConstantDist": _DRAWS["Constant"]}

_MEANS: Mapping[str, Mean] = {
    "Normal": lambda p: _at(p, "mu", 0.0),
    "TruncatedNormal": _truncated_normal_mean,
    "StudentT": lambda p: _at(p, "mu", 0.0),
    "Laplace": lambda p: p["mu"],
    "Logistic": lambda p: _at(p, "mu", 0.0),
    "AsymmetricLaplace": lambda p: _asymmetric_laplace_mean(p),
    "Gumbel": _ratio(lambda p: (_at(p, "mu", 0.0), _at(p, "beta", 1.0)), lambda m, b: m + np.euler_gamma * b),
    "LogNormal": _log_normal_mean,
    "Lognormal": _log_normal_mean,
    "HalfNormal": lambda p: _scale(p) * np.sqrt(2.0 / np.pi),
    "Exponential": lambda p: 1.0 / p["lam"],
    "Gamma": _ratio(_gamma, lambda a, b: a / b),
    "InverseGamma": _ratio(_inverse_gamma, lambda a, b: np.where(a > 1.0, b / (a - 1.0), np.inf)),
    "ChiSquared": lambda p: p["nu"],
    "Beta": _ratio(_beta, lambda a, b: a / (a + b)),
    "Weibull": _ratio(lambda p: (p["alpha"], p["beta"]), lambda a, b: b * special.gamma(1.0 + 1.0 / a)),
    "Pareto": _ratio(lambda p: (p["alpha"], p["m"]), lambda a, m: np.where(a > 1.0, a * m / (a - 1.0), np.inf)),
    "Wald": lambda p: np.add(*meeting(_wald(p)[0], _wald(p)[2])),
    "ExGaussian": lambda p: np.add(*meeting(_at(p, "mu", 0.0), p["nu"])),
    "SkewNormal": lambda p: _skew_normal_mean(p),
    "Uniform": _ratio(lambda p: (_at(p, "lower", 0.0), _at(p, "upper", 1.0)), lambda a, b: 0.5 * (a + b)),
    "Bernoulli": _chance,
    "Binomial": _product("n", "p"),
    "BetaBinomial": lambda p: _beta_binomial_mean(p),
    "Poisson": lambda p: p["mu"],
    "NegativeBinomial": lambda p: _negative_binomial(p)[0],
    "Geometric": lambda p: 1.0 / p["p"],
    "DiscreteUniform": _ratio(lambda p: (p["lower"], p["upper"]), lambda a, b: 0.5 * (a + b)),
    "ZeroInflatedPoisson": _product("psi", "theta"),
    "ZeroInflatedBinomial": _product("psi", "n", "p"),
    "ZeroInflatedNegativeBinomial": _product("psi", "mu"),
    "Constant": lambda p: p["c"],
    "ConstantDist": lambda p: p["c"],
    "MvNormal": lambda p: p["mu"],
    "MvStudentT": lambda p: p["mu"],
    "Dirichlet": lambda p: p["a"] / p["a"].sum(axis=-1, keepdims=True),
    "Multinomial": lambda p: _multinomial_mean(p, p["p"]),
    "DirichletMultinomial": lambda p: _multinomial_mean(p, p["a"]),
}


def _skew_normal_mean(p: Parameters) -> Array:
    mu, sigma, alpha = meeting(*_normal(p), _at(p, "alpha", 1.0))
    return np.asarray(mu + sigma * alpha / np.sqrt(1.0 + alpha**2) * np.sqrt(2.0 / np.pi))


def _asymmetric_laplace_mean(p: Parameters) -> Array:
    mu, rate, kappa = meeting(_at(p, "mu", 0.0), p["b"], p["kappa"])
    return np.asarray(mu + (1.0 - kappa**2) / (rate * kappa))


def _beta_binomial_mean(p: Parameters) -> Array:
    n, a, b = meeting(p["n"], p["alpha"], p["beta"])
    return np.asarray(n * a / (a + b))


def _multinomial_mean(p: Parameters, weights: Array) -> Array:
    shares = weights / weights.sum(axis=-1, keepdims=True)
    counts = p["n"]
    counts = counts.reshape(counts.shape[0], *(1,) * (shares.ndim - 1 - counts.ndim), *counts.shape[1:], 1)
    return np.asarray(counts * shares)


_SHARES: Mapping[str, Mean] = {
    "Categorical": lambda p: p["p"] / p["p"].sum(axis=-1, keepdims=True),
    "OrderedLogistic": lambda p: _ordered_chances(p, special.expit),
    "OrderedProbit": lambda p: _ordered_chances(p, special.ndtr),
}
