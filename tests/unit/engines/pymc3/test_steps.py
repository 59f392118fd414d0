"""Which step moves which variable, and what can't be forced."""

from __future__ import annotations

import logging

import numpy as np
import pymc3 as pm
import pytest
import theano.tensor as tt
from theano.compile.ops import as_op

from bayesrun.engines.base import StepSettings
from bayesrun.engines.pymc3.model import PyMC3Model
from bayesrun.engines.pymc3.steps import PyMC3Steps, has_gradient
from bayesrun.engines.pymc3.theano_setup import building
from bayesrun.errors import Problem, UserError
from bayesrun.samplers.base import NutsSpec
from bayesrun.samplers.nuts import SAMPLER
from bayesrun.schema import parse
from tests.unit.samplers.conftest import Listener


@pytest.fixture(scope="module")
def mixed() -> pm.Model:
    """Continuous, positive, binary and counted variables."""
    with building(), pm.Model() as model:
        pm.Normal("x", 0.0, 1.0)
        pm.Gamma("scale", 2.0, 1.0)
        pm.Bernoulli("flag", 0.5)
        pm.Poisson("n", 2.0)
    return model


@pytest.fixture(scope="module")
def rough() -> pm.Model:
    """A density whose gradient in `x` is not known."""

    @as_op(itypes=[tt.dscalar], otypes=[tt.dscalar])
    def rounded(x: np.ndarray) -> np.ndarray:
        return np.asarray(np.round(x))

    with building(), pm.Model() as model:
        x = pm.Normal("x", 0.0, 1.0)
        pm.Normal("z", 0.0, 1.0)
        pm.Normal("y", rounded(x), 1.0, observed=1.0)
    return model


def make(model: pm.Model, **assigned: str) -> PyMC3Steps:
    settings = StepSettings(2, 1, assigned, "adapt_diag", 0.93, 7)
    return PyMC3Model(model).step_sampler(settings, 1)


def faults(model: pm.Model, **assigned: str) -> dict[str, str]:
    with pytest.raises(UserError) as caught:
        make(model, **assigned)
    return {p.key: f"{p.message} | {p.hint}" for p in caught.value.problems}


def test_each_variable_gets_the_step_that_suits_it(mixed: pm.Model) -> None:
    found = make(mixed).steps
    assert found == {"x": "NUTS", "scale": "NUTS", "flag": "BinaryGibbsMetropolis", "n": "Metropolis"}


def test_a_step_can_be_asked_for(mixed: pm.Model) -> None:
    found = make(mixed, x="Slice", scale="Metropolis").steps
    assert (found["x"], found["scale"], found["flag"]) == ("Slice", "Metropolis", "BinaryGibbsMetropolis")


def test_without_a_gradient_nuts_is_not_chosen(rough: pm.Model) -> None:
    assert not has_gradient(rough, rough["x"])
    assert has_gradient(rough, rough["z"])
    assert make(rough).steps["x"] != "NUTS"
    assert make(rough).steps["z"] == "NUTS"


def test_nuts_forced_on_a_discrete_variable_or_without_gradient_is_told(mixed: pm.Model, rough: pm.Model) -> None:
    assert "needs a gradient" in faults(mixed, n="NUTS")["sampler.step.n"]
    assert "needs a gradient" in faults(rough, x="HamiltonianMC")["sampler.step.x"]


def test_all_faults_of_steps_at_once_with_the_nearest_names(mixed: pm.Model) -> None:
    found = faults(mixed, scael="Slice", n="Slice", x="BinaryMetropolis")
    assert "did you mean 'scale'" in found["sampler.step.scael"]
    assert "Slice can't move 'n', whose distribution is Poisson" in found["sampler.step.n"]
    assert "BinaryMetropolis can't move 'x'" in found["sampler.step.x"]


def test_faults_are_told_before_a_run_begins(mixed: pm.Model) -> None:
    spec = NutsSpec(step={"scale": "BinaryMetropolis", "flag": "NUTS"}, engine="nutpie")
    assert [p.key for p in SAMPLER.check(PyMC3Model(mixed), spec)] == [
        "sampler.step.scale",
        "sampler.step.flag",
        "sampler.engine",
    ]
    assert "can't move 'scale'" in SAMPLER.check(PyMC3Model(mixed), spec)[0].message
    assert "discrete variables: flag, n" in SAMPLER.check(PyMC3Model(mixed), NutsSpec(engine="nutpie"))[0].message
    assert not SAMPLER.check(PyMC3Model(mixed), NutsSpec())


def test_an_unknown_step_is_told_without_pymc3() -> None:
    problems: list[Problem] = []
    assert parse(NutsSpec, {"step": {"x": "Slise", "y": "Model"}}, "sampler", problems) is None
    assert [p.key for p in problems] == ["sampler.step.x", "sampler.step.y"]
    assert "'Slice'" in problems[0].message


def test_settings_reach_nuts_beside_other_steps(mixed: pm.Model) -> None:
    methods = make(mixed).methods
    (nuts,) = [m for m in methods if type(m).__name__ == "NUTS"]
    assert (nuts.target_accept, nuts.max_treedepth) == (0.93, 7)
    assert not any(hasattr(method, "methods") for method in methods)


def test_the_log_says_which_step_moves_what(mixed: pm.Model, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "bayesrun.sampling"):
        SAMPLER.sample(PyMC3Model(mixed), NutsSpec(draws=2, tune=2, chains=1, cores=1), 1, Listener())
    said = [r.getMessage() for r in caplog.records]
    assert {"step NUTS: x, scale", "step BinaryGibbsMetropolis: flag", "step Metropolis: n"} <= set(said)
