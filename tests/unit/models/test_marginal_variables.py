"""Discrete variables that are summed out: densities and draws against sums over their values, and messages."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr
import yaml
from scipy import stats
from scipy.special import logsumexp

from bayesrun.errors import Problem
from bayesrun.language.declaration import Declaration
from bayesrun.language.prior_checks import check_prior
from bayesrun.models.declarative import DeclarativeSpec, build, check, static_check
from tests.contract.numpy_engine.engine import log_densities

COUNTS = np.array([4.0, 5, 2, np.nan, 1, 0, 1])
WIDTH = np.array([0.1, -0.4, 1.2])


def data() -> xr.Dataset:
    counts = ("year", COUNTS)
    return xr.Dataset(
        {"counts": counts, "plain": ("year", np.nan_to_num(COUNTS)), "w": ("item", WIDTH)},
        coords={"year": np.arange(1, 8)},
    )


MODEL = """
priors:
  change: {dist: Marginal, of: {dist: DiscreteUniform, lower: 1, upper: 7}}
  early: {dist: Exponential, lam: 1}
  late: {dist: Exponential, lam: 1}
  a: {dist: Normal, mu: 0, sigma: 1}
deterministics: {rate: {expr: "where(change >= year, early, late)", dims: [year]}}
likelihood:
  counts: {dist: Poisson, mu: rate, observed: counts}
  w: {dist: Normal, mu: a + change, sigma: 2, observed: w}
"""


def spec_of(text: str, **changes: Any) -> DeclarativeSpec:
    raw = {"name": "m", "type": "declarative", **yaml.safe_load(text)}
    for name, change in changes.items():
        raw[name] = {**raw.get(name, {}), **change}
    return DeclarativeSpec.model_validate(raw)


def declared(text: str = MODEL, **changes: Any) -> Declaration:
    spec = spec_of(text, **changes)
    assert static_check(spec) == []
    assert check(data(), spec) == []
    return build(data(), spec)


def joint(early: float, late: float, a: float) -> np.ndarray:
    """Return the log density of the data and each value."""
    seen = ~np.isnan(COUNTS)
    found = []
    for change in range(1, 8):
        rate = np.where(change >= np.arange(1, 8), early, late)
        logs = stats.poisson.logpmf(COUNTS[seen], rate[seen]).sum() + stats.norm.logpdf(WIDTH, a + change, 2).sum()
        found.append(logs - np.log(7))
    return np.array(found)


def test_the_density_is_the_sum_over_all_values() -> None:
    made = declared()
    for point in ({"early": 3.0, "late": 0.8, "a": -1.0}, {"early": 0.5, "late": 2.0, "a": 0.3}):
        terms = log_densities(made, point)
        assert terms["change_marginal"] == pytest.approx(logsumexp(joint(**point)), rel=1e-12)
        assert set(terms) == {"early", "late", "a", "change_marginal"}


def test_the_variable_and_what_follows_from_it_are_drawn_from_their_exact_distribution() -> None:
    made, count = declared(), 40_000
    assert made.recover is not None
    point = {"early": 3.0, "late": 0.8, "a": -1.0}
    found = made.recover({n: np.full((2, count // 2), v) for n, v in point.items()}, np.random.default_rng(1))
    logs = joint(**point)
    chances = np.exp(logs - logsumexp(logs))
    for change, chance in zip(range(1, 8), chances, strict=True):
        assert abs(np.mean(found["change"] == change) - chance) < 4.5 * np.sqrt(chance / count) + 1e-9
    rate = np.where(found["change"][..., None] >= np.arange(1, 8), 3.0, 0.8)
    assert np.array_equal(found["rate"], rate)
    mean = chances[3:].sum() * 3.0 + chances[:3].sum() * 0.8
    assert found["counts_missing"].shape == (2, count // 2, 1)
    assert abs(found["counts_missing"].mean() - mean) < 4.5 * np.sqrt(3.5 / count)


def test_it_is_reported_as_the_model_that_is_written() -> None:
    reported = declared().reported
    assert reported is not None
    assert reported.random("change").plan.family.name == "DiscreteUniform"


def test_values_with_random_probabilities() -> None:
    priors = {
        "p": {"dist": "Dirichlet", "a": [1, 1, 1]},
        "change": {"dist": "Marginal", "of": {"dist": "Categorical", "p": "p"}},
    }
    text = "likelihood: {w: {dist: Normal, mu: 'change - 1', sigma: 1, observed: w}}"
    p = np.array([0.2, 0.3, 0.5])
    terms = log_densities(declared(text, priors=priors), {"p": p})
    wanted = [np.log(p[k]) + stats.norm.logpdf(WIDTH, k - 1, 1).sum() for k in range(3)]
    assert terms["change_marginal"] == pytest.approx(logsumexp(wanted), rel=1e-12)


FAULTS: list[tuple[dict[str, Any], str, str]] = [
    ({"priors": {"change": {"dist": "Marginal"}}}, "priors.change.of", "its distribution"),
    ({"priors": {"change": {"dist": "Marginal", "of": {"dist": "Poison"}}}}, "priors.change.of.dist", "unknown"),
    (
        {"priors": {"change": {"dist": "Marginal", "of": {"dist": "Poisson", "mu": 2}}}},
        "priors.change.of.dist",
        "one of",
    ),
    (
        {"priors": {"change": {"dist": "Marginal", "of": {"dist": "Bernoulli", "p": 0.5, "shape": 2}}}},
        "priors.change.of.shape",
        "name its axes",
    ),
    ({"priors": {"b": {"dist": "Normal", "mu": "change", "sigma": 1}}}, "priors.b", "only likelihoods"),
    ({"deterministics": {"rate": "where(arange(7) < change, early, late)"}}, "deterministics.rate", "unnamed axis"),
    ({"deterministics": {"rate": "late + sum(change >= year)"}}, "deterministics.rate", "'sum' can't be used"),
    (
        {"likelihood": {"w": {"dist": "Normal", "mu": "a + rate[0]", "sigma": 2, "observed": "w"}}},
        "likelihood.w.mu",
        "can't be indexed",
    ),
    ({"potentials": {"b": "change * a"}}, "potentials.b", "only likelihoods"),
    (
        {"priors": {"b": {"dist": "Marginal", "of": {"dist": "Bernoulli", "p": 0.5}}}},
        "priors.b",
        "no likelihood depends on it",
    ),
    (
        {
            "likelihood": {
                "plain": {
                    "dist": "Poisson",
                    "mu": "rate",
                    "observed": "plain",
                    "truncated": {"upper": "20 + change"},
                }
            }
        },
        "likelihood.plain.truncated",
        "can't depend on a variable that is summed out",
    ),
    (
        {"likelihood": {"plain": {"dist": "VonMises", "mu": "rate", "kappa": 1, "observed": "plain"}}},
        "likelihood.plain.dist",
        "can't depend on 'change'",
    ),
]


@pytest.mark.parametrize(("changes", "key", "words"), FAULTS, ids=str)
def test_a_fault_is_a_message_at_its_key(changes: dict[str, Any], key: str, words: str) -> None:
    spec = spec_of(MODEL, **changes)
    found: list[Problem] = [p for n, prior in spec.priors.items() for p in check_prior(f"model.priors.{n}", prior)]
    found = found or static_check(spec) or check(data(), spec)
    assert [p for p in found if p.key == f"model.{key}" and words in f"{p.message} {p.hint}"], found


def test_a_variable_that_nothing_depends_on_is_refused() -> None:
    text = MODEL.replace("a + change", "a").replace("change >= year", "a >= 0")
    assert "nothing to sum out" in static_check(spec_of(text))[0].message
