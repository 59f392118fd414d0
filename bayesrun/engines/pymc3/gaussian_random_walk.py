"""Gaussian random walks along the last axis, one for each place of the axes before it.

PyMC3's own goes along the first axis, and counts the density of all steps once per place of the others.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pymc3 as pm
import theano.tensor as tt
from numpy.typing import NDArray
from pymc3.distributions.distribution import draw_values

from bayesrun.engines.pymc3.random_draws import walks

Array = NDArray[Any]


class GaussianRandomWalk(pm.GaussianRandomWalk):  # type: ignore[misc]
    """`x_0 ~ init`, `x_t ~ Normal(x_{t-1} + mu_t, sigma_t)`; `mu_0` and `sigma_0` have no meaning."""

    def logp(self, x: Any) -> Any:
        """Return the log density, a single number.

        Parameters
        ----------
        x
            The walks: (..., time).
        """
        x = tt.as_tensor_variable(x)
        steps = x[..., 1:] - x[..., :-1]
        density = pm.Normal.dist(mu=_of_steps(self.mu), sigma=_of_steps(self.sigma)).logp(steps)
        return tt.sum(self.init.logp(x[..., 0])) + tt.sum(density)

    def random(self, point: Any = None, size: Any = None) -> Any:
        """Draw walks, as PyMC3 calls it; a walk with a flat distribution of its first value begins at 0."""
        parameters = [tt.as_tensor_variable(p) for p in (self.mu, self.sigma)]
        values = draw_values(parameters, point=point, size=size)
        draws = 1 if size is None else int(np.prod(size))
        mu, sigma = (_per_draw(v, p.ndim, draws) for v, p in zip(values, parameters, strict=True))
        shape = tuple(int(n) for n in self.shape)
        start = 0.0 if isinstance(self.init, pm.Flat) else self.init.random(point=point, size=size)
        first = np.broadcast_to(start, (draws, *shape[:-1]))
        made = walks(mu, sigma, first, shape, np.random.normal)
        return made[0] if size is None else made


def _of_steps(parameter: Any) -> Any:
    """Leave out a parameter's element for the first point, which no step leads to."""
    along = parameter.ndim > 0 and not parameter.broadcastable[-1]
    return parameter[..., 1:] if along else parameter


def _per_draw(values: Any, ndim: int, draws: int) -> Array:
    """Add the axis of draws to a parameter that is the same at every draw."""
    array = np.asarray(values, dtype=float)
    return np.broadcast_to(array, (draws, *array.shape)) if array.ndim == ndim else array
