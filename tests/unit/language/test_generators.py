"""Draws in NumPy have the distribution that PyMC3's have, and expected values are their means."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import theano
from scipy import stats

from bayesrun.engines.pymc3 import ENGINE
from bayesrun.language.generators import expectation, generator, level_probabilities

COUNT = 4000
PARAMETERS: list[tuple[str, dict[str, float]]] = [
    ("Normal", {"mu": 1.5, "sigma": 2.0}),
    ("Normal", {"tau": 4.0}),
    ("StudentT", {"nu": 8.0, "mu": 1.0, "sigma": 0.5}),
    ("StudentT", {"nu": 8.0, "lam": 4.0}),
    ("Laplace", {"mu": 1.0, "b": 2.0}),
    ("Logistic", {"mu": 1.0, "s": 0.5}),
    ("Cauchy", {"alpha": 1.0, "beta": 0.5}),
    ("Gumbel", {"mu": 1.0, "beta": 2.0}),
    ("LogNormal", {"mu": 0.5, "sigma": 0.3}),
    ("LogitNormal", {"mu": 0.5, "sigma": 0.8}),
    ("HalfNormal", {"sigma": 2.0}),
    ("HalfCauchy", {"beta": 2.0}),
    ("HalfStudentT", {"nu": 5.0, "sigma": 2.0}),
    ("Exponential", {"lam": 0.25}),
    ("Gamma", {"alpha": 3.0, "beta": 2.0}),
    ("Gamma", {"mu": 3.0, "sigma": 1.5}),
    ("InverseGamma", {"alpha": 5.0, "beta": 2.0}),
    ("InverseGamma", {"mu": 2.0, "sigma": 0.7}),
    ("ChiSquared", {"nu": 4.0}),
    ("Beta", {"alpha": 2.0, "beta": 3.0}),
    ("Beta", {"mu": 0.3, "sigma": 0.1}),
    ("Weibull", {"alpha": 1.7, "beta": 3.0}),
    ("Pareto", {"alpha": 5.0, "m": 2.0}),
    ("Wald", {"mu": 2.0, "lam": 3.0}),
    ("ExGaussian", {"mu": 1.0, "sigma": 0.5, "nu": 2.0}),
    ("VonMises", {"mu": 0.5, "kappa": 3.0}),
    ("Uniform", {"lower": -1.0, "upper": 3.0}),
    ("SkewNormal", {"mu": 1.0, "sigma": 2.0, "alpha": 3.0}),
    ("AsymmetricLaplace", {"b": 1.5, "kappa": 0.7, "mu": 1.0}),
    ("TruncatedNormal", {"mu": 1.0, "sigma": 2.0, "lower": 0.5, "upper": 4.0}),
    ("TruncatedNormal", {"mu": 0.0, "sigma": 1.0, "lower": 4.0}),
    ("Bernoulli", {"p": 0.3}),
    ("Bernoulli", {"logit_p": -0.8}),
    ("Binomial", {"n": 12, "p": 0.3}),
    ("BetaBinomial", {"n": 12, "alpha": 2.0, "beta": 3.0}),
    ("Poisson", {"mu": 3.5}),
    ("NegativeBinomial", {"mu": 4.0, "alpha": 2.0}),
    ("NegativeBinomial", {"p": 0.4, "n": 3.0}),
    ("Geometric", {"p": 0.3}),
    ("DiscreteUniform", {"lower": 2, "upper": 7}),
    ("ZeroInflatedPoisson", {"psi": 0.7, "theta": 4.0}),
    ("ZeroInflatedBinomial", {"psi": 0.7, "n": 10, "p": 0.4}),
    ("ZeroInflatedNegativeBinomial", {"psi": 0.7, "mu": 4.0, "alpha": 3.0}),
]


@pytest.fixture(autouse=True)
def _quick() -> Any:
    with theano.config.change_flags(cxx="", mode="FAST_COMPILE"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize(("name", "values"), PARAMETERS, ids=lambda value: str(value))
def test_draws_and_means_are_those_of_the_distribution(name: str, values: dict[str, float]) -> None:
    parameters = {n: np.full(COUNT, v, dtype=type(v)) for n, v in values.items()}
    engine = np.asarray(ENGINE.draw(name, parameters, (), 3), dtype=float)
    own, mean = generator(name), expectation(name)
    drawn = engine if own is None else np.asarray(own(parameters, (), np.random.default_rng(5)), dtype=float)
    assert drawn.shape == (COUNT,)
    assert stats.ks_2samp(drawn, engine).pvalue > 1e-4
    if mean is not None:
        expected = mean(parameters)[0]
        assert abs(drawn.mean() - expected) < 4.5 * drawn.std() / np.sqrt(COUNT)


def test_parameters_meet_the_axes_of_a_draw_from_the_right() -> None:
    rng, draw = np.random.default_rng(1), generator("Normal")
    assert draw is not None
    mu = np.arange(6.0).reshape(2, 3)  # two draws, three columns
    found = draw({"mu": mu, "sigma": np.full(2, 1e-9)}, (4, 3), rng)
    np.testing.assert_allclose(found, np.broadcast_to(mu[:, None, :], (2, 4, 3)), atol=1e-6)


@pytest.mark.parametrize(
    "name",
    ["Categorical", "CategoricalLogit", "OrderedProbit", "OrderedCloglog", "SequentialLogistic", "AdjacentLogistic"],
)
def test_probabilities_of_levels_are_those_of_the_draws(name: str) -> None:
    rng = np.random.default_rng(2)
    given: dict[str, np.ndarray] = {
        "Categorical": {"p": np.array([0.2, 0.5, 0.3])},
        "CategoricalLogit": {"eta": np.array([0.4, -0.3])},
    }.get(name, {"eta": np.array(0.3), "cutpoints": np.array([-0.5, 0.8])})
    parameters = {key: np.broadcast_to(value, (COUNT, *value.shape)) for key, value in given.items()}
    draw, shares = generator(name), level_probabilities(name)
    assert draw is not None and shares is not None
    expected = shares(parameters)[0]
    assert expected.shape == (3,)
    assert abs(expected.sum() - 1.0) < 1e-12
    counts = np.bincount(draw(parameters, (), rng).astype(int), minlength=3) / COUNT
    assert np.all(np.abs(counts - expected) < 4.5 * np.sqrt(expected * (1 - expected) / COUNT))


def test_ordered_categories_and_vectors() -> None:
    rng = np.random.default_rng(1)
    cuts, eta = np.tile([-1.0, 0.5], (COUNT, 1)), np.tile([0.0, 2.0], (COUNT, 1))
    draw, shares = generator("OrderedLogistic"), level_probabilities("OrderedLogistic")
    assert draw is not None and shares is not None and expectation("OrderedLogistic") is None
    drawn = draw({"eta": eta, "cutpoints": cuts}, (2,), rng)
    below = 1 / (1 + np.exp(-(np.array([-1.0, 0.5]) - np.array([[0.0], [2.0]]))))
    expected = np.diff(np.column_stack([np.zeros(2), below, np.ones(2)]))
    np.testing.assert_allclose(shares({"eta": eta, "cutpoints": cuts})[0], expected, rtol=1e-12)
    for level in range(3):
        share = expected[:, level]
        assert np.all(np.abs((drawn == level).mean(axis=0) - share) < 4.5 * np.sqrt(share * (1 - share) / COUNT))
    cov = np.array([[2.0, 0.6], [0.6, 1.0]])
    vectors = generator("MvNormal")
    assert vectors is not None
    found = vectors({"mu": np.tile([1.0, 2.0], (COUNT, 1)), "cov": np.tile(cov, (COUNT, 1, 1))}, (3, 2), rng)
    assert found.shape == (COUNT, 3, 2)
    np.testing.assert_allclose(np.cov(found[:, 1].T), cov, atol=0.15)
    assert np.all(np.abs(found.mean(axis=0) - [1.0, 2.0]) < 4.5 * np.sqrt(2.0 / COUNT))
