"""PyMC3's variational inference: a normal approximation of the unconstrained parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pymc3 as pm
from numpy.typing import NDArray

from bayesrun.engines.base import NormalFit, NormalSettings
from bayesrun.engines.pymc3.log_density import blocks_of
from bayesrun.engines.pymc3.theano_setup import compiling
from bayesrun.errors import SamplingError


def fit_normal(model: pm.Model, settings: NormalSettings, seed: int, on_step: Callable[[int], None]) -> NormalFit:
    """Fit a normal approximation (see `CompiledModel.fit_normal`).

    The optimizer is `pm.adam`: PyMC3's default, `adagrad_window`, makes every standard deviation about 8% too large.
    The variables are laid out in the model's order: `pm.ADVI` uses that of a set, which differs between processes.
    """
    average = _Average(settings.iterations)
    try:
        with model, compiling():
            family = "fr" if settings.full_rank else "mf"
            group = pm.Group(model.free_RVs, vfam=family, model=model, random_seed=seed)
            approximation = pm.KLqp(pm.Approximation([group], model=model)).fit(
                settings.iterations,
                progressbar=False,
                callbacks=[lambda fitted, losses, done: on_step(done), average.add],
                obj_optimizer=pm.adam(learning_rate=settings.learning_rate),
            )
    except FloatingPointError as error:
        remedy = "decrease sampler.learning_rate, or give the priors an `initval` where the density is not steep"
        raise SamplingError(f"advi: the approximation became NaN; {remedy}") from error
    average.put(approximation)
    mean, factor = _mean_and_factor(group, model)
    return NormalFit(mean, factor, -approximation.hist)


class _Average:
    """The mean of the approximation's parameters over the second half of the fit."""

    def __init__(self, iterations: int) -> None:
        self._half, self._count = iterations // 2, 0
        self._sums: list[Any] = []

    def add(self, approximation: Any, losses: NDArray[Any], done: int) -> None:
        if done <= self._half:
            return
        values = [parameter.get_value() for parameter in approximation.params]
        self._sums = [a + b for a, b in zip(self._sums, values, strict=True)] if self._sums else values
        self._count += 1

    def put(self, approximation: Any) -> None:
        """Set the parameters to their mean; a fit that ended in its first half keeps its last ones."""
        for parameter, total in zip(approximation.params, self._sums, strict=False):
            parameter.set_value(total / self._count)


def _mean_and_factor(group: Any, model: pm.Model) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Read mean and Cholesky factor of the covariance of a fitted group, in the model's order."""
    mean = np.asarray(group.mean.eval(), float)
    places = group.bij.rmap(np.arange(mean.size, dtype=float))
    order = np.concatenate([np.ravel(places[block.name]) for block in blocks_of(model)]).astype(int)
    covariance = np.asarray(group.cov.eval(), float)[np.ix_(order, order)]
    return mean[order], np.linalg.cholesky(covariance)
