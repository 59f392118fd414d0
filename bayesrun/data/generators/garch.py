"""Generator `garch`: returns whose variance depends on the last return and the last variance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bayesrun.data.base import Generator, NonNegative, Positive, Size
from bayesrun.schema import Section


class Parameters(Section):
    """True values of the simulated returns.

    Parameters
    ----------
    size
        Number of times.
    omega
        Constant term of the variance.
    alpha_1
        Effect of the last squared return.
    beta_1
        Effect of the last variance.
    initial_vol
        Standard deviation at the first time.
    """

    size: Size = 400
    omega: Positive = 0.2
    alpha_1: NonNegative = 0.3
    beta_1: NonNegative = 0.5
    initial_vol: Positive = 1.0


def draw(parameters: Parameters, seed: int) -> Mapping[str, Any]:
    """Draw `y_t ~ N(0, s_t)` with `s_t^2 = omega + alpha_1 y_{t-1}^2 + beta_1 s_{t-1}^2`.

    Returns `y` of length `size`.
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    y = np.empty(parameters.size)
    variance = parameters.initial_vol**2
    for t in range(parameters.size):
        y[t] = rng.normal(0.0, np.sqrt(variance))
        variance = parameters.omega + parameters.alpha_1 * y[t] ** 2 + parameters.beta_1 * variance
    return {"y": y}


GENERATOR = Generator(parameters=Parameters, draw=draw)
