"""Generator `linear_regression`: the simulated data of the PyMC3 tutorial."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bayesrun.data.base import Generator, NonNegative, Size
from bayesrun.schema import Section


class Parameters(Section):
    """True values of the simulated regression.

    Parameters
    ----------
    size
        Number of observations.
    alpha
        Intercept.
    sigma
        Standard deviation of the noise.
    beta
        Slopes of `X1` and `X2`.
    """

    size: Size = 100
    alpha: float = 1.0
    sigma: NonNegative = 1.0
    beta: tuple[float, float] = (1.0, 2.5)


def draw(parameters: Parameters, seed: int) -> Mapping[str, Any]:
    """Draw `X1 ~ N(0, 1)`, `X2 ~ N(0, 0.2)`, `Y ~ N(alpha + beta_1 X1 + beta_2 X2, sigma)`.

    The legacy generator and this order of calls are the tutorial's, so that seed 8927 gives its very numbers.

    Returns `X1`, `X2`, `Y`, each of length `size`.
    """
    import numpy as np

    random = np.random.RandomState(seed)
    x1 = random.randn(parameters.size)
    x2 = random.randn(parameters.size) * 0.2
    noise = random.randn(parameters.size) * parameters.sigma
    y = parameters.alpha + parameters.beta[0] * x1 + parameters.beta[1] * x2 + noise
    return {"X1": x1, "X2": x2, "Y": y}


GENERATOR = Generator(parameters=Parameters, draw=draw)
