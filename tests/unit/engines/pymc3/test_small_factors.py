"""Normal vectors by a small Cholesky factor, and factors with an LKJ prior: the numbers are those of PyMC3's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pymc3 as pm
import pytest
import scipy.stats as st
import theano
import theano.tensor as tt
from theano.compile.mode import Mode

from bayesrun.engines.pymc3.factored_normal import LARGEST, factored_normal
from bayesrun.engines.pymc3.replaced_distributions import covariance_factor
from bayesrun.engines.pymc3.vector_distributions import MvNormal

RNG = np.random.default_rng(4)


@pytest.fixture(autouse=True)
def _no_c() -> Iterator[None]:
    with theano.config.change_flags(cxx="", mode="FAST_COMPILE", compute_test_value="off"):
        yield


def compiled(inputs: list[Any], outputs: Any, linker: str) -> Any:
    with theano.config.change_flags(cxx="g++" if linker == "c" else ""):
        return theano.function(inputs, outputs, mode=Mode(linker=linker, optimizer="fast_run"))


@pytest.mark.parametrize("size", [1, 2, 3, LARGEST + 1])
def test_the_density_of_normal_vectors(size: int) -> None:
    factor = np.tril(RNG.normal(size=(size, size)), -1) + np.diag(RNG.uniform(0.5, 2, size))
    mean, values = RNG.normal(size=size), RNG.normal(size=(5, size))
    made = MvNormal.dist(mu=mean, chol=tt.as_tensor_variable(factor), shape=(5, size))
    wanted = st.multivariate_normal(mean, factor @ factor.T).logpdf(values)
    np.testing.assert_allclose(made.logp(values).eval(), wanted, rtol=1e-10)


def test_a_factor_without_positive_diagonal_has_no_density() -> None:
    made = MvNormal.dist(mu=np.zeros(2), chol=tt.as_tensor_variable([[1.0, 0.0], [0.5, -1.0]]), shape=(3, 2))
    assert np.all(np.isneginf(made.logp(np.ones((3, 2))).eval()))


def test_a_factor_with_its_correlations_and_sds() -> None:
    found = []
    packed = np.array([0.8, 0.3, 1.1, -0.2, 0.4, 0.9])
    for make in (covariance_factor, lambda *given: pm.LKJCholeskyCov(*given, compute_corr=True)[0]):
        with pm.Model() as model:
            factor = make("c", 2.0, 3, pm.HalfNormal.dist(sigma=2.0, shape=3))
        inner = {"c_cholesky-cov-packed__": packed}
        found.append([model.fn(v)(inner) for v in (factor, model["c_stds"], model["c_corr"], model.logpt)])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-14)


def test_the_density_of_one_vector() -> None:
    factor, value = np.array([[1.3, 0.0], [-0.4, 0.7]]), RNG.normal(size=2)
    made = MvNormal.dist(mu=[0.5, -1.0], chol=tt.as_tensor_variable(factor), shape=2).logp(value)
    wanted = st.multivariate_normal([0.5, -1.0], factor @ factor.T).logpdf(value)
    assert made.ndim == 0
    np.testing.assert_allclose(made.eval(), wanted, rtol=1e-12)


@pytest.mark.parametrize("linker", ["c", "py"])
@pytest.mark.parametrize("size", [1, 3, LARGEST])
def test_densities_and_gradients_of_factored_vectors(size: int, linker: str) -> None:
    """Densities against SciPy's, gradients against central differences, by strides that are not those of C."""
    apart, factor = tt.dmatrix(), tt.dmatrix()
    weights = RNG.normal(size=6)
    total = tt.sum(factored_normal(apart, factor) * weights)
    outputs = [factored_normal(apart, factor), total, *tt.grad(total, [apart, factor])]
    function = compiled([apart, factor], outputs, linker)
    lower = np.tril(RNG.normal(size=(size, size)), -1) + np.diag(RNG.uniform(0.5, 2, size))
    at = np.asfortranarray(RNG.normal(size=(12, size)))[::2]
    density, _, by_vector, by_factor = function(at, np.asfortranarray(lower))
    np.testing.assert_allclose(density, st.multivariate_normal(cov=lower @ lower.T).logpdf(at), rtol=1e-10)
    for given, found in ((at, by_vector), (lower, by_factor)):
        for index in np.ndindex(given.shape):
            moved = np.zeros(given.shape)
            moved[index] = 1e-6
            ends = [
                function(*((given + s * moved, lower) if given is at else (at, given + s * moved))) for s in (1, -1)
            ]
            np.testing.assert_allclose(found[index], (ends[0][1] - ends[1][1]) / 2e-6, rtol=1e-5, atol=1e-6)
    lower[-1, -1] = -0.1
    density, _, by_vector, by_factor = function(at, lower)
    assert np.all(np.isneginf(density)) and not by_vector.any() and not by_factor.any()


def test_vectors_that_do_not_fit_their_factor_are_refused() -> None:
    apart, factor = tt.dmatrix(), tt.dmatrix()
    function = compiled([apart, factor], factored_normal(apart, factor), "c")
    with pytest.raises(ValueError, match="have different sizes"):
        function(np.ones((4, 2)), np.eye(3))
