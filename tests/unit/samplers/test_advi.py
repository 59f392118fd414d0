"""ADVI finds the normal approximation that is known in closed form, says how it got there, and stops when asked."""

from __future__ import annotations

import numpy as np
import pymc3 as pm
import pytest
from scipy import stats

from bayesrun.engines.pymc3.model import PyMC3Model
from bayesrun.engines.pymc3.theano_setup import building
from bayesrun.samplers.advi import SAMPLER, AdviSpec, sample
from bayesrun.samplers.base import Sampled
from bayesrun.samplers.monitors import TimeIsUp
from tests.unit.samplers.conftest import Listener, z_score

SPEC = AdviSpec(draws=1000, chains=4, iterations=20_000)


@pytest.fixture(scope="module")
def fitted(line: pm.Model) -> Sampled:
    return sample(PyMC3Model(line), SPEC, 1, Listener())


def test_the_mean_field_is_the_one_of_a_normal_posterior(
    fitted: Sampled, exact_line: tuple[np.ndarray, np.ndarray]
) -> None:
    """KL(q, N(m, C)) is least at mean m and variances 1 / (C^-1)_ii. The fit itself is noisy: 5% of an sd."""
    mean, covariance = exact_line
    sd = 1 / np.sqrt(np.diag(np.linalg.inv(covariance)))
    for i, name in enumerate("ab"):
        draws = fitted.draws[name]
        assert abs(draws.mean() - mean[i]) < 0.05 * sd[i] + 4 * sd[i] / np.sqrt(draws.size)
        assert abs(draws.std() / sd[i] - 1) < 0.05 + 4 / np.sqrt(2 * draws.size)
    np.testing.assert_allclose(fitted.draws["at_two"], fitted.draws["a"] + 2 * fitted.draws["b"])


def test_full_rank_is_the_posterior_itself(line: pm.Model, exact_line: tuple[np.ndarray, np.ndarray]) -> None:
    mean, covariance = exact_line
    full = sample(PyMC3Model(line), SPEC.model_copy(update={"approximation": "full_rank"}), 1, Listener())
    drawn = np.stack([full.draws[name].ravel() for name in "ab"])
    scale = np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
    assert np.all(np.abs(drawn.mean(axis=1) - mean) < 0.1 * np.sqrt(np.diag(covariance)))
    assert np.all(np.abs(np.cov(drawn) - covariance) < 0.12 * scale)


def test_densities_belong_to_their_draws(line: pm.Model, fitted: Sampled) -> None:
    logp = line.fastfn(line.logpt)
    drawn = np.stack([fitted.draws[name] for name in "ab"], axis=-1)
    for place in [(0, 0), (3, 999)]:
        np.testing.assert_allclose(fitted.stats["lp"][place], logp(dict(zip("ab", drawn[place], strict=True))))
    mean, sd = drawn.mean(axis=(0, 1)), drawn.std(axis=(0, 1))
    expected = stats.norm(mean, sd).logpdf(drawn).sum(axis=-1)
    assert np.abs(fitted.stats["log_q"] - expected).mean() < 0.1


def test_the_elbo_is_below_the_evidence_and_comes_near(
    line: pm.Model, fitted: Sampled, exact_line: tuple[np.ndarray, np.ndarray]
) -> None:
    """The bound's gap is KL(q, posterior) = (log det of the posterior's precision's diagonal over it) / 2."""
    from tests.unit.samplers.conftest import SIGMA, X, Y

    design = np.column_stack([np.ones_like(X), X])
    evidence = stats.multivariate_normal(np.zeros(6), 4 * design @ design.T + SIGMA**2 * np.eye(6)).logpdf(Y)
    precision = np.linalg.inv(exact_line[1])
    gap = 0.5 * (np.log(np.diag(precision)).sum() - np.linalg.slogdet(precision)[1])
    (dims, elbo) = fitted.records["elbo"]
    assert dims == ("iteration",)
    assert len(elbo) == 20_000
    last = elbo[-5000:]
    assert abs(last.mean() - (evidence - gap)) < 0.05 + 4 * last.std() / np.sqrt(len(last))


def test_a_positive_variable_is_drawn_on_its_own_scale() -> None:
    with building(), pm.Model() as model:
        pm.Lognormal("scale", 1.0, 0.5)
    sampled = sample(PyMC3Model(model), SPEC, 2, Listener())
    assert sampled.draws["scale"].min() > 0
    assert abs(z_score(np.log(sampled.draws["scale"]), 1.0)) < 6
    assert sampled.steps == {"scale_log__": "ADVI (mean_field)"} or set(sampled.steps) == {"scale"}


def test_same_seed_same_draws(line: pm.Model) -> None:
    spec = SPEC.model_copy(update={"iterations": 1000})
    one, again, other = (sample(PyMC3Model(line), spec, seed, Listener()).draws["a"] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert not np.any(one == other)


def test_the_monitor_hears_of_every_iteration(line: pm.Model) -> None:
    listener = Listener()
    spec = SPEC.model_copy(update={"iterations": 300})
    sample(PyMC3Model(line), spec, 1, listener)
    assert listener.told == {0: list(range(1, 301))}
    assert spec.steps() == 300


@pytest.mark.parametrize(("stop", "why"), [(TimeIsUp, "max_seconds"), (KeyboardInterrupt, "interrupt")])
def test_an_interrupt_ends_the_fit_and_draws_from_it(line: pm.Model, stop: type[BaseException], why: str) -> None:
    def at_500(chain: int, done: int, tuning: bool) -> None:
        if done == 500:
            raise stop

    sampled = sample(PyMC3Model(line), SPEC, 1, Listener(at_500))
    assert sampled.interrupted == why
    assert sampled.draws["a"].shape == (4, 1000)
    assert len(sampled.records["elbo"][1]) < 501


def test_discrete_variables_are_told() -> None:
    with building(), pm.Model() as model:
        pm.Poisson("n", 2.0)
        pm.Normal("x", 0.0, 1.0)
    (problem,) = SAMPLER.check(PyMC3Model(model), SPEC)
    assert problem.key == "sampler.method"
    assert "discrete: n" in problem.message
