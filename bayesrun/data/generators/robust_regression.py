"""Generator `robust_regression`: a line with a few wild points."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bayesrun.data.base import Generator, NonNegative, Positive, Size
from bayesrun.schema import Section


class Parameters(Section):
    """True values of the simulated line.

    Parameters
    ----------
    size
        Number of points.
    alpha
        Level at `x` = 0.
    beta
        Slope.
    sigma
        Scale of the noise.
    nu
        Degrees of freedom of the noise; the lower, the wilder.
    """

    size: Size = 100
    alpha: float = 1.0
    beta: float = 2.0
    sigma: NonNegative = 0.5
    nu: Positive = 2.0


def draw(parameters: Parameters, seed: int) -> Mapping[str, Any]:
    """Draw `x ~ N(0, 1)` and `y = alpha + beta x + sigma t`, with `t` of Student's t with `nu` degrees of freedom.

    Returns `x`, `y`, each of length `size`.
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    x = rng.normal(size=parameters.size)
    y = parameters.alpha + parameters.beta * x + parameters.sigma * rng.standard_t(parameters.nu, parameters.size)
    return {"x": x, "y": y}


GENERATOR = Generator(parameters=Parameters, draw=draw)
