"""Simulation-based calibration of the quick paths: nutpie, whitened forms and what is summed out (Talts et al. 2018).

Parameters are drawn from the prior and data from the likelihood; among draws of the posterior given these data the
parameters' ranks are uniform, exactly, whatever the model (doi:10.48550/arXiv.1804.06788).
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from bayesrun.engines.pymc3.build import build as pymc3_model
from bayesrun.engines.pymc3.compiled_functions import begin_run
from bayesrun.engines.pymc3.model import PyMC3Model
from bayesrun.engines.pymc3.theano_setup import building, import_pymc3
from bayesrun.pipeline import load_data
from bayesrun.samplers import nutpie
from bayesrun.samplers.base import NutsSpec
from tests.composing import parsed

pytest.importorskip("nutpie")

FITS, KEPT, BINS = 64, 63, 8
SPEC = NutsSpec(draws=378, tune=300, chains=1, cores=1)
DAYS = 40


class Nobody:
    def begin(self) -> None:
        pass

    def draw(self, chain: int, done: int, tuning: bool, diverging: bool) -> None:
        pass


# the config, the observed data variable, its likelihood, and scalars whose ranks are looked at
CASES = {
    "linear_regression": (["model=linear_regression"], "Y", "Y_obs", ["alpha", "beta", "sigma"]),
    "marginal switchpoint": (["model=switchpoint"], "disasters", "disasters", ["early_rate", "switchpoint"]),
    # not the tutorial's priors, which draw returns beyond any number
    "whitened volatility": (
        [
            "model=stochastic_volatility",
            "model.priors.sigma.lam=20",
            "model.priors.nu={dist: Gamma, alpha: 20, beta: 2}",
        ],
        "returns",
        "r",
        ["nu", "sigma", "s"],
    ),
    "whitened logistic glm": (
        [
            "model=glm_logistic",
            "data.derive={y: 'Y > 0'}",
            "model.formula='y ~ X1'",
            "model.priors.default={dist: Normal, mu: 0, sigma: 1}",
            "model.options.check_design=false",  # some simulated responses are all 0 or all 1
        ],
        "y",
        "y_obs",
        ["Intercept", "X1"],
    ),
    # nor the Cauchy's spreads of thousands, where 300 tuning draws of the non-centred form are too few
    "noncentred hierarchy": (
        ["model=eight_schools", "model.priors.tau={dist: HalfNormal, sigma: 5, transform: softplus}"],
        "effect",
        "y",
        ["mu", "tau", "theta"],
    ),
}


def scalars(draws: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """Return the first number of each variable, over whatever comes before its own dims."""
    return {name: np.asarray(draws[name]).reshape(len(draws[name]), -1)[:, 0] for name in names}


def rank(truth: float, values: Any, seed: int) -> int:
    """Return how many values are less; those that are equal, of a discrete variable, count at random."""
    return int(np.sum(values < truth) + np.random.default_rng(seed).integers(np.sum(values == truth) + 1))


def data_of(config: Any, name: str) -> xr.Dataset:
    data: xr.Dataset = load_data(config)[0]
    if name == "whitened volatility":
        data = data.isel(date=slice(0, DAYS))
    return data.fillna(0)


def model_of(config: Any, data: xr.Dataset) -> Any:
    with building():
        return pymc3_model(config.model_type.build(data, config.model))


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_ranks_of_the_truth_are_uniform(name: str, caplog: pytest.LogCaptureFixture) -> None:
    import_pymc3()
    caplog.set_level(logging.ERROR, "bayesrun")  # each fit says how it is sampled
    overrides, observed, likelihood, wanted = CASES[name]
    config = parsed(*overrides)
    data = data_of(config, name)
    first = PyMC3Model(model_of(config, data))
    prior = first.reported.draw_prior(FITS, 8927)
    truth = scalars(prior, wanted)
    ranks: dict[str, list[int]] = {one: [] for one in wanted}
    for fit in range(FITS):
        begin_run()
        built = model_of(config, data.assign({observed: (data[observed].dims, prior[likelihood][fit])}))
        model = PyMC3Model(built)
        sampled = nutpie.sample(model, SPEC, fit, Nobody())
        draws = {n: v[0] for n, v in model.recover(sampled.draws, fit).items()}
        for one, values in scalars(draws, wanted).items():
            ranks[one].append(rank(truth[one][fit], values[:: SPEC.draws // KEPT], fit))
    for one in wanted:
        counts = np.histogram(ranks[one], bins=BINS, range=(-0.5, KEPT + 0.5))[0]
        assert stats.chisquare(counts).pvalue > 0.001, (one, counts)
