"""The linear regression's density, likelihood, prior and predictions against SciPy and closed form."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from bayesrun.pipeline import PreparedRun, prepare
from tests.composing import parsed

POINTS = [
    {"alpha": 0.0, "beta": np.array([0.0, 0.0]), "sigma": 1.0},
    {"alpha": 1.2, "beta": np.array([-0.3, 2.7]), "sigma": 0.4},
    {"alpha": -8.0, "beta": np.array([11.0, -4.0]), "sigma": 2.5},
]


@pytest.fixture(scope="module")
def prepared() -> PreparedRun:
    return prepare(parsed("model=linear_regression"))


@pytest.fixture(scope="module")
def draws() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(4)
    return {
        "alpha": rng.normal(1, 0.1, (2, 400)),
        "beta": rng.normal([1, 2.5], 0.2, (2, 400, 2)),
        "sigma": rng.gamma(50, 0.02, (2, 400)),
    }


def mean(prepared: PreparedRun, point: dict[str, Any]) -> np.ndarray:
    assert prepared.data is not None
    x = np.stack([prepared.data["X1"].values, prepared.data["X2"].values])
    return np.asarray(point["alpha"])[..., None] + np.asarray(point["beta"]) @ x


def log_prior(point: dict[str, Any]) -> np.ndarray:
    """Normal(0, 10) for the coefficients, HalfNormal(1) for the noise."""
    coefficients = stats.norm(0, 10).logpdf(point["alpha"]) + stats.norm(0, 10).logpdf(point["beta"]).sum(axis=-1)
    return np.asarray(coefficients + stats.halfnorm(0, 1).logpdf(point["sigma"]))


@pytest.mark.parametrize("point", POINTS)
def test_the_log_density_is_scipys(prepared: PreparedRun, point: dict[str, Any]) -> None:
    model = prepared.model.model
    likelihood = stats.norm(mean(prepared, point), point["sigma"]).logpdf(prepared.data["Y"].values).sum()  # type: ignore[index]
    unconstrained = {"alpha": point["alpha"], "beta": point["beta"], "sigma_log__": np.log(point["sigma"])}
    jacobian = np.log(point["sigma"])
    found = float(model.fastfn(model.logpt)(unconstrained))
    assert found == pytest.approx(float(log_prior(point) + likelihood + jacobian), rel=1e-10)


@pytest.mark.parametrize(
    ("overrides", "law"),
    [
        (["model.priors.alpha={dist: Cauchy, alpha: 1, beta: 2}"], stats.cauchy(1, 2)),
        (["model.priors.alpha={dist: StudentT, nu: 3, mu: 1, sigma: 2}"], stats.t(3, 1, 2)),
        (["model.priors.alpha={dist: Laplace, mu: 1, b: 2}"], stats.laplace(1, 2)),
        (["model.priors.alpha.mu=-2", "model.priors.alpha.sigma=0.5"], stats.norm(-2, 0.5)),
    ],
)
def test_another_prior_changes_the_density_by_that_prior(overrides: list[str], law: Any) -> None:
    model = prepare(parsed("model=linear_regression", *overrides)).model.model
    rest = {"beta": np.zeros(2), "sigma_log__": 0.0}
    logp = model.fastfn(model["alpha"].logpt)
    for alpha in (-3.0, 0.0, 1.7):
        assert float(logp({"alpha": alpha, **rest})) == pytest.approx(float(law.logpdf(alpha)), rel=1e-9)


def test_pointwise_log_likelihood_is_scipys(prepared: PreparedRun, draws: dict[str, np.ndarray]) -> None:
    found = prepared.model.log_likelihood(["Y_obs"], draws)["Y_obs"]
    law = stats.norm(mean(prepared, draws), draws["sigma"][..., None])
    np.testing.assert_allclose(found, law.logpdf(prepared.data["Y"].values), rtol=1e-10)  # type: ignore[index]


def test_log_prior_is_scipys(prepared: PreparedRun, draws: dict[str, np.ndarray]) -> None:
    np.testing.assert_allclose(prepared.model.log_prior(draws), log_prior(draws), rtol=1e-10)


def test_predictions_have_the_likelihoods_moments(prepared: PreparedRun, draws: dict[str, np.ndarray]) -> None:
    y = prepared.model.predict(["Y_obs"], draws, 2)[0]["Y_obs"]
    z = ((y - mean(prepared, draws)) / draws["sigma"][..., None]).ravel()
    assert abs(z.mean()) < 4 / np.sqrt(z.size)
    assert abs((z**2).mean() - 1) < 4 * np.sqrt(2 / z.size)


def test_prior_draws_have_the_priors_moments(prepared: PreparedRun) -> None:
    prior = prepared.model.draw_prior(4000, 3)
    for name in ("alpha", "beta"):
        z = prior[name].ravel() / 10
        assert abs(z.mean()) < 4 / np.sqrt(z.size)
        assert abs((z**2).mean() - 1) < 4 * np.sqrt(2 / z.size)
    sigma = prior["sigma"]
    assert stats.kstest(sigma, stats.halfnorm.cdf).pvalue > 1e-3
    z = (prior["Y_obs"] - mean(prepared, prior)) / sigma[:, None]
    assert abs(z.mean()) < 4 / np.sqrt(z.size)


def test_data_are_the_tutorials(prepared: PreparedRun) -> None:
    """Seed 8927, alpha 1, beta 1 and 2.5, sigma 1: drawn again here as the tutorial's script does."""
    rng = np.random.RandomState(8927)
    x1 = rng.randn(100)
    x2 = rng.randn(100) * 0.2
    y = 1 + 1 * x1 + 2.5 * x2 + rng.randn(100)
    assert prepared.data is not None
    for name, values in {"X1": x1, "X2": x2, "Y": y}.items():
        np.testing.assert_allclose(prepared.data[name].values, values)
