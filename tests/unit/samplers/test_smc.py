"""SMC finds exact posteriors (also discrete, imputed, bimodal) and the evidence, and reports what it cannot do."""

from __future__ import annotations

import numpy as np
import pymc3 as pm
import pytest
from scipy import stats

from bayesrun.engines.pymc3.build import metadata
from bayesrun.engines.pymc3.model import PyMC3Model
from bayesrun.engines.pymc3.theano_setup import building
from bayesrun.errors import SamplingError, UserError
from bayesrun.samplers.base import Sampled
from bayesrun.samplers.monitors import TimeIsUp
from bayesrun.samplers.smc import SAMPLER, Proposal, SmcSpec, fit, next_step, sample
from tests.unit.samplers.conftest import SIGMA, Listener, X, Y, z_score

SPEC = SmcSpec(draws=500, chains=4)


@pytest.fixture(scope="module")
def sampled(line: pm.Model) -> Sampled:
    return sample(PyMC3Model(line), SPEC, 1, Listener())


def test_the_posterior_is_the_exact_one(sampled: Sampled, exact_line: tuple[np.ndarray, np.ndarray]) -> None:
    mean, covariance = exact_line
    for i, name in enumerate("ab"):
        assert abs(z_score(sampled.draws[name], mean[i])) < 4
        assert abs(z_score((sampled.draws[name] - mean[i]) ** 2, covariance[i, i])) < 4
    np.testing.assert_allclose(sampled.draws["at_two"], sampled.draws["a"] + 2 * sampled.draws["b"])


def test_the_evidence_is_the_exact_one(sampled: Sampled) -> None:
    design = np.column_stack([np.ones_like(X), X])
    exact = stats.multivariate_normal(np.zeros(6), 4 * design @ design.T + SIGMA**2 * np.eye(6)).logpdf(Y)
    (dims, values), (_, moved) = sampled.records["log_marginal_likelihood"], sampled.records["moved"]
    assert dims == ("chain",)
    assert abs(values.mean() - exact) < 4 * values.std(ddof=1) / 2 + 0.01
    assert np.all(moved > 0.9)


def test_names_shapes_and_density(line: pm.Model, sampled: Sampled) -> None:
    assert {k: v.shape for k, v in sampled.draws.items()} == {n: (4, 500) for n in ("a", "b", "at_two")}
    assert set(sampled.stats) == {"lp"}
    point = {name: sampled.draws[name][2, 7] for name in "ab"}
    np.testing.assert_allclose(sampled.stats["lp"][2, 7], line.fastfn(line.logpt)(point))
    assert sampled.steps == {"a": "SMC", "b": "SMC"}
    assert sampled.interrupted is None


def test_same_seed_same_draws_however_many_run_at_a_time(line: pm.Model, sampled: Sampled) -> None:
    again = sample(PyMC3Model(line), SPEC.model_copy(update={"cores": 1}), 1, Listener())
    other = sample(PyMC3Model(line), SPEC, 2, Listener())
    for name, draws in sampled.draws.items():
        np.testing.assert_array_equal(draws, again.draws[name])
        assert not np.any(draws == other.draws[name])


def test_discrete_and_positive_variables_keep_their_scale() -> None:
    """Binomial thinning of a Poisson count: given y, what was missed is Poisson again. 0 must not count twice."""
    with building(), pm.Model() as model:
        n = pm.Poisson("n", 2.0)
        pm.Gamma("scale", 2.0, 1.0)
        pm.Binomial("y", n=n + 1, p=0.5, observed=1)
    draws = sample(PyMC3Model(model), SmcSpec(draws=2000, chains=4), 3, Listener()).draws
    assert draws["n"].dtype.kind == "i"
    k = np.arange(60)
    posterior = stats.poisson(2.0).pmf(k) * stats.binom(k + 1, 0.5).pmf(1)
    posterior /= posterior.sum()
    assert abs(z_score(draws["n"], float(posterior @ k))) < 4
    assert abs(z_score((draws["n"] == 0).astype(float), float(posterior[0]))) < 4
    assert abs(z_score(draws["scale"], 2.0)) < 4
    assert draws["scale"].min() > 0


def test_imputed_values_are_drawn_from_their_likelihood() -> None:
    observed = np.ma.masked_array([3, 5, 4, 0], mask=[False, False, False, True])
    with building(), pm.Model() as model:
        rate = pm.Gamma("rate", 2.0, 1.0)
        pm.Poisson("y", rate, observed=observed)
    metadata(model).missing["y"] = np.array([False, False, False, True])
    sampled = sample(PyMC3Model(model), SmcSpec(draws=2000, chains=4), 4, Listener())
    shape, inverse = 2.0 + 12, 1.0 + 3
    assert abs(z_score(sampled.draws["rate"], shape / inverse)) < 4
    predictive = stats.nbinom(shape, inverse / (inverse + 1))
    assert abs(z_score(sampled.draws["y_missing"][..., 0], predictive.mean())) < 4
    assert abs(z_score((sampled.draws["y_missing"][..., 0] == 0).astype(float), predictive.pmf(0))) < 4


def test_two_modes_are_found_in_their_proportion() -> None:
    """NUTS never crosses between these modes, which lie 12 of their standard deviations apart."""
    with building(), pm.Model() as model:
        x = pm.Normal("x", 0.0, 3.0)
        pm.Normal("y", pm.math.abs_(x), 0.5, observed=3.0)
    draws = sample(PyMC3Model(model), SmcSpec(draws=1000, chains=4), 5, Listener()).draws["x"]
    share = (draws > 0).mean(axis=1)
    assert abs(share.mean() - 0.5) < 4 * max(share.std(ddof=1) / 2, 0.008)


def test_an_ordered_prior_is_the_ordered_one() -> None:
    with building(), pm.Model() as model:
        pm.Normal("m", 0.0, 1.0, shape=2, transform=pm.distributions.transforms.ordered, testval=[-1.0, 1.0])
    draws = sample(PyMC3Model(model), SPEC, 6, Listener()).draws["m"]
    assert np.all(draws[..., 0] < draws[..., 1])
    assert abs(z_score(draws[..., 1], 1 / np.sqrt(np.pi))) < 4


def test_a_flat_prior_is_told(line: pm.Model) -> None:
    with building(), pm.Model() as model:
        x = pm.Flat("x")
        pm.Normal("y", x, 1.0, observed=0.0)
    with pytest.raises(UserError, match="'x' has a flat prior"):
        sample(PyMC3Model(model), SPEC, 1, Listener())
    (problem,) = SAMPLER.check(PyMC3Model(model), SPEC)
    assert problem.key == "sampler.method"
    assert "flat prior: x" in problem.message
    assert not SAMPLER.check(PyMC3Model(line), SPEC)


def test_a_likelihood_that_is_nowhere_positive_is_told() -> None:
    with building(), pm.Model() as model:
        x = pm.Normal("x", 0.0, 1.0)
        pm.Potential("p", pm.math.switch(x > 50, 0.0, -np.inf))
    with pytest.raises(SamplingError, match="no draw of the prior has a positive likelihood"):
        sample(PyMC3Model(model), SPEC, 1, Listener())


def test_the_monitor_hears_of_each_chain_until_it_is_done(line: pm.Model) -> None:
    listener = Listener()
    sample(PyMC3Model(line), SPEC.model_copy(update={"cores": 1, "chains": 2}), 1, listener)
    for told in listener.told.values():
        assert told == sorted(told)
        assert told[-1] <= 500


def test_an_interrupt_keeps_the_chains_that_are_done(line: pm.Model) -> None:
    def stop(chain: int, done: int, tuning: bool) -> None:
        if not tuning:
            raise TimeIsUp

    spec = SPEC.model_copy(update={"cores": 1, "chains": 60})
    sampled = sample(PyMC3Model(line), spec, 1, Listener(stop))
    assert sampled.interrupted == "max_seconds"
    assert 1 <= sampled.draws["a"].shape[0] < 60
    assert len(sampled.records["moved"][1]) == sampled.draws["a"].shape[0]


def test_an_interrupt_before_any_chain_is_done_leaves_nothing(line: pm.Model) -> None:
    def stop(chain: int, done: int, tuning: bool) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sample(PyMC3Model(line), SmcSpec(draws=20_000, chains=1), 1, Listener(stop))


def test_a_step_keeps_the_effective_share() -> None:
    likelihood = np.random.default_rng(1).normal(0, 50, 1000)
    step = next_step(likelihood, 0.0, 0.5)
    weights = np.exp(step * likelihood - (step * likelihood).max())
    assert weights.sum() ** 2 / (weights**2).sum() / 1000 == pytest.approx(0.5, abs=1e-3)
    assert next_step(np.zeros(10), 0.25, 0.5) == 0.75


def test_the_proposal_is_the_weighted_normal() -> None:
    rng = np.random.default_rng(2)
    points, weights = rng.normal(size=(500, 3)) @ rng.normal(size=(3, 3)), rng.dirichlet(np.ones(500))
    proposal = fit(points, weights)
    np.testing.assert_allclose(proposal.mean, weights @ points)
    law = stats.multivariate_normal(proposal.mean, np.cov(points, rowvar=False, aweights=weights, ddof=0))
    found = proposal.log_density(points)
    np.testing.assert_allclose(found - found[0], law.logpdf(points) - law.logpdf(points[0]), rtol=1e-5, atol=1e-6)
    drawn = Proposal(np.array([1.0]), np.array([[2.0]])).draw(4000, rng)
    assert stats.kstest(drawn[:, 0], stats.norm(1, 2).cdf).pvalue > 1e-3
