"""Gaussian random walks in coordinates in which their posterior is nearly spherical.

A walk of a thousand steps, written point by point, is a thousand strongly correlated parameters: NUTS needs
trees of depth 8 and more, and `sigma` hardly moves. The same prior can be written in the walk's own eigenbasis.

Let `D` be the first differences of `s = (s_0, ..., s_{n-1})`, so that the prior's log density is
`-|Ds|^2 / (2 sigma^2) - (n - 1) log sigma`. `D'D` with free ends has the DCT-II as eigenvectors, with eigenvalues

    lambda_k = 2 - 2 cos(pi k / n),    k = 0, ..., n - 1.

If the likelihood carries the information `tau` about each point, the posterior's precision in that basis is about
`lambda_k / sigma^2 + tau`. So put

    s = IDCT(z / sqrt(lambda / sigma^2 + tau)),
    z_0 flat,    z_k ~ Normal(0, precision = lambda_k / (lambda_k + tau sigma^2)).

The prior of `s` is that of the walk for every `tau`: a wrong guess of `tau` costs speed, never correctness.
The eigenvectors are those of Strang, "The discrete cosine transform" (doi:10.1137/S0036144598336745).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.language.declaration import Draft
from bayesrun.language.functions import concatenate, index, square
from bayesrun.language.plan import of_values
from bayesrun.language.values import Value, apply, compute, constant

# Prime factors for which the transform has code of its own; a length with others costs several times more.
_FACTORS = (2, 3, 5)


def whitened_walk(
    draft: Draft,
    name: str,
    sigma: Value,
    dims: tuple[str, ...],
    size: int,
    information: float,
    drift: Value | None = None,
    offset: Value | None = None,
    level: Value | None = None,
) -> Value:
    """Add a Gaussian random walk with a flat start to a model, in its whitened form.

    The walk's prior is that of `GaussianRandomWalk(mu=drift, sigma=sigma, shape=size)`. It is continued past its end,
    to a length that transforms quickly: integrated over what follows, a walk has the same prior.

    Parameters
    ----------
    draft
        The model.
    name
        Name of the deterministic that holds the walk; the helpers `NAME_level` and `NAME_waves` are named after it.
    sigma
        Standard deviation of a step, a positive scalar, in units of the walk.
    dims
        Dim of the walk in the model; empty where it has no name.
    size
        Number of points.
    information
        Fisher information of the likelihood about one point, in 1 / units of the walk squared: `1 / sd^2` for
        `Normal` observations, `2 nu / (nu + 3)`, about 1.5, for the logarithm of a Student-t's scale.
    drift
        Mean of a step, a scalar; None = 0.
    offset
        Added to every point, a scalar; None = 0. The start is flat, so this changes no prior, whatever it depends on:
        with what another parameter shifts the likelihood's best level by, the two become independent.
    level
        Where the helper `NAME_level` starts; None = 0.

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
    length = fast_length(size)
    eigenvalues = constant(_eigenvalues(length)[1:])
    variance = square(sigma)
    precision = eigenvalues / (eigenvalues + information * variance)
    flat = draft.random(of_values(f"{name}_level", "Flat", {}), (), level, helper=True)[f"{name}_level"]
    wave_plan = of_values(f"{name}_waves", "Normal", {"tau": precision}, (None,), (length - 1,))
    waves = draft.random(wave_plan, (), None, helper=True)[f"{name}_waves"]
    scaled = waves / apply("sqrt", [eigenvalues / variance + information])
    whole = compute("inverse_cosine", [concatenate(flat / np.sqrt(information), scaled)])
    walk = index(whole, [slice(None, size)]).named(dims or (None,))
    walk = walk if drift is None else walk + drift * np.arange(size)
    walk = walk if offset is None else walk + offset
    return draft.deterministic(name, walk, dims)


def fast_length(size: int) -> int:
    """Return the least length from `size` on that has no prime factor above 5."""
    length = size
    while not _smooth(length):
        length += 1
    return length


def _smooth(length: int) -> bool:
    for factor in _FACTORS:
        while length % factor == 0:
            length //= factor
    return length == 1


def _eigenvalues(size: int) -> NDArray[Any]:
    # 4 sin^2(x / 2) is 2 - 2 cos(x) without its cancellation for small x
    return np.asarray(4.0 * np.sin(0.5 * np.pi * np.arange(size) / size) ** 2)


def _check(size: int, information: float) -> None:
    if size < 2:
        raise ValueError(f"'size' must be at least 2 (got {size})")
    if not information > 0:
        raise ValueError(f"'information' must be positive (got {information})")
