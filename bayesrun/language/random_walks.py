"""Gaussian random walks in coordinates in which their posterior is nearly spherical.

A walk of a thousand steps, written as `pm.GaussianRandomWalk`, is a thousand strongly correlated parameters: NUTS needs
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

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Prime factors for which the transform has code of its own; a length with others costs several times more.
_FACTORS = (2, 3, 5)


@dataclass(frozen=True)
class Whitened:
    """A walk and what was put into the model for it.

    Parameters
    ----------
    walk
        The deterministic tensor, as long as was asked for.
    helpers
        Names of the free variables that it is made of; a builder adds them to `notes(model).helpers`.
    """

    walk: Any
    helpers: tuple[str, ...]


def whitened_walk(
    name: str,
    sigma: Any,
    size: int,
    information: float,
    dims: tuple[str, ...] = (),
    drift: Any = 0.0,
    offset: Any = 0.0,
) -> Whitened:
    """Put a Gaussian random walk with a flat start into the model in context, in its whitened form.

    The walk's prior is that of `pm.GaussianRandomWalk(name, mu=drift, sigma=sigma, shape=size)`. It is continued past
    its end, to a length that transforms quickly: integrated over what follows, a walk has the same prior.

    Parameters
    ----------
    name
        Name of the deterministic that holds the walk; helpers are named after it.
    sigma
        Standard deviation of a step, a positive number or a scalar tensor, in units of the walk.
    size
        Number of points.
    information
        Fisher information of the likelihood about one point, in 1 / units of the walk squared: `1 / sd^2` for
        `Normal` observations, `2 nu / (nu + 3)`, about 1.5, for the logarithm of a Student-t's scale.
    dims
        Dim of the walk in the model, if it has a name.
    drift
        Mean of a step, a number or a scalar tensor.
    offset
        Added to every point, a number or a scalar tensor. The start is flat, so this changes no prior, whatever it
        depends on: with what another parameter shifts the likelihood's best level by, the two become independent.

    Returns
    -------
    Whitened
        The walk, and the names of its helper variables.

    Raises
    ------
    ValueError
        When `size` is below 2 or `information` is not positive.
    """
    import numpy as np
    import pymc3 as pm
    import theano.tensor as tt

    from bayesrun.language._dct import Cosine

    _check(size, information)
    length = fast_length(size)
    eigenvalues = _eigenvalues(length)[1:]
    helpers = (f"{name}_level", f"{name}_waves")
    sigma_squared = tt.sqr(tt.as_tensor_variable(sigma))
    precision = eigenvalues / (eigenvalues + information * sigma_squared)
    level = pm.Flat(helpers[0]) / np.sqrt(information)
    waves = pm.Normal(helpers[1], mu=0.0, tau=precision, shape=length - 1)
    scaled = waves / tt.sqrt(eigenvalues / sigma_squared + information)
    walk = Cosine(inverse=True)(tt.concatenate([tt.shape_padleft(level), scaled]))[:size]
    for shift, times in ((drift, np.arange(size)), (offset, 1.0)):
        walk = walk if _is_zero(shift) else walk + shift * times
    return Whitened(pm.Deterministic(name, walk, dims=dims or None), helpers)


def _is_zero(number: Any) -> bool:
    return isinstance(number, int | float) and number == 0


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
    import numpy as np

    # 4 sin^2(x / 2) is 2 - 2 cos(x) without its cancellation for small x
    return np.asarray(4.0 * np.sin(0.5 * np.pi * np.arange(size) / size) ** 2)


def _check(size: int, information: float) -> None:
    if size < 2:
        raise ValueError(f"'size' must be at least 2 (got {size})")
    if not information > 0:
        raise ValueError(f"'information' must be positive (got {information})")
