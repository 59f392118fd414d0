"""The interface of a distribution defined by expressions, and helpers for its draws at many values of the parameters.

Parameters of draws are arrays (draw, ...); their axes after the first broadcast against those of one draw from the
right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.registry import TableRegistry

if TYPE_CHECKING:
    from bayesrun.language.values import Value

Array = NDArray[Any]
Parameters = Mapping[str, Array]
Values = Mapping[str, "Value"]
Density = Callable[["Value", Values], "Value"]
"""`(value, parameters) -> log density`, or log probability, of each value."""
Mean = Callable[[Values], "Value"]
Draw = Callable[[Parameters, tuple[int, ...], np.random.Generator], Array]
"""`(parameters (draw, ...), shape of one draw, rng) -> draws (draw, *shape)`; the axes of a parameter behind the first
meet those of one draw from the right, and its own axes come last."""


@dataclass(frozen=True)
class Declared:
    """A distribution defined by expressions, which needs no support from engines.

    Parameters are arrays that broadcast against the value from the right; a parameter's own axes (`cutpoints[]`) are
    its last. Outside the support, or a parameter's domain, the log density is set to minus infinity
    automatically, so an expression only must not fail there.

    Parameters
    ----------
    log_density
        Logarithm of the density, or of the probability of a whole number.
    draw
        Random draws at many values of the parameters at once, in NumPy.
    mean
        Expected value; None if it does not exist.
    log_cdf
        Logarithm of the probability of at most a value; None if it has no exact form.
    log_survival
        Logarithm of the probability of more than a value.
    shares
        Probabilities of the categories 0, 1, ... (draw, ..., category) at many values of the parameters at once; None
        if the values are not categories.
    line
        Its line of the table of distributions (`bayesrun.language.distributions`); a plug-in's needs it.
    """

    log_density: Density
    draw: Draw
    mean: Mean | None = None
    log_cdf: Density | None = None
    log_survival: Density | None = None
    shares: Callable[[Mapping[str, Array]], Array] | None = None
    line: str = ""


DENSITIES: TableRegistry[Declared] = TableRegistry("distribution", "bayesrun.distributions", "DISTRIBUTION", Declared)
"""Distributions of plug-ins, under the names by which YAML calls them; bayesrun's own are text (`distributions`)."""


def wide(values: Array, shape: tuple[int, ...], own: int = 0) -> Array:
    """Repeat a parameter (draw, ..., own axes) over the axes of one draw, in front of its own axes.

    Parameters
    ----------
    values
        The parameter at every draw.
    shape
        Shape of one draw.
    own
        Number of trailing axes that belong to the parameter (the categories of `p`).
    """
    tail = values.shape[values.ndim - own :] if own else ()
    middle = values.shape[1 : values.ndim - own]
    padded = values.reshape(values.shape[0], *(1,) * (len(shape) - len(middle)), *middle, *tail)
    return np.broadcast_to(padded, (values.shape[0], *shape, *tail))


def spread(*arrays: Array, shape: tuple[int, ...]) -> list[Array]:
    """Broadcast parameters to (draw, *shape)."""
    count = max(len(a) for a in arrays)
    return [np.broadcast_to(wide(a, shape), (count, *shape)) for a in arrays]


def meeting(*arrays: Array) -> list[Array]:
    """Broadcast parameters (draw, ...) to common axes: after the first, they are aligned from the right."""
    ndim = max(a.ndim for a in arrays)
    return [a.reshape(a.shape[0], *(1,) * (ndim - a.ndim), *a.shape[1:]) for a in arrays]


def elementwise(draw: Callable[..., Array], *names: str) -> Draw:
    """Return the draws of a distribution that is sampled elementwise by `draw(rng, *parameters)`."""

    def drawn(p: Parameters, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        return np.asarray(draw(rng, *spread(*(p[name] for name in names), shape=shape)))

    return drawn


def choose(weights: Array, rng: np.random.Generator) -> Array:
    """Draw the code of a category; weights are over the last axis."""
    steps = np.cumsum(weights, axis=-1)
    at = rng.random(weights.shape[:-1]) * steps[..., -1]
    return np.asarray(np.minimum((at[..., None] >= steps).sum(axis=-1), weights.shape[-1] - 1))


def negative_binomial(rng: np.random.Generator, mu: Array, alpha: Array) -> Array:
    """Draw counts of mean `mu` and variance `mu + mu^2 / alpha`."""
    return rng.poisson(rng.standard_gamma(alpha) * mu / alpha)
