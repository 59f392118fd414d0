"""`init: auto`: jitter where it is usable, a dense mass matrix where the posterior is strongly correlated."""

from __future__ import annotations

import logging

import numpy as np
import pymc3 as pm
import pytest
import theano.tensor as tt

from bayesrun.engines.base import StepSettings
from bayesrun.engines.pymc3.model import PyMC3Model
from bayesrun.engines.pymc3.theano_setup import building
from bayesrun.errors import UserError
from bayesrun.samplers.base import NutsSpec
from bayesrun.samplers.initial_points import initial_points, settle_start, strongest_correlation
from bayesrun.samplers.nuts import sample_with_steps
from tests.unit.samplers.conftest import Listener


def gaussian(precision: np.ndarray):  # type: ignore[no-untyped-def]
    return lambda point: (-0.5 * point @ precision @ point, -precision @ point)


@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.95, -0.999])
def test_the_strongest_correlation_of_a_gaussian_is_exact(correlation: float) -> None:
    covariance = np.diag([1.0, 4.0, 1e-4])
    covariance[0, 1] = covariance[1, 0] = 2 * correlation
    found = strongest_correlation(gaussian(np.linalg.inv(covariance)), np.array([0.3, -0.2, 0.01]))
    assert found == pytest.approx(abs(correlation), abs=0.02)


@pytest.mark.parametrize(
    "density",
    [
        lambda p: (0.0, np.zeros_like(p)),
        lambda p: (float(p.sum()), np.ones_like(p)),
        lambda p: (float("nan"), np.full_like(p, np.nan)),
        gaussian(np.diag([1.0, -1.0])),
    ],
)
def test_without_a_proper_mode_there_is_no_correlation(density) -> None:  # type: ignore[no-untyped-def]
    assert strongest_correlation(density, np.zeros(2)) == 0.0


def test_nutpie_leaves_a_start_that_is_too_steep_to_learn_scales_at() -> None:
    incomes = np.random.default_rng(1).normal(20_000.0, 20_000.0, 1000)
    with building(), pm.Model() as model:
        mean, sigma = pm.Flat("mean"), pm.HalfFlat("sigma")
        pm.Normal("y", mean, sigma, observed=incomes)
    compiled = PyMC3Model(model)
    density = compiled.log_density()
    assert np.abs(density.evaluate(density.initial_point)[1]).max() > 1e10
    points = initial_points(compiled, density, NutsSpec(), [1, 2])
    assert all(np.abs(density.evaluate(point)[1]).max() < 1e10 for point in points)
    assert not np.array_equal(*points)


def test_one_parameter_has_no_correlation() -> None:
    assert strongest_correlation(gaussian(np.eye(1)), np.zeros(1)) == 0.0


def chosen(model: pm.Model, caplog: pytest.LogCaptureFixture, init: str = "auto") -> str:
    spec = NutsSpec(init=init, chains=1, draws=2, tune=2, cores=1)  # type: ignore[arg-type]
    with caplog.at_level(logging.INFO, "bayesrun.sampling"):
        sampled = sample_with_steps(PyMC3Model(model), spec, 1, Listener())
    assert set(sampled.steps.values()) == {"NUTS"}
    (said,) = [r.getMessage() for r in caplog.records if r.getMessage().startswith("init")]
    return said


def test_a_plain_model_gets_jitter_and_a_diagonal(line: pm.Model, caplog: pytest.LogCaptureFixture) -> None:
    assert chosen(line, caplog) == "init: jitter+adapt_diag (chosen by init=auto)"


def test_an_uncentred_predictor_gets_a_dense_matrix(caplog: pytest.LogCaptureFixture) -> None:
    year = np.linspace(3940.0, 3960.0, 30)
    with building(), pm.Model() as model:
        intercept, slope = pm.Normal("intercept", 0.0, 100.0), pm.Normal("slope", 0.0, 10.0)
        pm.Normal("y", intercept + slope * year, 1.0, observed=0.3 * year)
    assert "adapt_full" in chosen(model, caplog)


def test_where_jitter_is_not_usable_there_is_none(caplog: pytest.LogCaptureFixture) -> None:
    with building(), pm.Model() as model:
        x = pm.Normal("x", 0.0, 0.01)
        pm.Potential("p", tt.log(0.01 - tt.sqr(x)))
    assert chosen(model, caplog) == "init: adapt_diag (chosen by init=auto)"


def test_an_init_that_is_asked_for_is_used(line: pm.Model, caplog: pytest.LogCaptureFixture) -> None:
    assert chosen(line, caplog, "adapt_full") == "init: adapt_full"


def test_a_gradient_that_is_not_finite_names_its_variable() -> None:
    with building(), pm.Model() as model:
        pm.Normal("fine", 0.0, 1.0)
        x = pm.Normal("x", 1.0, 1.0, testval=0.0)
        pm.Potential("p", -tt.sqrt(tt.abs_(x)))
    settings = StepSettings(1, 1, {}, "adapt_diag", 0.8, 10)
    with pytest.raises(UserError, match="gradient at the initial point is not finite in x"):
        PyMC3Model(model).step_sampler(settings, 1)


def impossible_at_the_middle(successes: list[int]) -> PyMC3Model:
    """Make a model of a probability `exp(20 b)` whose own start is `b = -50`: `exp(-1000)` is 0 to the last digit."""
    with building(), pm.Model() as model:
        b = pm.Uniform("b", -100.0, 0.0)
        pm.Bernoulli("y", p=tt.exp(20.0 * b), observed=successes)
    return PyMC3Model(model)


def test_a_start_without_likelihood_is_moved_to_a_random_point_of_the_seed(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "bayesrun.sampling")
    points = []
    for seed in (4, 4, 5):
        model = impossible_at_the_middle([1, 0, 1])
        settle_start(model, seed, chosen=False)
        density = model.log_density()
        value, gradient = density.evaluate(density.initial_point)
        assert np.isfinite(value) and np.isfinite(gradient).all()
        points.append(float(density.initial_point[0]))
    assert points[0] == points[1] != points[2]
    assert max(map(abs, points)) <= 2.0
    assert "the likelihood of 'y' is zero at the initial point; chains begin around random point" in caplog.text


def test_a_start_that_is_fine_stays() -> None:
    with building(), pm.Model() as model:
        pm.Normal("y", pm.Normal("x", 3.0, 1.0), 1.0, observed=2.0)
    settle_start(PyMC3Model(model), 1, chosen=False)
    assert PyMC3Model(model).log_density().initial_point == pytest.approx([3.0])


def test_initial_values_of_the_user_are_not_replaced() -> None:
    with pytest.raises(UserError, match="zero at the initial point") as caught:
        settle_start(impossible_at_the_middle([1, 0]), 1, chosen=True)
    assert "random" not in str(caught.value)


def test_data_that_are_impossible_everywhere_are_told() -> None:
    with pytest.raises(UserError, match="zero at the initial point, and at 100 random points"):
        settle_start(impossible_at_the_middle([1, 7]), 1, chosen=False)


def test_a_prior_without_density_at_its_own_start_is_told_at_once() -> None:
    with building(), pm.Model() as model:
        pm.Uniform("outside", 0.0, 1.0, transform=None, testval=3.0)
        pm.Poisson("counts", 2.0, observed=[1, -1])
    with pytest.raises(UserError) as caught:
        settle_start(PyMC3Model(model), 1, chosen=False)
    assert {p.key for p in caught.value.problems} == {"model.priors.outside", "model (counts)"}
    assert "random" not in str(caught.value)
