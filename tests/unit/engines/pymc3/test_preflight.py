"""Before the first draw: every variable whose density is zero at the initial point is named, all at once."""

from __future__ import annotations

import numpy as np
import pymc3 as pm
import pytest
import theano.tensor as tt
from scipy import stats

from bayesrun.engines.pymc3.model import PyMC3Model
from bayesrun.engines.pymc3.theano_setup import building
from bayesrun.errors import UserError


def faults(model: pm.Model) -> dict[str, str]:
    with pytest.raises(UserError) as caught:
        PyMC3Model(model).check_initial_point()
    return {p.key: p.message for p in caught.value.problems}


def test_densities_at_the_start_are_those_of_scipy() -> None:
    with building(), pm.Model() as model:
        x = pm.Normal("x", 1.0, 2.0, testval=0.5)
        pm.Exponential("rate", 3.0, testval=0.2)
        pm.Normal("y", x, 1.0, observed=[0.0, 2.0])
        pm.Potential("p", -tt.sqr(x))
    found = PyMC3Model(model).check_initial_point()
    assert found["x"] == pytest.approx(stats.norm(1, 2).logpdf(0.5))
    assert found["y"] == pytest.approx(stats.norm(0.5, 1).logpdf([0.0, 2.0]).sum())
    assert found["rate_log__"] == pytest.approx(stats.expon(scale=1 / 3).logpdf(0.2) + np.log(0.2))


def test_all_variables_at_fault_are_told_with_their_own_names() -> None:
    with building(), pm.Model() as model:
        pm.Normal("fine", 0.0, 1.0)
        pm.Uniform("outside", 0.0, 1.0, transform=None, testval=3.0)
        pm.Normal("bad_scale", 0.0, -1.0)
        pm.Poisson("counts", 2.0, observed=[1, -1])
    found = faults(model)
    assert set(found) == {"model.priors.outside", "model.priors.bad_scale", "model (counts)"}
    assert "zero at the initial value" in found["model.priors.outside"]
    assert "likelihood of 'counts' is zero" in found["model (counts)"]


def test_a_transformed_variable_is_told_by_the_name_that_the_user_knows() -> None:
    with building(), pm.Model() as model:
        pm.Gamma("scale", -2.0, 1.0, testval=1.0)
    assert set(faults(model)) == {"model.priors.scale"}


def test_what_is_not_a_number_is_said() -> None:
    with building(), pm.Model() as model:
        x = pm.Normal("x", 0.0, 1.0)
        pm.Normal("y", tt.log(x - 1.0), 1.0, observed=1.0)
    assert "not a number" in faults(model)["model (y)"] or "zero" in faults(model)["model (y)"]


def test_a_potential_at_fault_is_told() -> None:
    with building(), pm.Model() as model:
        x = pm.Normal("x", 0.0, 1.0)
        pm.Potential("bound", pm.math.switch(x > 1.0, 0.0, -np.inf))
    assert len(faults(model)) == 1
