"""Small models with known posteriors, built as bayesrun builds them."""

from __future__ import annotations

from collections.abc import Callable

import arviz as az
import numpy as np
import pymc3 as pm
import pytest

from bayesrun.engines.pymc3.model import PyMC3Model
from bayesrun.engines.pymc3.theano_setup import building, import_pymc3

import_pymc3()

X = np.array([-1.0, -0.5, 0.0, 0.5, 1.0, 1.5])
Y = np.array([-1.3, 0.4, 1.1, 1.7, 3.4, 3.9])
SIGMA = 0.7


class Listener:
    """Counts what a sampler tells it, and stops it when asked to."""

    def __init__(self, stop: Callable[[int, int, bool], None] = lambda chain, done, tuning: None) -> None:
        self.told: dict[int, list[int]] = {}
        self._stop = stop

    def begin(self) -> None:
        pass

    def draw(self, chain: int, done: int, tuning: bool, diverging: bool) -> None:
        self.told.setdefault(chain, []).append(done)
        self._stop(chain, done, tuning)


@pytest.fixture(scope="session")
def line() -> pm.Model:
    """A line with known noise: the posterior of `a` and `b` is normal, their prior too (mean 0, sd 2)."""
    with building(), pm.Model() as model:
        a, b = pm.Normal("a", 0.0, 2.0), pm.Normal("b", 0.0, 2.0)
        pm.Deterministic("at_two", a + 2.0 * b)
        pm.Normal("y", a + b * X, SIGMA, observed=Y)
    return model


@pytest.fixture(scope="session")
def compiled_line(line: pm.Model) -> PyMC3Model:
    """`line` as samplers take it."""
    return PyMC3Model(line)


@pytest.fixture(scope="session")
def exact_line() -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of `(a, b)` in `line`."""
    design = np.column_stack([np.ones_like(X), X])
    covariance = np.linalg.inv(design.T @ design / SIGMA**2 + np.eye(2) / 4)
    return covariance @ design.T @ Y / SIGMA**2, covariance


def z_score(draws: np.ndarray, expected: float) -> float:
    """How many Monte Carlo standard errors the mean of draws (chain, draw) is away from what is expected."""
    return float((draws.mean() - expected) / az.mcse(draws))
