"""Predictive draws against exact moments, pointwise likelihoods and log priors against SciPy."""

from __future__ import annotations

import numpy as np
import pymc3 as pm
import pytest
from scipy import stats

from bayesrun.engines.pymc3.build import metadata
from bayesrun.engines.pymc3.model import PyMC3Model
from bayesrun.engines.pymc3.theano_setup import building
from bayesrun.predict import predictive_groups as groups
from tests.unit.samplers.conftest import SIGMA, X, Y

CHAINS, DRAWS = 2, 500


@pytest.fixture(scope="module")
def draws() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    a, b = rng.normal(1, 0.3, (CHAINS, DRAWS)), rng.normal(2, 0.4, (CHAINS, DRAWS))
    return {"a": a, "b": b, "at_two": a + 2 * b}


@pytest.fixture(scope="module")
def counts() -> pm.Model:
    """Counts with a gap; a positive rate."""
    observed = np.ma.masked_array([3, 0, 4, 1], mask=[False, True, False, False])
    with building(), pm.Model() as model:
        rate = pm.Gamma("rate", 2.0, 0.5)
        pm.Poisson("y", rate, observed=observed)
    metadata(model).missing["y"] = np.array([False, True, False, False])
    return model


@pytest.fixture(scope="module")
def count_draws() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(6)
    return {"rate": rng.gamma(4, 0.5, (CHAINS, DRAWS)), "y_missing": rng.poisson(2, (CHAINS, DRAWS, 1))}


def standard_error(values: np.ndarray) -> float:
    return float(values.std() / np.sqrt(values.size))


def test_posterior_predictive_has_the_moments_of_the_likelihood(line: pm.Model, draws: dict[str, np.ndarray]) -> None:
    found = groups.predict(PyMC3Model(line), draws, 1)
    assert not found.missing
    y = found.draws["y"]
    assert y.shape == (CHAINS, DRAWS, 6)
    residual = (y - draws["a"][..., None] - draws["b"][..., None] * X) / SIGMA
    assert stats.kstest(residual.ravel(), stats.norm.cdf).pvalue > 1e-3
    assert abs(np.corrcoef(residual[..., 0].ravel(), residual[..., 1].ravel())[0, 1]) < 4 / np.sqrt(CHAINS * DRAWS)


def test_a_series_starts_with_the_imputed_values_of_each_draw() -> None:
    observed = np.ma.masked_array([9.0, 9.0, 1.0, 2.0, 9.0], mask=[True, False, False, False, True])
    with building(), pm.Model() as model:
        rho = pm.Normal("rho", 0.0, 1.0, shape=2)
        pm.AR("ar", rho, sigma=0.01, observed=observed)
        pm.GaussianRandomWalk("walk", sigma=0.01, observed=observed)
    rng = np.random.default_rng(8)
    first, last = rng.normal(5.0, 2.0, (2, CHAINS, DRAWS))
    missing = np.stack([first, last], axis=-1)
    rho = np.broadcast_to([0.5, 0.25], (CHAINS, DRAWS, 2))
    found = groups.predict(PyMC3Model(model), {"rho": rho, "ar_missing": missing, "walk_missing": missing}, 1).draws
    np.testing.assert_array_equal(found["ar"][..., 0], first)
    np.testing.assert_array_equal(found["ar"][..., 1], 9.0)
    np.testing.assert_allclose(found["ar"][..., 2], 4.5 + 0.25 * first, atol=0.06)
    np.testing.assert_array_equal(found["walk"][..., 0], first)
    np.testing.assert_allclose(found["walk"][..., 1], first, atol=0.06)


def test_posterior_predictive_is_reproducible(line: pm.Model, draws: dict[str, np.ndarray]) -> None:
    one, again, other = (groups.predict(PyMC3Model(line), draws, seed).draws["y"] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert not np.any(one == other)


def test_numpys_global_generator_is_neither_read_nor_left_changed(line: pm.Model, draws: dict[str, np.ndarray]) -> None:
    found = []
    for seed in (1, 2):
        np.random.seed(seed)
        model = PyMC3Model(line)
        found.append([model.predict(["y"], draws, 1)[0]["y"], *model.draw_prior(10, 1).values()])
        assert np.random.random() == np.random.RandomState(seed).random_sample()
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_predictions_of_gaps_are_draws_too(counts: pm.Model, count_draws: dict[str, np.ndarray]) -> None:
    y = groups.predict(PyMC3Model(counts), count_draws, 1).draws["y"]
    z = (y - count_draws["rate"][..., None]) / np.sqrt(count_draws["rate"][..., None])
    for place in range(4):
        assert abs(z[..., place].mean()) < 4 * standard_error(z[..., place])


def test_prior_and_prior_predictive_have_exact_moments(line: pm.Model) -> None:
    prior, predicted = groups.draw_prior(PyMC3Model(line), 4000, 3, frozenset({"b"}))
    assert set(prior.draws) == {"a", "at_two"}
    assert stats.kstest(prior.draws["a"].ravel(), stats.norm(0, 2).cdf).pvalue > 1e-3
    sd = np.sqrt(4 + 4 * X**2 + SIGMA**2)
    for place in range(6):
        assert stats.kstest(predicted.draws["y"][0, :, place], stats.norm(0, sd[place]).cdf).pvalue > 1e-3


def test_the_prior_of_imputed_values_is_their_predictive(counts: pm.Model) -> None:
    prior, predicted = groups.draw_prior(PyMC3Model(counts), 300, 3, frozenset())
    np.testing.assert_array_equal(prior.draws["y_missing"][..., 0], predicted.draws["y"][..., 1])


def test_no_prior_draws_when_none_are_asked_for_or_the_prior_is_flat(line: pm.Model) -> None:
    none, _ = groups.draw_prior(PyMC3Model(line), 0, 1, frozenset())
    assert not none.draws
    assert not none.missing
    with building(), pm.Model() as flat:
        pm.Normal("y", pm.Flat("x"), 1.0, observed=0.0)
    prior, predicted = groups.draw_prior(PyMC3Model(flat), 10, 1, frozenset())
    assert prior.missing == {"prior": "'x' has a flat prior"}
    assert not predicted.draws


def test_a_group_that_is_too_large_is_named(
    line: pm.Model, draws: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "LARGEST", 100)
    assert "too many" in groups.draw_prior(PyMC3Model(line), 100, 1, frozenset())[0].missing["prior"]
    assert "too many" in groups.predict(PyMC3Model(line), draws, 1).missing["posterior_predictive y"]


def test_fewer_draws_of_the_prior_are_made_of_many_rows(line: pm.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "MANY", 10 * len(Y))
    prior, predicted = groups.draw_prior(PyMC3Model(line), 100, 1, frozenset())
    assert predicted.draws["y"].shape == (1, 10, len(Y)) and prior.draws["a"].shape == (1, 10)


def test_log_likelihood_is_that_of_scipy(line: pm.Model, draws: dict[str, np.ndarray]) -> None:
    found = groups.log_likelihood(PyMC3Model(line), draws, 10**9).draws["y"]
    expected = stats.norm(draws["a"][..., None] + draws["b"][..., None] * X, SIGMA).logpdf(Y)
    np.testing.assert_allclose(found, expected)


def test_log_likelihood_of_gaps_is_nan(counts: pm.Model, count_draws: dict[str, np.ndarray]) -> None:
    found = groups.log_likelihood(PyMC3Model(counts), count_draws, 10**9).draws["y"]
    assert np.isnan(found[..., 1]).all()
    expected = stats.poisson(count_draws["rate"][..., None]).logpmf([3, 4, 1])
    np.testing.assert_allclose(found[..., [0, 2, 3]], expected)


def test_pointwise_terms_that_are_too_large_or_not_there_are_named(
    line: pm.Model, draws: dict[str, np.ndarray]
) -> None:
    found = groups.log_likelihood(PyMC3Model(line), draws, 100)
    assert not found.draws
    assert "6,000 numbers" in found.missing["log_likelihood y"]
    with building(), pm.Model() as model:
        rho = pm.Normal("rho", 0.0, 1.0)
        pm.AR1("series", rho, 1.0, observed=np.arange(5.0))
        pm.MvNormal("pair", np.zeros(2), np.eye(2), observed=np.ones((4, 2)))
    found = groups.log_likelihood(PyMC3Model(model), {"rho": draws["a"]}, 10**9)
    assert found.missing == {"log_likelihood series": "AR1 has no pointwise terms"}
    # rows of a multivariate distribution have a term each
    np.testing.assert_allclose(found.draws["pair"][..., :4], 2 * stats.norm.logpdf(1.0))


def test_log_prior_is_that_of_scipy_on_the_variables_own_scale(
    line: pm.Model, draws: dict[str, np.ndarray], counts: pm.Model, count_draws: dict[str, np.ndarray]
) -> None:
    normal = stats.norm(0, 2)
    np.testing.assert_allclose(PyMC3Model(line).log_prior(draws), normal.logpdf(draws["a"]) + normal.logpdf(draws["b"]))
    found = PyMC3Model(counts).log_prior(count_draws)
    np.testing.assert_allclose(found, stats.gamma(2, scale=2).logpdf(count_draws["rate"]))


@pytest.mark.parametrize("noncentered", [False, True])
def test_log_prior_is_of_the_priors_at_the_top_of_a_hierarchy(noncentered: bool) -> None:
    """Power-scaling leaves the distribution of the groups as it is, in whichever form it is sampled."""
    with building(), pm.Model() as model:
        mu, tau = pm.Normal("mu", 0.0, 2.0), pm.HalfNormal("tau", 1.0)
        if noncentered:
            theta = pm.Deterministic("theta", mu + tau * pm.Normal("theta_offset", 0.0, 1.0, shape=3))
        else:
            theta = pm.Normal("theta", mu, tau, shape=3)
        pm.Normal("y", theta, 1.0, observed=np.zeros(3))
    metadata(model).helpers.update({"theta_offset"} if noncentered else ())
    rng = np.random.default_rng(7)
    draws = {"mu": rng.normal(size=(CHAINS, DRAWS)), "tau": rng.gamma(2, size=(CHAINS, DRAWS))}
    of_groups = {"theta_offset": rng.normal(size=(CHAINS, DRAWS, 3)), "theta": rng.normal(size=(CHAINS, DRAWS, 3))}
    found = PyMC3Model(model).log_prior({**draws, **of_groups})
    np.testing.assert_allclose(found, stats.norm(0, 2).logpdf(draws["mu"]) + stats.halfnorm.logpdf(draws["tau"]))
