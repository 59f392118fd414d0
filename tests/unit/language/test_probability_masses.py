"""Log probabilities of discrete distributions are PyMC3's; every discrete distribution of the table has them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pymc3 as pm
import pytest
import theano

from bayesrun.engines.pymc3.lowering import Lowering
from bayesrun.engines.pymc3.random_variables import make_distribution
from bayesrun.language.distributions import FAMILIES
from bayesrun.language.plan import plan
from bayesrun.language.probability_masses import log_probability
from bayesrun.language.scope import Scope

VALUES = np.arange(-1, 12)
POISSON, BINOMIAL = {"dist": "Poisson", "mu": 2.5}, {"dist": "Binomial", "n": 9, "p": 0.3}
PRIORS: list[dict[str, Any]] = [
    {"dist": "Bernoulli", "p": 0.3},
    {"dist": "Bernoulli", "logit_p": -0.4},
    {"dist": "BetaBinomial", "alpha": 2, "beta": 3, "n": 7},
    BINOMIAL,
    {"dist": "Categorical", "p": [0.2, 0.5, 0.3]},
    {"dist": "Constant", "c": 3},
    {"dist": "ConstantDist", "c": 3},
    {"dist": "DiscreteUniform", "lower": 2, "upper": 8},
    {"dist": "DiscreteWeibull", "q": 0.7, "beta": 1.3},
    {"dist": "Geometric", "p": 0.3},
    {"dist": "HyperGeometric", "N": 20, "k": 8, "n": 6},
    {"dist": "NegativeBinomial", "mu": 3, "alpha": 2},
    {"dist": "NegativeBinomial", "p": 0.4, "n": 2},
    {"dist": "OrderedLogistic", "eta": 0.3, "cutpoints": [-1, 0.5, 2]},
    {"dist": "OrderedProbit", "eta": 0.3, "cutpoints": [-1, 0.5, 2]},
    POISSON,
    {"dist": "ZeroInflatedBinomial", "psi": 0.7, "n": 9, "p": 0.3},
    {"dist": "ZeroInflatedNegativeBinomial", "psi": 0.7, "mu": 3, "alpha": 2},
    {"dist": "ZeroInflatedPoisson", "psi": 0.7, "theta": 2},
    {"dist": "Mixture", "w": [0.3, 0.7], "comp_dists": [POISSON, BINOMIAL]},
]


@pytest.fixture(autouse=True)
def _no_c() -> Iterator[None]:
    with theano.config.change_flags(cxx="", mode="FAST_COMPILE"):
        yield


@pytest.mark.parametrize("prior", PRIORS, ids=lambda prior: "-".join(map(str, prior)))
def test_a_distribution_is_pymc3s(prior: dict[str, Any]) -> None:
    this = plan("x", prior, Scope(), "model.priors.x")
    assert this.discrete
    with pm.Model():
        wanted = make_distribution(this, Lowering({})).logp(VALUES if prior["dist"] != "Mixture" else VALUES + 0).eval()
    found = log_probability(this, VALUES)
    assert found.shape == VALUES.shape
    # where a value is not allowed, PyMC3's mixtures and logit forms give something else than zero probability
    inside = VALUES >= 0 if "logit_p" not in prior else (VALUES >= 0) & (VALUES <= 1)
    np.testing.assert_allclose(found[inside], np.broadcast_to(wanted, VALUES.shape)[inside], rtol=1e-7, atol=1e-9)
    assert np.all(found[~inside] == -np.inf)


def test_every_discrete_distribution_of_the_table_is_covered() -> None:
    of_numbers = {name: known for name, known in FAMILIES.items() if known.event == 0 and not known.declared}
    discrete = {name for name, known in of_numbers.items() if known.discrete}
    assert discrete == {prior["dist"] for prior in PRIORS} - {"Mixture"}


def test_truncation_leaves_out_what_lies_beyond() -> None:
    this = plan("x", {**POISSON, "lower": 1, "upper": 4}, Scope(), "model.priors.x")
    assert list(np.isfinite(log_probability(this, VALUES))) == [1 <= value <= 4 for value in VALUES]


def test_parameters_of_rows_meet_values_of_a_column() -> None:
    this = plan("x", {"dist": "Poisson", "mu": [1.0, 2.0, 3.0]}, Scope(), "model.priors.x", ("row",), (3,))
    found = log_probability(this, VALUES[:, None])
    assert found.shape == (len(VALUES), 3)
    assert found[4, 1] == pytest.approx(3 * np.log(2.0) - 2.0 - np.log(6.0))
