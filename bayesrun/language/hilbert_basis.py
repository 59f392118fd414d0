"""Basis functions that approximate a Gaussian process on an interval (Riutort-Mayol et al. 2023).

    f(x) = sum_j phi_j(x) w_j,     w_j ~ Normal(0, sqrt(S(omega_j))),     phi_j(x) = sin(omega_j (x + L)) / sqrt(L)

`x` is relative to the middle of its range, whose half is `R`. The boundary is `L = c R`, the frequencies are
`omega_j = j pi / (2 L)` for j from 1 to m, and `S` is the spectral density of the covariance function
(doi:10.1007/s11222-022-10167-2, equations 5 to 9). Of several inputs the basis has all products.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

MATERN: Mapping[str, float] = {"matern32": 1.5, "matern52": 2.5}
"""Smoothness of the Matérn covariance functions."""
RULES: Mapping[str, tuple[float, float]] = {"exp_quad": (1.75, 3.2), "matern52": (2.65, 4.1), "matern32": (3.42, 4.5)}
"""Factors `(a, b)` of the rules `m >= a c / rho` and `c >= b rho`, with rho the lengthscale by half the range."""
MIN_C = 1.2
EXPECTED: Mapping[int, tuple[float, float]] = {1: (0.2, 0.8), 2: (0.4, 0.8), 3: (0.8, 0.8)}
"""Lengthscales, by half the range, for which the default basis is large enough, by the number of inputs."""
MAX_FUNCTIONS = 2_000


def boundary_for(covariance: str, lengthscale: float) -> float:
    """Return the least boundary factor `c` for a lengthscale, given by half the range of the input."""
    return max(MIN_C, RULES[covariance][1] * lengthscale)


def functions_for(covariance: str, lengthscale: float, boundary: float) -> int:
    """Return the least number of basis functions `m` for a lengthscale and a boundary factor."""
    return math.ceil(RULES[covariance][0] * boundary / lengthscale)


def frequencies(ends: Array, sizes: Sequence[int]) -> Array:
    """Return the frequencies of all basis functions, over (basis, input).

    Parameters
    ----------
    ends
        Boundary `L` of each input.
    sizes
        Number of basis functions of each input.
    """
    return np.stack([grid.ravel() for grid in np.meshgrid(*_each(ends, sizes), indexing="ij")], axis=1)


def basis(points: Array, middle: Array, ends: Array, sizes: Sequence[int]) -> Array:
    """Return the basis functions at points (row, input), over (row, basis).

    Parameters
    ----------
    points
        Where.
    middle
        Middle of the range of each input.
    ends, sizes
        As for `frequencies`.
    """
    at = points - middle + ends
    waves = [np.sin(np.outer(at[:, i], w)) for i, w in enumerate(_each(ends, sizes))]
    found = waves[0] / np.sqrt(ends[0])
    for wave, end in zip(waves[1:], ends[1:], strict=True):
        found = (found[:, :, None] * wave[:, None, :] / np.sqrt(end)).reshape(len(points), -1)
    return np.asarray(found)


def _each(ends: Array, sizes: Sequence[int]) -> list[Array]:
    return [np.pi * np.arange(1, m + 1) / (2.0 * end) for m, end in zip(sizes, ends, strict=True)]


def spectral_root(covariance: str, inputs: int) -> tuple[float, float | None, float]:
    """Return what the root of a spectral density is made of, at unit sd.

    Returns
    -------
    constant, shift, exponent
        With `s` the sum of `(lengthscale omega)^2` over the inputs and `v` the product of the lengthscales, the root is
        `constant sqrt(v) exp(exponent s)` where `shift` is None, else `constant sqrt(v) (shift + s)^exponent`.
    """
    nu = MATERN.get(covariance)
    if nu is None:
        return (2.0 * np.pi) ** (inputs / 4), None, -0.25
    constant = math.sqrt(
        2**inputs * math.pi ** (inputs / 2) * math.gamma(nu + inputs / 2) * (2 * nu) ** nu / math.gamma(nu)
    )
    return constant, 2 * nu, -(nu + inputs / 2) / 2
