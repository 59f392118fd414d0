"""Gaussian random walks: steps of unequal lengths, and parametrizations that are easy to sample.

A walk in continuous time takes a step of length `d` with mean `mu d` and variance `sigma^2 d`: `mu` and `sigma^2` are
per unit of time.

A walk of a thousand steps, written point by point, is a thousand strongly correlated parameters: NUTS needs
trees of depth 8 and more, and `sigma` hardly moves. The same prior can be written in the walk's own eigenbasis.

Let `D` be the first differences of `s = (s_0, ..., s_{n-1})` and `W` the diagonal matrix of 1 / step length, so that
the prior's log density is `-s'D'WDs / (2 sigma^2) - (n - 1) log sigma` up to a constant. Let `V` be the eigenvectors of
`D'WD`, and `lambda` its eigenvalues, of which `lambda_0 = 0` is that of the level. If the likelihood carries the
information `tau` about each point, the posterior's precision in that basis is about `lambda_k / sigma^2 + tau`. So put

    s = V (z / sqrt(lambda / sigma^2 + tau)),
    z_0 flat,    z_k ~ Normal(0, precision = lambda_k / (lambda_k + tau sigma^2)).

The prior of `s` is that of the walk for every `tau`: a wrong guess of `tau` costs speed, never correctness.
For equal steps `V` is the inverse of the DCT-II, with `lambda_k = 2 - 2 cos(pi k / n)`, which is applied in
O(n log n): Strang, "The discrete cosine transform" (doi:10.1137/S0036144598336745).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.language.declaration import Draft
from bayesrun.language.functions import along, concatenate, dot, index, square
from bayesrun.language.plan import Plan, of_values
from bayesrun.language.time_steps import all_equal
from bayesrun.language.values import Value, apply, compute, conform, constant, fixed
from bayesrun.lazy import linalg

Array = NDArray[Any]

LONGEST_UNEQUAL = 5_000
"""Points up to which a walk with unequal steps can be whitened: its basis is a full matrix."""

# Prime factors for which the transform has specialized code; lengths with others are several times slower.
_FACTORS = (2, 3, 5)
# Factors of the parameters of a step: powers of the step's length.
_POWERS = {"mu": 1.0, "sigma": 0.5, "tau": -1.0}


def with_steps(this: Plan) -> Plan:
    """Return a walk with steps of the planned lengths as one with separate parameters for each step."""
    if this.steps is None:
        return this
    # the value for the first point is not used
    lengths = np.concatenate([this.steps[:1], this.steps])
    values = {"mu": constant(0.0), **this.values}
    factors = {name: constant(lengths ** _POWERS[name], this.dims[-1:]) for name in values}
    grown = {name: apply("multiply", [value, factors[name]]) for name, value in values.items()}
    return replace(this, values={n: conform(v, this.dims, this.shape) for n, v in grown.items()}, steps=None)


def noncentered_walk(draft: Draft, this: Plan, start: Plan, dims: tuple[str, ...], initial: Value | None) -> Value:
    """Add a Gaussian random walk as the sum of its standardized steps.

    Parameters
    ----------
    draft
        The model.
    this
        The walk. The helper `NAME_offset` holds its standardized steps.
    start
        Distribution of its first point, the helper `NAME_level`.
    dims
        Name of each of its axes; the walk is along the last.
    initial
        Initial value of the walk, over its axes; None for that of the helpers.
    """
    size, batch, of_steps = this.shape[-1], this.shape[:-1], (*dims[:-1], None)
    grown = with_steps(this)
    means = _of_each_step(grown.values.get("mu", fixed(0.0)), dims)
    deviations = _of_each_step(_scale(grown), dims)
    level_from = offset_from = None
    if initial is not None:
        level_from = constant(initial.known[..., 0], dims[:-1])
        offset_from = (constant(np.diff(initial.known), of_steps) - means) / deviations
    level = draft.random(start, dims[:-1], level_from, helper=True)[start.name].named(dims[:-1])
    unit = {"mu": fixed(0.0), "sigma": fixed(1.0)}
    standard = of_values(f"{this.name}_offset", "Normal", unit, of_steps, (*batch, size - 1))
    offset = draft.random(standard, (), offset_from, helper=True)[standard.name]
    summed = along("cumsum", means + deviations * offset, -1)
    places = np.arange(size)
    from_first = index(summed, [*[slice(None)] * len(batch), constant(np.maximum(places - 1, 0))]).named(dims)
    walk = level + from_first * constant((places > 0).astype(float), dims[-1:])
    return draft.deterministic(this.name, walk, dims)


def whitened_walk(
    draft: Draft,
    name: str,
    sigma: Value,
    dims: tuple[str, ...],
    size: int,
    information: float,
    drift: Value | None = None,
    offset: Value | None = None,
    initial: Value | None = None,
    steps: Array | None = None,
) -> Value:
    """Add a Gaussian random walk with a flat prior on its level to a model, in its whitened form.

    The walk's prior is that of `GaussianRandomWalk(mu=drift, sigma=sigma, shape=size)`. With equal steps it is
    extended past its end, to a length with a fast transform: marginalized over the extension, the prior is the same.

    Parameters
    ----------
    draft
        The model.
    name
        Name of the deterministic that holds the walk; the helpers `NAME_level` and `NAME_waves` are named after it.
    sigma
        Standard deviation of a step of length 1, a positive scalar, in units of the walk.
    dims
        Dim of the walk in the model; empty where it has no name.
    size
        Number of points.
    information
        Fisher information of the likelihood about one point, in 1 / units of the walk squared: `1 / sd^2` for
        `Normal` observations, `2 nu / (nu + 3)`, about 1.5, for the logarithm of a Student-t's scale.
    drift
        Mean of a step of length 1, a scalar; None = 0.
    offset
        Added to every point, a scalar; None = 0. The start is flat, so this changes no prior, whatever it depends on:
        with what another parameter shifts the likelihood's best level by, the two become independent.
    initial
        Initial value of the level, without drift and offset; None = 0.
    steps
        Lengths of the `size - 1` steps; None = 1.

    Returns
    -------
    Value
        The walk.

    Raises
    ------
    ValueError
        When `size` is below 2 or `information` is not positive.
    """
    _check(size, information)
    lengths = np.ones(size - 1) if steps is None else steps
    equal = all_equal(lengths)
    if equal:
        sigma = sigma if steps is None else sigma * np.sqrt(lengths[0])
        number, vectors = fast_length(size), None
        known = _eigenvalues(number)[1:]
    else:
        number = size
        known, vectors = _eigenbasis(lengths)
    eigenvalues, variance = constant(known), square(sigma)
    precision = eigenvalues / (eigenvalues + information * variance)
    start = None if initial is None else initial * np.sqrt(number * information)
    flat = draft.random(of_values(f"{name}_level", "Flat", {}), (), start, helper=True)[f"{name}_level"]
    wave_plan = of_values(f"{name}_waves", "Normal", {"tau": precision}, (None,), (number - 1,))
    waves = draft.random(wave_plan, (), None, helper=True)[f"{name}_waves"]
    scaled = waves / apply("sqrt", [eigenvalues / variance + information])
    level = flat / np.sqrt(information)
    if vectors is None:
        walk = index(compute("inverse_cosine", [concatenate(level, scaled)]), [slice(None, size)])
    else:
        walk = level / np.sqrt(size) + dot(constant(vectors), scaled)
    walk = walk.named(dims or (None,))
    walk = walk if drift is None else walk + drift * np.append(0.0, np.cumsum(lengths))
    walk = walk if offset is None else walk + offset
    return draft.deterministic(name, walk, dims)


def _scale(this: Plan) -> Value:
    return this.values["sigma"] if "sigma" in this.values else this.values["tau"] ** -0.5


def _of_each_step(value: Value, dims: tuple[str, ...]) -> Value:
    """Drop the first point's value of a parameter along the walk."""
    if not value.ndim:
        return value
    names = [dim if size > 1 else None for dim, size in zip(dims[-value.ndim :], value.shape, strict=True)]
    along_walk = value.shape[-1] > 1
    taken = index(value, [*[slice(None)] * (value.ndim - 1), slice(1, None)]) if along_walk else value
    return taken.named((*names[:-1], None))


def _eigenbasis(lengths: Array) -> tuple[Array, Array]:
    """Return eigenvalues and eigenvectors (in columns) of `D'WD`, except those of the level, which are known."""
    weights = 1.0 / lengths
    diagonal = np.append(weights, 0.0) + np.append(0.0, weights)
    _, vectors = linalg.eigh_tridiagonal(diagonal, -weights)
    waves = vectors[:, 1:] - vectors[:, 1:].mean(axis=0)
    # by Rayleigh's quotient, which preserves the precision of the small ones
    return np.sum(weights[:, None] * np.diff(waves, axis=0) ** 2, axis=0) / np.sum(waves**2, axis=0), waves


def fast_length(size: int) -> int:
    """Return the smallest length of at least `size` that has no prime factor above 5."""
    length = size
    while not _smooth(length):
        length += 1
    return length


def _smooth(length: int) -> bool:
    for factor in _FACTORS:
        while length % factor == 0:
            length //= factor
    return length == 1


def _eigenvalues(size: int) -> Array:
    # 4 sin^2(x / 2) equals 2 - 2 cos(x), without cancellation for small x
    return np.asarray(4.0 * np.sin(0.5 * np.pi * np.arange(size) / size) ** 2)


def _check(size: int, information: float) -> None:
    if size < 2:
        raise ValueError(f"'size' must be at least 2 (got {size})")
    if not information > 0:
        raise ValueError(f"'information' must be positive (got {information})")
