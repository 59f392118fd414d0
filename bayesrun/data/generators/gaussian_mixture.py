"""Generator `gaussian_mixture`: draws from several normal distributions, without saying which is from which."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from bayesrun.data.base import Generator, Size
from bayesrun.schema import Section


class Parameters(Section):
    """True values of the simulated mixture.

    Parameters
    ----------
    size
        Number of draws.
    weights
        Shares of the components; they sum to 1.
    means
        Means of the components.
    scales
        Standard deviations of the components.
    """

    size: Size = 500
    weights: list[float] = Field(default=[0.35, 0.65])
    means: list[float] = Field(default=[-1.5, 2.0])
    scales: list[float] = Field(default=[0.8, 1.2])


def draw(parameters: Parameters, seed: int) -> Mapping[str, Any]:
    """Draw a component by `weights`, then `y ~ N(mean, scale)` of that component.

    Returns `y` of length `size`.
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    component = rng.choice(len(parameters.weights), parameters.size, p=parameters.weights)
    y = rng.normal(np.asarray(parameters.means)[component], np.asarray(parameters.scales)[component])
    return {"y": y}


GENERATOR = Generator(parameters=Parameters, draw=draw)
