"""The log density of priors at all draws at once is that of one draw after another, or is left to it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pymc3 as pm
import pytest
from scipy import stats

from bayesrun.engines.pymc3 import log_density
from bayesrun.engines.pymc3.log_density import PriorDensity
from bayesrun.engines.pymc3.model import PyMC3Model
from bayesrun.engines.pymc3.theano_setup import building

CHAINS, DRAWS = 2, 6000  # more than test values keep


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Grow by whether all draws were evaluated at once."""
    found: list[bool] = []
    at_all_draws = PriorDensity.at_all_draws

    def counted(*arguments: Any) -> Any:
        made = at_all_draws(*arguments)
        found.append(made is not None)
        return made

    monkeypatch.setattr(PriorDensity, "at_all_draws", counted)
    return found


def test_priors_that_go_element_by_element(calls: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    scales = np.array([1.0, 2.0, 5.0])
    with building(), pm.Model() as model:
        pm.Normal("a", 1.0, 2.0)
        pm.Normal("b", 0.0, scales, shape=3)
        pm.StudentT("t", nu=4, mu=0.0, sigma=2.0, shape=(2, 3))
        pm.HalfCauchy("tau", 5.0)
        pm.Beta("share", 2.0, 3.0, shape=2)
        pm.Uniform("u", -1.0, 3.0)
        pm.Gamma("rate", 2.0, 0.5)
        pm.Poisson("count", 3.0)
    rng = np.random.default_rng(2)
    size = (CHAINS, DRAWS)
    draws = {
        "a": rng.normal(size=size),
        "b": rng.normal(size=(*size, 3)),
        "t": rng.normal(size=(*size, 2, 3)),
        "tau": rng.gamma(2, size=size),
        "share": rng.uniform(size=(*size, 2)),
        "u": rng.uniform(-1, 3, size=size),
        "rate": rng.gamma(2, size=size),
        "count": rng.poisson(3, size=size),
    }
    expected = (
        stats.norm(1, 2).logpdf(draws["a"])
        + stats.norm(0, scales).logpdf(draws["b"]).sum(axis=2)
        + stats.t(4, 0, 2).logpdf(draws["t"]).sum(axis=(2, 3))
        + stats.halfcauchy(0, 5).logpdf(draws["tau"])
        + stats.beta(2, 3).logpdf(draws["share"]).sum(axis=2)
        + stats.uniform(-1, 4).logpdf(draws["u"])
        + stats.gamma(2, scale=2).logpdf(draws["rate"])
        + stats.poisson(3).logpmf(draws["count"])
    )
    found = PyMC3Model(model).log_prior(draws)
    assert calls == [True]
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    monkeypatch.setattr(PriorDensity, "at_all_draws", lambda *_: None)
    few = {name: values[:, :20] for name, values in draws.items()}
    np.testing.assert_allclose(PyMC3Model(model).log_prior(few), found[:, :20], rtol=1e-12)


def test_a_prior_of_a_whole_vector_is_evaluated_draw_by_draw(calls: list[bool]) -> None:
    with building(), pm.Model() as model:
        pm.Normal("a", 0.0, 1.0)
        pm.Dirichlet("p", np.array([1.0, 2.0, 3.0]))
    rng = np.random.default_rng(3)
    draws = {"a": rng.normal(size=(2, 30)), "p": rng.dirichlet([1, 1, 1], size=(2, 30))}
    found = PyMC3Model(model).log_prior(draws)
    of_p = np.apply_along_axis(stats.dirichlet([1.0, 2.0, 3.0]).logpdf, 2, draws["p"])
    assert calls == [False]
    np.testing.assert_allclose(found, stats.norm.logpdf(draws["a"]) + of_p, rtol=1e-10)


def test_a_density_that_mixes_draws_is_noticed(calls: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    with building(), pm.Model() as model:
        a = pm.Normal("a", 0.0, 1.0)
    draws = {"a": np.random.default_rng(4).normal(size=(2, 30))}
    expected = PyMC3Model(model).log_prior(draws)
    logp = a.distribution.logp
    monkeypatch.setattr(a.distribution, "logp", lambda value: logp(value) + (value.mean() if value.ndim else 0.0))
    np.testing.assert_allclose(PyMC3Model(model).log_prior(draws), expected)
    assert calls == [True, False]


def test_its_function_is_made_once_for_all_runs_of_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    with building(), pm.Model() as model:
        pm.Normal("a", 0.0, 1.0)
    made: list[int] = []
    function_of = log_density._function_of

    def counted(priors: Any) -> Any:
        made.append(1)
        return function_of(priors)

    monkeypatch.setattr(log_density, "_function_of", counted)
    kept = PyMC3Model(model)
    for seed, length in ((1, 5), (2, 7)):
        draws = {"a": np.random.default_rng(seed).normal(size=(2, length))}
        np.testing.assert_allclose(kept.log_prior(draws), stats.norm.logpdf(draws["a"]))
    assert made == [1]
