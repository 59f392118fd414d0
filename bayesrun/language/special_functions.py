"""Functions of log probabilities that keep their digits near 0 and 1, and far out in the tails, in NumPy.

An engine has each of them with an exact derivative (`bayesrun.engines.pymc3.special_functions`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

Array = NDArray[Any]


def softplus(x: Any) -> Array:
    """Return `log(1 + exp(x))` without overflow."""
    return np.asarray(np.logaddexp(0.0, x))


def log1mexp(x: Any) -> Array:
    """Return `log(1 - exp(x))` for `x <= 0` (Mächler 2012, Accurately computing log(1 - exp(-|a|)))."""
    x = np.asarray(x, dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(x > -np.log(2.0), np.log(-np.expm1(x)), np.log1p(-np.exp(x)))


def log_normal_cdf(x: Any) -> Array:
    """Return the logarithm of the standard normal distribution function."""
    return np.asarray(special.log_ndtr(x))


def inverse_mills_ratio(x: Any) -> Array:
    """Return the standard normal density over its distribution function, the derivative of `log_normal_cdf`."""
    x = np.asarray(x, dtype=float)
    below, above = np.minimum(x, 0.0), np.maximum(x, 0.0)
    tail = np.sqrt(2.0 / np.pi) / special.erfcx(-below / np.sqrt(2.0))
    return np.where(x < 0.0, tail, np.exp(-0.5 * above**2) / np.sqrt(2.0 * np.pi) / special.ndtr(above))
