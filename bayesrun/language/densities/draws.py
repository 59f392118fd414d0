"""Helpers for random draws at many values of the parameters at once.

Parameters are arrays (draw, ...); their axes after the first broadcast against those of one draw from the right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Parameters = Mapping[str, Array]
Draw = Callable[[Parameters, tuple[int, ...], np.random.Generator], Array]


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
