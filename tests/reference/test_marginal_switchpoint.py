"""Form `marginal` of the switchpoint model has the posterior of form `compound`, which is known exactly."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import arviz as az
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy.special import gammaln, logsumexp
from scipy.stats import chisquare

from bayesrun.engines.pymc3.build import build as pymc3_model
from bayesrun.engines.pymc3.build import metadata
from bayesrun.engines.pymc3.model import PyMC3Model
from bayesrun.engines.pymc3.theano_setup import building, import_pymc3
from bayesrun.models import switchpoint
from bayesrun.samplers import nutpie
from bayesrun.samplers.base import NutsSpec

import_pymc3()
DATA = Path(__file__).resolve().parents[2] / "data" / "mining_disasters.csv"
PRIORS = {
    "switchpoint": {"dist": "DiscreteUniform", "lower": "min(year)", "upper": "max(year)"},
    "early_rate": {"dist": "Exponential", "lam": 1},
    "late_rate": {"dist": "Exponential", "lam": 1},
}


@dataclass(frozen=True)
class Exact:
    """The posterior by conjugacy: given the switchpoint both rates are Gamma."""

    years: np.ndarray
    probability: np.ndarray
    early: tuple[np.ndarray, np.ndarray]
    late: tuple[np.ndarray, np.ndarray]

    @staticmethod
    def of(years: np.ndarray, counts: np.ndarray) -> Exact:
        seen = ~np.isnan(counts)
        before = (years[:, None] >= years) & seen
        after = (years[:, None] < years) & seen
        early = 1 + before @ np.nan_to_num(counts), 1.0 + before.sum(axis=1)
        late = 1 + after @ np.nan_to_num(counts), 1.0 + after.sum(axis=1)
        log = sum(gammaln(shape) - shape * np.log(rate) for shape, rate in (early, late))
        return Exact(years, np.exp(log - logsumexp(log)), early, late)

    def mean(self, of_candidates: np.ndarray) -> float:
        return float(self.probability @ of_candidates)

    def moments(self, which: tuple[np.ndarray, np.ndarray]) -> tuple[float, float]:
        shape, rate = which
        return self.mean(shape / rate), self.mean(shape * (shape + 1) / rate**2)


def built(data: xr.Dataset, spec: switchpoint.SwitchpointSpec) -> Any:
    return pymc3_model(switchpoint.build(data, spec))


@pytest.fixture(scope="module")
def data() -> xr.Dataset:
    table = pd.read_csv(DATA)
    return xr.Dataset({"disasters": ("year", table["n_disasters"].to_numpy(float))}, {"year": table["year"].to_numpy()})


@pytest.fixture(scope="module")
def exact(data: xr.Dataset) -> Exact:
    return Exact.of(data["year"].values, data["disasters"].values)


def _spec(form: str = "marginal", **priors: dict[str, object]) -> switchpoint.SwitchpointSpec:
    made = {"name": "s", "type": "switchpoint", "priors": {**PRIORS, **priors}, "options": {"form": form}}
    return switchpoint.SwitchpointSpec.model_validate(made)


class Nobody:
    def begin(self) -> None:
        pass

    def draw(self, chain: int, done: int, tuning: bool, diverging: bool) -> None:
        """Listen to nothing."""


@pytest.fixture(scope="module")
def draws(data: xr.Dataset) -> dict[str, np.ndarray]:
    with building():
        model = pymc3_model(switchpoint.build(data, _spec()))
    sampled = nutpie.sample(PyMC3Model(model), NutsSpec(draws=5000, chains=4), 1, Nobody())
    recover = metadata(model).recover
    assert recover is not None
    return {**sampled.draws, **recover(sampled.draws, np.random.default_rng(2))}


def _z(draws: np.ndarray, expected: float) -> float:
    return float((draws.mean() - expected) / az.mcse(np.asarray(draws, float)))


def test_the_exact_posterior_is_the_published_one(exact: Exact) -> None:
    assert exact.mean(exact.years) == pytest.approx(1889.7841, abs=5e-5)
    assert exact.probability.max() == pytest.approx(0.2208, abs=5e-5)
    assert exact.moments(exact.early)[0] == pytest.approx(3.08704, abs=5e-6)
    assert exact.moments(exact.late)[0] == pytest.approx(0.93173, abs=5e-6)


def test_rates(draws: dict[str, np.ndarray], exact: Exact) -> None:
    for name, which in (("early_rate", exact.early), ("late_rate", exact.late)):
        mean, square = exact.moments(which)
        assert abs(_z(draws[name], mean)) < 4
        assert abs(_z(draws[name] ** 2, square)) < 4


def test_switchpoints_have_their_exact_probabilities(draws: dict[str, np.ndarray], exact: Exact) -> None:
    assert abs(_z(draws["switchpoint"], exact.mean(exact.years))) < 4
    for year, probability in zip(exact.years, exact.probability, strict=True):
        if probability > 0.001:
            assert abs(_z(draws["switchpoint"] == year, probability)) < 4.5


def test_missing_counts(draws: dict[str, np.ndarray], exact: Exact) -> None:
    missing = draws["disasters_missing"]
    assert missing.shape == (4, 5000, 2)
    for column, year in enumerate((1890, 1934)):
        early, late = (shape / rate for shape, rate in (exact.early, exact.late))
        rate = np.where(exact.years >= year, early, late)
        assert abs(_z(missing[..., column], exact.mean(rate))) < 4


def test_a_switchpoint_is_drawn_from_its_conditional(data: xr.Dataset) -> None:
    """At fixed rates the switchpoint's distribution is the compound model's, value by value."""
    with building():
        model, compound = (
            built(data, _spec()),
            built(data, _spec("compound")),
        )
        logp = compound.fastfn(compound.logpt)
    rates = {"early_rate": np.full((1, 20_000), 2.0), "late_rate": np.full((1, 20_000), 1.3)}
    recover = metadata(model).recover
    assert recover is not None
    drawn = recover(rates, np.random.default_rng(3))["switchpoint"].ravel()
    years = data["year"].values
    point = {"early_rate_log__": np.log(2.0), "late_rate_log__": np.log(1.3), "disasters_missing": np.zeros(2, int)}
    missing = np.where(years[:, None] >= [1890, 1934], 2.0, 1.3).sum(axis=1)  # P(count = 0) is exp(-rate): divide by it
    log = np.array([float(logp({**point, "switchpoint": year})) for year in years]) + missing
    expected = 20_000 * np.exp(log - logsumexp(log))
    often = expected > 5
    seen = np.array([(drawn == year).sum() for year in years])
    scale = seen[often].sum() / expected[often].sum()
    assert chisquare(seen[often], expected[often] * scale).pvalue > 1e-4


@pytest.mark.parametrize("rates", [(3.0, 0.9), (0.2, 5.0), (1.0, 1.0)])
def test_density_is_compounds_summed_over_the_switchpoint(data: xr.Dataset, rates: tuple[float, float]) -> None:
    known = data.assign(disasters=data["disasters"].fillna(1.0))
    spec = {"early_rate": {"dist": "Normal", "mu": 1, "sigma": 2}}  # any continuous prior
    with building():
        model, compound = (
            built(known, _spec(**spec)),
            built(known, _spec("compound", **spec)),
        )
        logp, terms = model.fastfn(model.logpt), compound.fastfn(compound.logpt)
    point = {"early_rate": rates[0], "late_rate_log__": np.log(rates[1])}
    summed = logsumexp([float(terms({**point, "switchpoint": year})) for year in known["year"].values])
    assert float(logp(point)) == pytest.approx(summed, rel=1e-10)


def test_a_rate_below_zero_is_impossible(data: xr.Dataset) -> None:
    with building():
        model = built(data, _spec(early_rate={"dist": "Normal", "mu": 1, "sigma": 2}))
        logp = model.fastfn(model.logpt)
    assert float(logp({"early_rate": -0.5, "late_rate_log__": 0.0})) == -np.inf


def test_a_prior_beyond_the_years_is_kept(data: xr.Dataset) -> None:
    prior = {"dist": "DiscreteUniform", "lower": 1800, "upper": 2000}
    with building():
        model = built(data, _spec(switchpoint=prior))
    recover = metadata(model).recover
    assert recover is not None
    rates = np.ones((1, 5000))  # equal rates: the data say nothing, the prior remains
    drawn = recover({"early_rate": rates, "late_rate": rates}, np.random.default_rng(4))["switchpoint"]
    assert drawn.min() < 1805
    assert drawn.max() > 1995


def test_a_prior_without_end_falls_back_to_compound(data: xr.Dataset, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), building():
        model = built(data, _spec(switchpoint={"dist": "Poisson", "mu": 1890}))
    assert {v.name for v in model.free_RVs} == {
        "switchpoint", "early_rate_log__", "late_rate_log__", "disasters_missing"
    }  # fmt: skip
    assert "form 'compound' is used" in caplog.text


def test_what_is_reported_is_the_compound_model(data: xr.Dataset) -> None:
    with building():
        model = built(data, _spec())
    reported = metadata(model).reported
    assert reported is not None
    assert [v.name for v in reported.observed_RVs] == ["disasters"]
    assert metadata(reported).coords["year_missing"] == [1890, 1934]


def test_a_continuous_prior_is_not_summed_over_whole_years(data: xr.Dataset, caplog: pytest.LogCaptureFixture) -> None:
    """The density of a wide normal prior at all whole years sums to 1, too, but is another model."""
    with caplog.at_level(logging.WARNING), building():
        model = built(data, _spec(switchpoint={"dist": "Normal", "mu": 1890, "sigma": 5}))
    assert "switchpoint" in {v.name for v in model.free_RVs}
    assert "is continuous" in caplog.text
