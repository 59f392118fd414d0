"""Generator `ar`: an autoregressive series."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from bayesrun.data.base import Generator, NonNegative, Size
from bayesrun.schema import Section


class Parameters(Section):
    """True values of the simulated series.

    Parameters
    ----------
    size
        Number of times.
    constant
        Constant term.
    rho
        Coefficients of the values one, two, ... times before.
    sigma
        Standard deviation of an innovation.
    """

    size: Size = 200
    constant: float = 0.5
    rho: list[float] = Field(default=[0.6, -0.3])
    sigma: NonNegative = 0.5


def draw(parameters: Parameters, seed: int) -> Mapping[str, Any]:
    """Draw `y_t = constant + sum_i rho_i y_{t-i} + N(0, sigma)`, after 100 times that are thrown away.

    Returns `y` of length `size`.
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    lags, burn_in = len(parameters.rho), 100
    y = np.zeros(lags + burn_in + parameters.size)
    innovations = rng.normal(0.0, parameters.sigma, y.size)
    for t in range(lags, y.size):
        y[t] = parameters.constant + np.dot(parameters.rho, y[t - lags : t][::-1]) + innovations[t]
    return {"y": y[-parameters.size :]}


GENERATOR = Generator(parameters=Parameters, draw=draw)
