"""Generator `varying_intercepts`: measurements in counties whose levels vary about a line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from bayesrun.data.base import Generator, NonNegative, Size
from bayesrun.schema import Section


class Parameters(Section):
    """True values of the simulated hierarchy.

    Parameters
    ----------
    size
        Number of measurements.
    counties
        Number of counties; a county's share of the measurements is drawn as well.
    level
        Mean level of a county, on the log scale.
    spread
        Standard deviation of the counties' levels.
    slope
        Effect of `floor`.
    noise
        Standard deviation of a measurement.
    """

    size: Size = 240
    counties: Annotated[int, Field(ge=2, le=99)] = 12
    level: float = 1.5
    spread: NonNegative = 0.4
    slope: float = -0.7
    noise: NonNegative = 0.6


def draw(parameters: Parameters, seed: int) -> Mapping[str, Any]:
    """Draw `alpha_c ~ N(level, spread)` and `log_radon ~ N(alpha_c + slope floor, noise)`.

    Returns `county_name` (labels `c01`, ...), `floor` (0 or 1), `log_radon`, each of length `size`.
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    levels = rng.normal(parameters.level, parameters.spread, parameters.counties)
    shares = rng.dirichlet(np.full(parameters.counties, 3.0))
    county = rng.choice(parameters.counties, parameters.size, p=shares)
    floor = rng.binomial(1, 0.3, parameters.size)
    log_radon = rng.normal(levels[county] + parameters.slope * floor, parameters.noise)
    return {"county_name": [f"c{c + 1:02d}" for c in county], "floor": floor, "log_radon": log_radon}


GENERATOR = Generator(parameters=Parameters, draw=draw)
