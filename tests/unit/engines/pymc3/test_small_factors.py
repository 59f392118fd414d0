"""Normal vectors by a small Cholesky factor, and factors with an LKJ prior: the numbers are those of PyMC3's own."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pymc3 as pm
import pytest
import scipy.stats as st
import theano
import theano.tensor as tt

from bayesrun.engines.pymc3.replaced_distributions import LARGEST, MvNormal, covariance_factor

RNG = np.random.default_rng(4)


@pytest.fixture(autouse=True)
def _no_c() -> Iterator[None]:
    with theano.config.change_flags(cxx="", mode="FAST_COMPILE"):
        yield


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
