"""Give the normal distribution function a gradient in both tails.

PyMC3 computes `log F(x)` by one formula below -1 and by another above, and Theano differentiates both everywhere. More
than 8 standard deviations from the mean, the formula that is not used divides by zero, so that the gradient of a
`TruncatedNormal` with such limits is not a number. Each formula gets the values at which it is used only.

Versions: PyMC3 3.11.
Buys: no time; `TruncatedNormal` with limits far from the mean can be sampled.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import theano.tensor as tt
from pymc3.distributions import continuous, discrete, dist_math

from bayesrun.engines.pymc3.patches.base import Patch, Undo

_MODULES = (dist_math, continuous, discrete)


def log_normal_cdf(mu: Any, sigma: Any, x: Any) -> Any:
    """Return the logarithm of the normal distribution function."""
    z = (x - mu) / sigma
    low, high = tt.minimum(z, -1.0), tt.maximum(z, -1.0)
    in_tail = tt.log(tt.erfcx(-low / np.sqrt(2.0)) / 2.0) - tt.sqr(low) / 2.0
    return tt.switch(tt.lt(z, -1.0), in_tail, tt.log1p(-tt.erfc(high / np.sqrt(2.0)) / 2.0))


def _log_normal_ccdf(mu: Any, sigma: Any, x: Any) -> Any:
    return log_normal_cdf(-mu, sigma, -x)


def _apply() -> Undo:
    new = {"normal_lcdf": log_normal_cdf, "normal_lccdf": _log_normal_ccdf}
    before = [(module, name, getattr(module, name)) for module in _MODULES for name in new]
    for module, name, _ in before:
        setattr(module, name, new[name])

    def undo() -> None:
        for module, name, original in before:
            setattr(module, name, original)

    return undo


PATCH = Patch(_apply, "process")
