"""The prior in the posterior's place: independent draws, imputed values too, of the model that is reported."""

from __future__ import annotations

import numpy as np
import pymc3 as pm
import pytest

from bayesrun.engines.pymc3.build import metadata
from bayesrun.engines.pymc3.model import PyMC3Model
from bayesrun.engines.pymc3.theano_setup import building
from bayesrun.errors import UserError
from bayesrun.predict.predictive_groups import Wanted, collect
from bayesrun.samplers.prior import SAMPLER, PriorSpec, sample
from tests.unit.samplers.conftest import Listener, z_score

SPEC = PriorSpec(draws=1000, chains=4)


def test_draws_are_those_of_the_prior(line: pm.Model) -> None:
    sampled = sample(PyMC3Model(line), SPEC, 1, Listener())
    assert {k: v.shape for k, v in sampled.draws.items()} == {n: (4, 1000) for n in ("a", "b", "at_two")}
    assert abs(z_score(sampled.draws["a"], 0.0)) < 4
    assert abs(z_score(sampled.draws["a"] ** 2, 4.0)) < 4
    np.testing.assert_allclose(sampled.draws["at_two"], sampled.draws["a"] + 2 * sampled.draws["b"])
    assert sampled.stats == {}
    assert set(sampled.steps) == {"a", "b"}


def test_same_seed_same_draws(line: pm.Model) -> None:
    one, again, other = (sample(PyMC3Model(line), SPEC, seed, Listener()).draws["a"] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert not np.any(one == other)


def test_the_monitor_hears_of_every_chain(line: pm.Model) -> None:
    listener = Listener()
    sample(PyMC3Model(line), SPEC, 1, listener)
    assert listener.told == {chain: [1000] for chain in range(4)}


def test_a_model_that_is_sampled_in_another_form_is_drawn_as_it_is_reported() -> None:
    """What was summed out comes from the prior, not from its conditional given the data."""
    with building(), pm.Model() as reported:
        rate = pm.Exponential("rate", 1.0)
        count = pm.Poisson("count", 3.0)
        pm.Normal("y", rate + count, 1.0, observed=20.0)
    with building(), pm.Model() as model:
        pm.Exponential("rate", 1.0)
    metadata(model).reported = reported
    metadata(model).recover = lambda draws, rng: pytest.fail("recovered from the posterior")
    sampled = sample(PyMC3Model(model), SPEC, 1, Listener())
    idata, _ = collect(PyMC3Model(model), None, sampled, 1, Wanted())
    assert abs(z_score(idata.posterior["count"].values, 3.0)) < 4


def test_a_flat_prior_is_told(line: pm.Model) -> None:
    with building(), pm.Model() as model:
        pm.HalfFlat("x")
    with pytest.raises(UserError, match=r"sampler\.method: .*'x' has a flat prior"):
        sample(PyMC3Model(model), SPEC, 1, Listener())
    (problem,) = SAMPLER.check(PyMC3Model(model), SPEC)
    assert problem.key == "sampler.method"
    assert "flat prior: x" in problem.message
    assert not SAMPLER.check(PyMC3Model(line), SPEC)


def test_what_depends_on_data_alone_has_a_value_at_every_draw() -> None:
    with building(), pm.Model() as model:
        x = pm.Data("x", np.arange(3.0))
        pm.Deterministic("square", x**2)
        pm.Normal("y", pm.Normal("mu", 0.0, 1.0) + x, 1.0, observed=np.zeros(3))
    drawn = PyMC3Model(model).draw_prior(7, 1)
    assert drawn["square"].shape == drawn["y"].shape == (7, 3)
    assert np.all(drawn["square"] == [0.0, 1.0, 4.0])
