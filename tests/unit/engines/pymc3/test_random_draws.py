"""Draws of many parameter values at once: right shapes, and right means within Monte Carlo error."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pymc3 as pm
import pytest
import theano
from scipy import special

from bayesrun.engines.pymc3.random_draws import recipe
from bayesrun.engines.pymc3.replaced_distributions import VonMises

N = 4000


def drawn(law: Any, shape: tuple[int, ...], observed: Any = None) -> np.ndarray:
    found = recipe(law, observed)
    assert found is not None
    with theano.config.change_flags(cxx="", mode="FAST_COMPILE", compute_test_value="off"):
        values = [np.asarray(p.eval()) for p in found.parameters]
    repeated = [np.broadcast_to(v, (N, *v.shape)) for v in values]
    draws = found.draw(repeated, shape, np.random.default_rng(5))
    assert draws.shape == (N, *shape)
    return draws


def close(draws: np.ndarray, mean: Any) -> None:
    """Hold a mean against its exact value, within 4.5 standard errors of each of its numbers."""
    error = draws.std(axis=0) / np.sqrt(len(draws))
    assert np.all(np.abs(draws.mean(axis=0) - mean) < 4.5 * error + 1e-12)


@pytest.fixture(autouse=True)
def _quiet() -> Any:
    with warnings.catch_warnings(), theano.config.change_flags(cxx="", mode="FAST_COMPILE"):
        warnings.simplefilter("ignore")
        yield


def test_categorical() -> None:
    draws = drawn(pm.Categorical.dist(p=np.array([0.2, 0.5, 0.3])), (7,))
    close(draws == 1, 0.5)
    close(draws == 2, 0.3)


def test_categorical_with_weights_of_their_own_in_each_row() -> None:
    p = np.array([[0.1, 0.9], [0.6, 0.4]])
    close(drawn(pm.Categorical.dist(p=p, shape=2), (2,)), p[:, 1])


def test_ordered_logistic() -> None:
    law = pm.OrderedLogistic.dist(eta=np.zeros(3), cutpoints=np.array([-1.0, 1.0]), shape=3)
    low = 1 / (1 + np.exp(1.0))
    close(drawn(law, (3,)) == 0, low)
    close(drawn(law, (3,)) == 1, 1 - 2 * low)


@pytest.mark.parametrize("rows", [5, N])
def test_mixture_has_the_shape_of_the_data_also_where_it_equals_the_number_of_draws(rows: int) -> None:
    law = pm.NormalMixture.dist(w=np.array([0.3, 0.7]), mu=np.array([-2.0, 1.0]), sigma=np.array([0.1, 2.0]))
    draws = drawn(law, (rows,))[:, :5]
    close(draws, 0.1)
    close((draws - 0.1) ** 2, 0.3 * (2.1**2 + 0.01) + 0.7 * (0.9**2 + 4.0))


def test_mixture_of_rows() -> None:
    mu = np.array([[0.0, 10.0], [5.0, -5.0], [1.0, 1.0]])
    law = pm.NormalMixture.dist(w=np.array([0.5, 0.5]), mu=mu, sigma=1.0, comp_shape=(3, 2))
    close(drawn(law, (3,)), mu.mean(axis=1))


def test_multinomial() -> None:
    draws = drawn(pm.Multinomial.dist(n=10, p=np.array([0.2, 0.3, 0.5]), shape=3), (4, 3))
    assert np.all(draws.sum(axis=-1) == 10)
    close(draws, [2.0, 3.0, 5.0])


def test_dirichlet_multinomial() -> None:
    law = pm.DirichletMultinomial.dist(n=np.array([10, 20]), a=np.array([1.0, 3.0]), shape=(2, 2))
    draws = drawn(law, (2, 2))
    assert np.all(draws.sum(axis=-1) == [10, 20])
    close(draws[:, 1, 1], 15.0)


@pytest.mark.parametrize("given", ["cov", "chol"])
def test_multivariate_normal(given: str) -> None:
    factor = np.array([[1.0, 0.0], [0.8, 0.6]])
    matrix = factor if given == "chol" else factor @ factor.T
    draws = drawn(pm.MvNormal.dist(mu=np.array([1.0, -1.0]), shape=(3, 2), **{given: matrix}), (3, 2))
    close(draws, [1.0, -1.0])
    close((draws[..., 0] - 1) * (draws[..., 1] + 1), 0.8)


def test_autoregression_starts_from_what_was_observed() -> None:
    law = pm.AR.dist(rho=np.array([1.0, 0.5, -0.2]), sigma=0.5, constant=True, shape=6)
    draws = drawn(law, (6,), observed=np.array([2.0, 3.0, 0, 0, 0, 0]))
    assert np.all(draws[:, :2] == [2.0, 3.0])
    second = 1 + 0.5 * 3.0 - 0.2 * 2.0
    close(draws[:, 2], second)
    close(draws[:, 3], 1 + 0.5 * second - 0.2 * 3.0)


def test_garch() -> None:
    law = pm.GARCH11.dist(omega=0.5, alpha_1=0.2, beta_1=0.3, initial_vol=np.float64(2.0), shape=4)
    squares = drawn(law, (4,)) ** 2
    expected = [4.0]
    for _ in range(3):
        expected.append(0.5 + 0.5 * expected[-1])
    close(squares, expected)


def test_walk() -> None:
    draws = drawn(pm.GaussianRandomWalk.dist(mu=0.5, sigma=1.0, shape=5), (5,), observed=np.full(5, 3.0))
    close(draws[:, 1:], 3.0 + 0.5 * np.arange(1, 5))
    close((draws[:, 4] - 5.0) ** 2, 4.0)


def test_what_pymc3_draws_well_has_no_recipe() -> None:
    assert recipe(pm.Normal.dist(0, 1)) is None


def test_angles_are_between_minus_pi_and_pi() -> None:
    mu, kappa = np.array([-3.0, 0.5, 3.0]), 2.0
    draws = drawn(VonMises.dist(mu=mu, kappa=kappa, shape=3), (3,))
    assert np.all(np.abs(draws) <= np.pi)
    close(np.cos(draws - mu), special.i1(kappa) / special.i0(kappa))
    assert np.all(np.abs(VonMises.dist(mu=mu, kappa=kappa, shape=3).random(size=N)) <= np.pi)
