"""Linear regression against SciPy: log density, pointwise terms, and predictions at fixed draws."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bayesrun.inference import predictive
from bayesrun.pipeline import Prepared, prepare
from tests.composing import parsed

POINTS = [(0.0, (0.0, 0.0), 1.0), (0.9, (1.1, -2.0), 0.7), (-3.0, (0.3, 5.0), 2.5)]


@pytest.fixture(scope="module")
def regression() -> Prepared:
    return prepare(parsed("model=linear_regression"))


def _mean(prepared: Prepared, alpha: float, beta: tuple[float, float]) -> np.ndarray:
    data = prepared.data
    assert data is not None
    return alpha + beta[0] * data["X1"].values + beta[1] * data["X2"].values


@pytest.mark.parametrize(("alpha", "beta", "sigma"), POINTS)
def test_log_density(regression: Prepared, alpha: float, beta: tuple[float, float], sigma: float) -> None:
    model, data = regression.model, regression.data
    point = {"alpha": alpha, "beta": np.array(beta), "sigma_log__": np.log(sigma)}
    expected = (
        stats.norm(0, 10).logpdf([alpha, *beta]).sum()
        + stats.halfnorm(scale=1).logpdf(sigma)
        + np.log(sigma)  # Jacobian of the log transform
        + stats.norm(_mean(regression, alpha, beta), sigma).logpdf(data["Y"].values).sum()
    )
    assert float(model.logp(point)) == pytest.approx(expected, rel=1e-10)


def _draws() -> dict[str, np.ndarray]:
    alphas, betas, sigmas = zip(*POINTS, strict=True)
    return {"alpha": np.array([alphas]), "beta": np.array([betas]), "sigma": np.array([sigmas])}


def test_pointwise_terms(regression: Prepared) -> None:
    found = predictive.log_likelihood(regression.model, _draws(), 10**6).draws["Y_obs"]
    for index, (alpha, beta, sigma) in enumerate(POINTS):
        expected = stats.norm(_mean(regression, alpha, beta), sigma).logpdf(regression.data["Y"].values)
        np.testing.assert_allclose(found[0, index], expected, rtol=1e-10)


def test_log_prior(regression: Prepared) -> None:
    found = predictive.log_prior(regression.model, _draws())
    for index, (alpha, beta, sigma) in enumerate(POINTS):
        expected = stats.norm(0, 10).logpdf([alpha, *beta]).sum() + stats.halfnorm(scale=1).logpdf(sigma)
        assert found[0, index] == pytest.approx(expected)


def test_predictions_have_the_moments_of_the_likelihood(regression: Prepared) -> None:
    alpha, beta, sigma = POINTS[1]
    n = 4000
    draws = {
        "alpha": np.full((1, n), alpha), "beta": np.tile(beta, (1, n, 1)), "sigma": np.full((1, n), sigma),
    }  # fmt: skip
    found = predictive.posterior(regression.model, draws, seed=3).draws["Y_obs"][0]
    z = (found.mean(axis=0) - _mean(regression, alpha, beta)) / (sigma / np.sqrt(n))
    assert np.abs(z).max() < 4.5  # the largest of 100 standard normals
    ratio = found.std(axis=0, ddof=1) / sigma - 1
    assert np.abs(ratio).max() < 4.5 / np.sqrt(2 * n)
