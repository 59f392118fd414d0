"""Random draws of a distribution at many values of its parameters at once, where PyMC3's own are wrong or missing.

PyMC3 draws mixtures in the wrong shape when the number of draws happens to be the number of rows, takes its vector
distributions one draw at a time, draws angles around their mean instead of between -pi and pi, and can't draw
autoregressions at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import theano.tensor as tt
from numpy.typing import NDArray

Array = NDArray[Any]

Draw = Callable[[Sequence["Array"], tuple[int, ...], "np.random.Generator"], "Array"]


@dataclass(frozen=True)
class Recipe:
    """How to draw from a distribution.

    Parameters
    ----------
    parameters
        Theano variables to evaluate at every draw.
    draw
        `(values, shape, rng) -> draws`: of each parameter an array (draw, ...), the shape of one draw, and the source
        of randomness; gives an array (draw, *shape).
    """

    parameters: tuple[Any, ...]
    draw: Draw


def recipe(distribution: Any, observed: Any = None) -> Recipe | None:
    """Return how to draw from a distribution of PyMC3's; None where PyMC3's own draws are right.

    Parameters
    ----------
    distribution
        The distribution.
    observed
        Values observed of it, with which a series starts: an array, or a Theano variable if some are imputed.
    """
    if hasattr(distribution, "recipe"):
        own: Recipe = distribution.recipe()
        return own
    found = _RECIPES.get(type(distribution).__name__)
    return found(distribution, observed) if found is not None else None


def _fixed(*names: str) -> Callable[[Draw], Callable[[Any, Any], Recipe]]:
    """Return a maker of recipes whose parameters are these attributes of the distribution."""

    def maker(draw: Draw) -> Callable[[Any, Any], Recipe]:
        def make(distribution: Any, observed: Any) -> Recipe:
            return Recipe(tuple(tt.as_tensor_variable(getattr(distribution, name)) for name in names), draw)

        return make

    return maker


def _wide(values: Array, shape: tuple[int, ...], own: int) -> Array:
    """Repeat a parameter (draw, ..., own axes) over the axes of a draw, in front of its own axes."""
    tail = values.shape[values.ndim - own :]
    middle = values.shape[1 : values.ndim - own]
    padded = values.reshape(values.shape[0], *(1,) * (len(shape) - len(middle)), *middle, *tail)
    wide: Array = np.broadcast_to(padded, (values.shape[0], *shape, *tail))
    return wide


def _choose(weights: Array, rng: np.random.Generator) -> Array:
    """Draw the number of a category; weights are over the last axis."""
    steps = np.cumsum(weights, axis=-1)
    at = rng.random(weights.shape[:-1]) * steps[..., -1]
    chosen: Array = np.minimum((at[..., None] >= steps).sum(axis=-1), weights.shape[-1] - 1)
    return chosen


def _categorical(values: Sequence[Array], shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    return _choose(_wide(values[0], shape, 1), rng)


def _normal_mixture(values: Sequence[Array], shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    size = max(v.shape[-1] if v.ndim > 1 else 1 for v in values)
    weights, mu, sigma = (_wide(_component_axis(v, size), shape, 1) for v in values)
    chosen = _choose(weights, rng)[..., None]
    centre, scale = (np.take_along_axis(v, chosen, axis=-1)[..., 0] for v in (mu, sigma))
    draws: Array = rng.normal(centre, scale)
    return draws


def _component_axis(values: Array, size: int) -> Array:
    if values.ndim > 1 and values.shape[-1] == size:
        return values
    last = values if values.ndim > 1 else values[..., None]
    return np.broadcast_to(last, (*last.shape[:-1], size))


def _multinomial(values: Sequence[Array], shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    weights = np.array(_wide(values[1], shape[:-1], 1), dtype=float)
    count = values[0].reshape(values[0].shape[0], -1) if values[0].ndim > 1 and values[0].shape[-1] == 1 else values[0]
    number = np.rint(_wide(_squeezed(count, len(shape) - 1), shape[:-1], 0)).astype(np.int64)
    draws: Array = rng.multinomial(number, weights / weights.sum(axis=-1, keepdims=True))
    return draws


def _squeezed(values: Array, axes: int) -> Array:
    """Remove axes of size 1 that PyMC3 put behind a count."""
    while values.ndim - 1 > axes and values.shape[-1] == 1:
        values = values[..., 0]
    return values


def _dirichlet_multinomial(values: Sequence[Array], shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    weights = rng.standard_gamma(_wide(values[1], shape[:-1], 1))
    return _multinomial([values[0], weights], shape, rng)


def _dirichlet(values: Sequence[Array], shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    weights: Array = rng.standard_gamma(_wide(values[0], shape[:-1], 1))
    shares: Array = weights / weights.sum(axis=-1, keepdims=True)
    return shares


def _multivariate(distribution: Any, observed: Any) -> Recipe | None:
    """Multivariate normal and Student-t, given by covariance or its Cholesky factor."""
    if not hasattr(distribution, "chol_cov"):
        return None
    nu = (tt.as_tensor_variable(distribution.nu),) if hasattr(distribution, "nu") else ()

    def draw(values: Sequence[Array], shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        mu, factor = values[0], values[1]
        noise = rng.normal(size=(mu.shape[0], *shape))
        moved = np.einsum("nij,n...j->n...i", factor, noise)
        if len(values) > 2:
            freedom = _wide(values[2], shape[:-1], 0)
            moved = moved / np.sqrt(rng.chisquare(freedom) / freedom)[..., None]
        draws: Array = _wide(mu, shape[:-1], 1) + moved
        return draws

    return Recipe((distribution.mu, distribution.chol_cov, *nu), draw)


def _von_mises(values: Sequence[Array], shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    mu, kappa = (_wide(v, shape, 0) for v in values)
    draws: Array = rng.vonmises(mu, kappa)
    return draws


def _autoregression(distribution: Any, observed: Any) -> Recipe:
    lags, constant = int(distribution.p), bool(distribution.constant)
    imputed = _is_imputed(observed)

    def draw(values: Sequence[Array], shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        rho = values[0].reshape(values[0].shape[0], -1)
        level, rho = (rho[:, 0], rho[:, 1:]) if constant else (0.0, rho)
        sigma = np.broadcast_to(values[1].reshape(values[1].shape[0], -1)[:, 0], rho.shape[:1])
        series: Array = rng.normal(size=(rho.shape[0], *shape)) * sigma[:, None]
        if observed is not None:
            series[:, :lags] = values[2] if imputed else np.asarray(observed)[:lags]
        for t in range(lags, shape[0]):
            series[:, t] += level + np.einsum("nl,nl->n", rho, series[:, t - lags : t][:, ::-1])
        return series

    return Recipe((distribution.rho, distribution.sigma, *([observed[:lags]] if imputed else [])), draw)


def _is_imputed(observed: Any) -> bool:
    """Return whether the values that a series starts with differ between draws."""
    return observed is not None and not isinstance(observed, np.ndarray)


def _garch(values: Sequence[Array], shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    omega, alpha, beta, start = (v.reshape(v.shape[0], -1)[:, 0] for v in values)
    series = rng.normal(size=(omega.shape[0], *shape))
    variance = start**2
    for t in range(shape[0]):
        series[:, t] *= np.sqrt(variance)
        variance = omega + alpha * series[:, t] ** 2 + beta * variance
    return series


def _walk(distribution: Any, observed: Any) -> Recipe:
    """A walk whose first value is the observed or imputed one, or 0."""
    imputed = _is_imputed(observed)

    def draw(values: Sequence[Array], shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        start = values[2] if imputed else 0.0 if observed is None else np.asarray(observed)[..., 0]
        first = np.broadcast_to(start, (len(values[0]), *shape[:-1]))
        return walks(values[0], values[1], first, shape, rng.normal)

    return Recipe((distribution.mu, distribution.sigma, *([observed[..., 0]] if imputed else [])), draw)


def walks(mu: Array, sigma: Array, first: Array, shape: Sequence[int], normal: Callable[..., Array]) -> Array:
    """Draw walks.

    Parameters
    ----------
    mu, sigma
        Mean and standard deviation of the steps: (draw, ...), where the axes after the draws are the last of `shape`.
    first
        Where the walks begin: (draw, *shape[:-1]).
    shape
        Of one draw.
    normal
        Draws normal numbers of these means and standard deviations.
    """
    middle, scale = (v.reshape(len(v), *(1,) * (len(shape) - v.ndim + 1), *v.shape[1:]) for v in (mu, sigma))
    whole = (len(mu), *shape)
    steps = np.array(normal(np.broadcast_to(middle, whole), np.broadcast_to(scale, whole)))
    steps[..., 0] = first
    made: Array = np.cumsum(steps, axis=-1)
    return made


_RECIPES: dict[str, Callable[[Any, Any], Recipe | None]] = {
    "Categorical": _fixed("p")(_categorical),
    "OrderedLogistic": _fixed("p")(_categorical),
    "OrderedProbit": _fixed("p")(_categorical),
    "NormalMixture": _fixed("w", "mu", "sigma")(_normal_mixture),
    "Multinomial": _fixed("n", "p")(_multinomial),
    "DirichletMultinomial": _fixed("n", "a")(_dirichlet_multinomial),
    "Dirichlet": _fixed("a")(_dirichlet),
    "MvNormal": _multivariate,
    "MvStudentT": _multivariate,
    "AR": _autoregression,
    "GARCH11": _fixed("omega", "alpha_1", "beta_1", "initial_vol")(_garch),
    "GaussianRandomWalk": _walk,
    "VonMises": _fixed("mu", "kappa")(_von_mises),
}
