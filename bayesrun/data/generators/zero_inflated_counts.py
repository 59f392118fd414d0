"""Generator `zero_inflated_counts`: counts with more zeros than a Poisson distribution has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bayesrun.data.base import Generator, Share, Size
from bayesrun.schema import Section


class Parameters(Section):
    """True values of the simulated counts.

    Parameters
    ----------
    size
        Number of counts.
    alpha
        Logarithm of the mean count at `x` = 0.
    beta
        Effect of `x` on it.
    psi
        Share of counts that are not zero for sure.
    """

    size: Size = 250
    alpha: float = 0.8
    beta: float = 0.5
    psi: Share = 0.65


def draw(parameters: Parameters, seed: int) -> Mapping[str, Any]:
    """Draw `x ~ N(0, 1)` and `y ~ Poisson(exp(alpha + beta x))` with probability `psi`, else `y = 0`.

    Returns `x`, `y`, each of length `size`.
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    x = rng.normal(size=parameters.size)
    counts = rng.poisson(np.exp(parameters.alpha + parameters.beta * x))
    y = np.where(rng.random(parameters.size) < parameters.psi, counts, 0)
    return {"x": x, "y": y}


GENERATOR = Generator(parameters=Parameters, draw=draw)
