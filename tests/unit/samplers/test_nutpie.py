"""nutpie's engine gives the right posterior, the same one each time, and what it has when it is stopped."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable

import arviz as az
import numpy as np
import pymc3 as pm
import pytest
import theano
import theano.tensor as tt

from bayesrun.engines.pymc3.model import PyMC3Model
from bayesrun.engines.pymc3.theano_setup import building
from bayesrun.errors import SamplingError
from bayesrun.samplers import nutpie
from bayesrun.samplers.base import NutsSpec, Sampled
from bayesrun.samplers.monitors import TimeIsUp

pytest.importorskip("nutpie")

SPEC = NutsSpec(draws=500, tune=500, chains=4)
COVARIANCE = np.array([[1.0, 1.8, 0.0], [1.8, 4.0, 0.0], [0.0, 0.0, 0.01]])


class Listener:
    """Counts what it is told, and stops when asked to."""

    def __init__(self, stop: Callable[[int], None] = lambda done: None) -> None:
        self.told: dict[int, list[int]] = {}
        self.tuning = self.diverging = 0
        self._stop = stop

    def begin(self) -> None:
        pass

    def draw(self, chain: int, done: int, tuning: bool, diverging: bool) -> None:
        self.told.setdefault(chain, []).append(done)
        self.tuning += tuning
        self.diverging += diverging
        self._stop(done)


@pytest.fixture(scope="module")
def gaussian() -> pm.Model:
    """Three correlated Normals of very different scales, and a positive variable beside them."""
    with building(), pm.Model() as model:
        x = pm.MvNormal("x", mu=np.array([1.0, -2.0, 3.0]), cov=COVARIANCE, shape=3)
        scale = pm.Gamma("scale", alpha=4.0, beta=2.0)
        pm.Deterministic("product", scale * x)
    return model


@pytest.fixture(scope="module")
def sampled(gaussian: pm.Model) -> Sampled:
    return nutpie.sample(PyMC3Model(gaussian), SPEC, 1, Listener())


def _z(draws: np.ndarray, expected: float) -> float:
    return float((draws.mean() - expected) / az.mcse(draws))


def test_moments_are_those_of_the_gaussian(sampled: Sampled) -> None:
    x = sampled.draws["x"]
    for i, mean in enumerate((1.0, -2.0, 3.0)):
        assert abs(_z(x[..., i], mean)) < 4
        assert abs(_z((x[..., i] - mean) ** 2, COVARIANCE[i, i])) < 4
    assert abs(_z((x[..., 0] - 1.0) * (x[..., 1] + 2.0), 1.8)) < 4
    assert abs(_z(sampled.draws["scale"], 2.0)) < 4
    assert abs(_z((sampled.draws["scale"] - 2.0) ** 2, 1.0)) < 4


def test_variables_and_statistics_have_their_names_and_shapes(sampled: Sampled) -> None:
    assert {k: v.shape for k, v in sampled.draws.items()} == {
        "x": (4, 500, 3),
        "scale": (4, 500),
        "product": (4, 500, 3),
    }
    names = {"diverging", "energy", "tree_depth", "acceptance_rate", "step_size", "n_steps", "lp"}
    assert set(sampled.stats) == set(sampled.tuning_stats) == names
    assert {v.shape for v in sampled.stats.values()} == {(4, 500)}
    assert set(sampled.steps) == {"x", "scale_log__"}
    assert sampled.interrupted is None


def test_deterministics_and_density_belong_to_their_draws(gaussian: pm.Model, sampled: Sampled) -> None:
    x, scale = sampled.draws["x"], sampled.draws["scale"]
    np.testing.assert_allclose(sampled.draws["product"], scale[..., None] * x)
    logp = gaussian.fastfn(gaussian.logpt)
    for place in [(0, 0), (1, 250), (3, 499)]:
        point = {"x": x[place], "scale_log__": np.log(scale[place])}
        np.testing.assert_allclose(sampled.stats["lp"][place], logp(point))


def test_same_seed_same_draws_however_many_run_at_a_time(gaussian: pm.Model, sampled: Sampled) -> None:
    alone = nutpie.sample(PyMC3Model(gaussian), SPEC.model_copy(update={"cores": 1}), 1, Listener())
    for name, draws in sampled.draws.items():
        np.testing.assert_array_equal(draws, alone.draws[name])
    np.testing.assert_array_equal(sampled.stats["energy"], alone.stats["energy"])


def test_other_seed_and_other_chain_other_draws(gaussian: pm.Model, sampled: Sampled) -> None:
    other = nutpie.sample(PyMC3Model(gaussian), SPEC, 2, Listener())
    assert not np.any(other.draws["scale"] == sampled.draws["scale"])
    assert not np.any(sampled.draws["scale"][0] == sampled.draws["scale"][1])


def test_monitor_hears_of_every_draw_once_and_in_order(gaussian: pm.Model) -> None:
    listener = Listener()
    nutpie.sample(PyMC3Model(gaussian), SPEC, 1, listener)
    assert listener.told == {chain: list(range(1, 1001)) for chain in range(4)}
    assert listener.tuning == 4 * 500


def test_target_accept_and_tree_depth_are_honoured(gaussian: pm.Model) -> None:
    spec = SPEC.model_copy(update={"target_accept": 0.97, "max_treedepth": 2})
    sampled = nutpie.sample(PyMC3Model(gaussian), spec, 1, Listener())
    assert sampled.stats["tree_depth"].max() == 2
    assert sampled.stats["acceptance_rate"].mean() > 0.93


def test_max_seconds_keeps_the_draws_so_far(gaussian: pm.Model) -> None:
    def stop(done: int) -> None:
        if done >= 1500:
            raise TimeIsUp

    sampled = nutpie.sample(
        PyMC3Model(gaussian), SPEC.model_copy(update={"draws": 10_000_000, "chains": 2}), 1, Listener(stop)
    )
    assert sampled.interrupted == "max_seconds"
    chains, length = sampled.draws["scale"].shape
    assert chains * length >= 1000  # the chain that was at 1500 had as many
    assert sampled.stats["lp"].shape == (chains, length)
    assert np.all(sampled.draws["scale"] > 0)


def test_a_signal_keeps_the_draws_so_far(gaussian: pm.Model) -> None:
    thread = threading.Timer(0.7, os.kill, (os.getpid(), signal.SIGINT))
    listener = Listener(lambda done: thread.start() if done == 1000 and not thread.is_alive() else None)
    spec = SPEC.model_copy(update={"draws": 10_000_000, "chains": 1})
    sampled = nutpie.sample(PyMC3Model(gaussian), spec, 1, listener)
    assert sampled.interrupted == "interrupt"
    assert sampled.draws["x"].shape[1] >= 500


def test_an_interrupt_while_tuning_leaves_nothing(gaussian: pm.Model) -> None:
    def stop(done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        nutpie.sample(PyMC3Model(gaussian), SPEC.model_copy(update={"tune": 1_000_000}), 1, Listener(stop))


def test_a_funnel_diverges_and_the_monitor_hears_of_it() -> None:
    with building(), pm.Model() as model:
        v = pm.Normal("v", 0.0, 3.0)
        pm.Normal("x", 0.0, tt.exp(v / 2), shape=9)
    listener = Listener()
    steps_of_ones_own = {"cores": 1, "draws": 3000, "target_accept": 0.79}  # which a few divergences do not change
    sampled = nutpie.sample(PyMC3Model(model), SPEC.model_copy(update=steps_of_ones_own), 3, listener)
    assert sampled.stats["diverging"].sum() > 10
    assert listener.diverging <= sampled.stats["diverging"].sum() + sampled.tuning_stats["diverging"].sum()


def test_slope_on_uncentred_years_needs_no_help() -> None:
    """Correlation of -0.99999 between intercept and slope: a diagonal mass matrix gets an ESS of some 40 here."""
    rng = np.random.default_rng(4)
    year = np.linspace(3940.0, 3960.0, 60)
    with building(), pm.Model() as model:
        intercept, slope = pm.Normal("intercept", 0.0, 100.0), pm.Normal("slope", 0.0, 10.0)
        pm.Normal("y", intercept + slope * year, 1.0, observed=1 + 0.3 * year + rng.normal(size=60))
    sampled = nutpie.sample(PyMC3Model(model), SPEC, 5, Listener())
    assert az.ess(sampled.draws["slope"]) > 400
    assert az.rhat(sampled.draws["slope"]) < 1.02


@pytest.mark.parametrize("init", ["adapt_diag", "jitter+adapt_diag", "adapt_full", "map"])
def test_every_kind_of_init_samples_the_same_posterior(gaussian: pm.Model, init: str) -> None:
    sampled = nutpie.sample(PyMC3Model(gaussian), SPEC.model_copy(update={"init": init}), 6, Listener())
    assert abs(_z(sampled.draws["scale"], 2.0)) < 4


def test_why_a_model_is_not_usable(gaussian: pm.Model) -> None:
    with building(), pm.Model() as discrete:
        pm.Poisson("n", 3.0)
    with building(), pm.Model() as rough:
        x = pm.Normal("x")
        pm.Potential("p", _no_gradient()(x))
    assert nutpie.unusable(PyMC3Model(gaussian)) is None
    assert "tuning" in str(nutpie.unusable(PyMC3Model(gaussian), SPEC.model_copy(update={"tune": 3})))
    assert "discrete variables: n" in str(nutpie.unusable(PyMC3Model(discrete)))
    assert "no gradient" in str(nutpie.unusable(PyMC3Model(rough)))
    assert "no free variables" in str(nutpie.unusable(PyMC3Model(pm.Model())))


def _no_gradient() -> object:
    @theano.compile.ops.as_op(itypes=[tt.dscalar], otypes=[tt.dscalar])
    def rounded(x: np.ndarray) -> np.ndarray:
        return np.asarray(np.round(x))

    return rounded


def test_a_density_that_is_nowhere_finite_is_an_error() -> None:
    with building(), pm.Model() as model:
        x = pm.Normal("x")
        pm.Potential("p", tt.log(-1.0 - tt.sqr(x)))
    with pytest.raises(SamplingError, match="not finite"):
        nutpie.sample(PyMC3Model(model), SPEC, 1, Listener())
