"""`init: auto`: jitter where it is usable, a dense mass matrix where the posterior is strongly correlated."""

from __future__ import annotations

import logging

import numpy as np
import pymc3 as pm
import pytest
import theano.tensor as tt

from bayesrun.errors import UserError
from bayesrun.inference import _nutpie_start, _start
from bayesrun.inference._gradient import compile_gradient
from bayesrun.inference.base import NutsSpec
from bayesrun.inference.theano_setup import building, compiling


def gaussian(precision: np.ndarray):  # type: ignore[no-untyped-def]
    return lambda point: (-0.5 * point @ precision @ point, -precision @ point)


@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.95, -0.999])
def test_the_strongest_correlation_of_a_gaussian_is_exact(correlation: float) -> None:
    covariance = np.diag([1.0, 4.0, 1e-4])
    covariance[0, 1] = covariance[1, 0] = 2 * correlation
    found = _start.strongest_correlation(gaussian(np.linalg.inv(covariance)), np.array([0.3, -0.2, 0.01]))
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
    assert _start.strongest_correlation(density, np.zeros(2)) == 0.0


def test_nutpie_leaves_a_start_that_is_too_steep_to_learn_scales_at() -> None:
    incomes = np.random.default_rng(1).normal(20_000.0, 20_000.0, 1000)
    with building(), pm.Model() as model:
        mean, sigma = pm.Flat("mean"), pm.HalfFlat("sigma")
        pm.Normal("y", mean, sigma, observed=incomes)
    gradient = compile_gradient(model)
    assert np.abs(gradient.density(gradient.start)[1]).max() > 1e10
    points = _nutpie_start.starts(model, gradient, NutsSpec(), [1, 2])
    assert all(np.abs(gradient.density(point)[1]).max() < 1e10 for point in points)
    assert not np.array_equal(*points)


def test_one_parameter_has_no_correlation() -> None:
    assert _start.strongest_correlation(gaussian(np.eye(1)), np.zeros(1)) == 0.0


def chosen(model: pm.Model, caplog: pytest.LogCaptureFixture, init: str = "auto") -> str:
    with caplog.at_level(logging.INFO, "bayesrun.sampling"), model, compiling():
        starts, step = _start.nuts(model, NutsSpec(init=init, chains=3), 1)  # type: ignore[arg-type]
    assert len(starts) == 3
    assert type(step).__name__ == "NUTS"
    return str(caplog.records[-1].getMessage())


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
    with pytest.raises(UserError, match="gradient at the start is not finite in x"), model, compiling():
        _start.nuts(model, NutsSpec(init="adapt_diag"), 1)
