"""Ordered logistic levels far from their cutpoints: exact log probabilities and gradients, where PyMC3's are -inf."""

from __future__ import annotations

import numpy as np
import pymc3 as pm
import pytest
import theano
import theano.tensor as tt
from scipy.special import expit

from bayesrun.engines.pymc3.replaced_distributions import OrderedLogistic
from bayesrun.engines.pymc3.theano_setup import building

CUT = np.array([-1.0, 0.5, 3.0])


def exact(eta: float, cut: np.ndarray) -> np.ndarray:
    """Return the probabilities of all levels, subtracted in the tail where nothing cancels."""
    ends = np.concatenate([[-np.inf], cut - eta, [np.inf]])
    lower = expit(ends[1:]) - expit(ends[:-1])
    upper = expit(-ends[:-1]) - expit(-ends[1:])
    return np.where(ends[:-1] > 0, upper, lower)


@pytest.mark.parametrize("eta", [-300.0, -60.0, -2.0, 0.0, 1.0, 45.0, 400.0])
def test_log_probabilities_and_gradients_are_exact_in_the_tails(eta: float) -> None:
    with building(), theano.config.change_flags(compute_test_value="off"):  # PyMC3 turns it on
        at, cut = tt.dscalar("eta"), tt.dvector("cut")
        logs = OrderedLogistic.dist(eta=at, cutpoints=cut, shape=4).logp(np.arange(4))
        function = theano.function([at, cut], [logs, *(tt.grad(logs[k], at) for k in range(4))])
        found, *slopes = function(eta, CUT)
        ends = [function(eta + step, CUT)[0] for step in (1e-5, -1e-5)]
    np.testing.assert_allclose(found, np.log(exact(eta, CUT)), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(slopes, (ends[0] - ends[1]) / 2e-5, rtol=1e-4, atol=1e-6)


def test_levels_by_item_and_cutpoints_that_leave_out_a_level() -> None:
    eta = np.array([[0.3, -1.2], [2.0, 50.0], [-4.0, 0.0]])
    cut = np.array([[-1.0, 0.5, 0.5], [0.0, 1.0, 2.0]])  # the first item has no third level
    value = np.array([[0, 3], [3, 3], [1, 2]])
    with building(), theano.config.change_flags(compute_test_value="off"):
        law = OrderedLogistic.dist(eta=eta, cutpoints=cut, shape=eta.shape)
        point = tt.dmatrix("cut")
        logp = tt.sum(OrderedLogistic.dist(eta=eta, cutpoints=point, shape=eta.shape).logp(value))
        found, slope = law.logp(value).eval(), theano.function([point], tt.grad(logp, point))(cut)
        assert law.logp(np.full(eta.shape, 2)).eval()[0, 0] == -np.inf
        assert law.logp(np.full(eta.shape, 4)).eval()[0, 0] == -np.inf
    for i in range(3):
        for j in range(2):
            assert found[i, j] == pytest.approx(np.log(exact(eta[i, j], cut[j])[value[i, j]]), rel=1e-9)
    assert np.isfinite(slope).all()


def test_it_agrees_with_pymc3_where_that_is_exact() -> None:
    value = np.array([0, 1, 2, 3])
    with building():
        ours, theirs = (
            law.dist(eta=np.array([0.1, -0.4, 1.0, 2.0]), cutpoints=CUT, shape=4).logp(value).eval()
            for law in (OrderedLogistic, pm.OrderedLogistic)
        )
    np.testing.assert_allclose(ours, theirs.ravel(), rtol=1e-10)
