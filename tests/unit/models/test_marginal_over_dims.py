"""Discrete variables for each individual, site or row: every sum against the list of all their values.

The expected numbers come from the model as it is written, whose density is added up over all combinations of values of
all elements.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import pytest
import xarray as xr
import yaml
from scipy.optimize import approx_fprime
from scipy.special import logsumexp

from bayesrun.engines.pymc3.build import build as pymc3_model
from bayesrun.engines.pymc3.model import PyMC3Model
from bayesrun.engines.pymc3.theano_setup import building, import_pymc3
from bayesrun.errors import UserError
from bayesrun.language.declaration import Declaration
from bayesrun.models.declarative import DeclarativeSpec, build, check, static_check
from tests.contract.numpy_engine.engine import log_densities

import_pymc3()

CAPTURES = np.array([[1, 0, 1], [0, 0, 0], [0, 1, 0], [0, 0, 0]])
SITE_OF = np.array([2, 0, 0, 1, 2, 0])
SEEN = np.array([1, 0, 1, 0, 0, 0])
LENGTH = np.array([0.3, -1.2, 2.5, 0.1, 1.8, -0.4])
SCHOOL_OF = np.array([0, 0, 1])


def data(**changes: Any) -> xr.Dataset:
    variables: dict[str, Any] = {
        "captures": (("individual", "occasion"), CAPTURES.astype(float)),
        "before": (("individual", "occasion"), (np.cumsum(CAPTURES, axis=1) - CAPTURES > 0).astype(float)),
        "count": ("individual", np.array([3.0, 0.0, 1.0, 2.0])),
        "seen": ("obs", SEEN.astype(float)),
        "length": ("obs", LENGTH),
        "w": ("obs", np.array([1.0, 2.0, 0.5, 1.0, 0.0, 3.0])),
        "in_site": ("obs", SITE_OF),
        "height": ("site", np.array([0.5, -1.0, 0.2])),
        "in_school": ("site", SCHOOL_OF),
        "size": ("school", np.array([1.0, 2.0])),
    }
    return xr.Dataset({**variables, **changes})


@dataclass(frozen=True)
class Case:
    """A model, the values of its variables that are summed out, and parameters at which it is evaluated."""

    text: str
    values: Mapping[str, tuple[range, tuple[int, ...]]]
    points: tuple[Mapping[str, Any], ...]
    changes: Mapping[str, Any] = field(default_factory=dict)


CASES = {
    "capture_recapture": Case(
        """
priors:
  psi: {dist: Uniform, lower: 0, upper: 1}
  p: {dist: Uniform, lower: 0, upper: 1, dims: [occasion]}
  z: {dist: Marginal, of: {dist: Bernoulli, p: psi, dims: [individual]}}
deterministics: {number: sum(z)}
likelihood: {captures: {dist: Bernoulli, p: z * p, observed: captures}}
""",
        {"z": (range(2), (4,))},
        ({"psi": 0.3, "p": np.array([0.2, 0.5, 0.6])}, {"psi": 0.8, "p": np.array([0.1, 0.3, 0.05])}),
    ),
    "behaviour_and_a_missing_capture": Case(
        """
priors:
  psi: {dist: Uniform, lower: 0, upper: 1}
  p: {dist: Uniform, lower: 0, upper: 1}
  c: {dist: Uniform, lower: 0, upper: 1}
  z: {dist: Marginal, of: {dist: Bernoulli, p: psi, dims: [individual]}}
deterministics: {chance: {expr: "z * where(before == 1, c, p)", dims: [individual, occasion]}}
likelihood: {captures: {dist: Bernoulli, p: chance, observed: captures}}
""",
        {"z": (range(2), (4,))},
        ({"psi": 0.3, "p": 0.4, "c": 0.7, "captures_missing": np.zeros(1)},),
        {"captures": (("individual", "occasion"), np.where(np.arange(12).reshape(4, 3) == 1, np.nan, CAPTURES))},
    ),
    "occupancy_by_rows": Case(
        """
priors:
  a: {dist: Normal, mu: 0, sigma: 1}
  p: {dist: Uniform, lower: 0, upper: 1}
  z: {dist: Marginal, of: {dist: Bernoulli, logit_p: a + height, dims: [site]}}
likelihood: {seen: {dist: Bernoulli, p: "z[in_site] * p", observed: seen}}
""",
        {"z": (range(2), (3,))},
        ({"a": 0.4, "p": 0.3}, {"a": -1.0, "p": 0.8}),
    ),
    "a_quantity_over_sites_at_rows_with_weights": Case(
        """
priors:
  a: {dist: Normal, mu: 0, sigma: 1}
  z: {dist: Marginal, of: {dist: Categorical, p: [0.2, 0.3, 0.5], dims: [site]}}
deterministics: {mean: {expr: "a * z + height", dims: [site]}}
likelihood: {length: {dist: Normal, mu: "mean[in_site]", sigma: 1, observed: length, weights: w}}
""",
        {"z": (range(3), (3,))},
        ({"a": 0.4}, {"a": -1.0}),
    ),
    "membership_of_rows_and_two_outcomes": Case(
        """
priors:
  share: {dist: Dirichlet, a: [1, 1, 1]}
  mu: {dist: Normal, mu: 0, sigma: 2, shape: 3}
  k: {dist: Marginal, of: {dist: Categorical, p: share, dims: [obs]}}
likelihood:
  length: {dist: Normal, mu: "mu[k]", sigma: 0.7, observed: length}
  seen: {dist: Bernoulli, logit_p: "where(k == 2, 1, -1)", observed: seen}
""",
        {"k": (range(3), (6,))},
        ({"share": np.array([0.2, 0.5, 0.3]), "mu": np.array([-1.0, 0.3, 2.0])},),
    ),
    "abundance": Case(
        """
priors:
  p: {dist: Uniform, lower: 0, upper: 1}
  n: {dist: Marginal, of: {dist: Binomial, n: 4, p: 0.6, dims: [individual]}}
likelihood: {count: {dist: Binomial, n: n, p: p, observed: count}}
""",
        {"n": (range(5), (4,))},
        ({"p": 0.3}, {"p": 0.9}),
    ),
    "several_variables": Case(
        """
priors:
  a: {dist: Normal, mu: 0, sigma: 1}
  b: {dist: Normal, mu: 0, sigma: 1}
  school_kind: {dist: Marginal, of: {dist: Bernoulli, p: sigmoid(a), dims: [school]}}
  site_kind: {dist: Marginal, of: {dist: Bernoulli, p: "where(school_kind[in_school] == 1, 0.7, 0.2)", dims: [site]}}
  outlier: {dist: Marginal, of: {dist: Bernoulli, p: 0.1, dims: [obs]}}
  era: {dist: Marginal, of: {dist: DiscreteUniform, lower: 0, upper: 2}}
likelihood:
  length:
    {dist: Normal, mu: "b * site_kind[in_site] + 0.2 * era", sigma: "where(outlier == 1, 3, 0.5)", observed: length}
  size: {dist: Normal, mu: school_kind, sigma: 1, observed: size}
""",
        {
            "school_kind": (range(2), (2,)),
            "site_kind": (range(2), (3,)),
            "outlier": (range(2), (6,)),
            "era": (range(3), ()),
        },
        ({"a": 0.4, "b": 1.5},),
    ),
}


def declared(case: Case, **changes: Any) -> Declaration:
    spec = DeclarativeSpec.model_validate({"name": "m", "type": "declarative", **yaml.safe_load(case.text)})
    rows = data(**{**case.changes, **changes})
    assert static_check(spec) == []
    assert check(rows, spec) == []
    return build(rows, spec)


def combinations(case: Case) -> list[dict[str, Any]]:
    """Return all values of all elements of the variables."""
    names = list(case.values)
    spans = [itertools.product(of, repeat=int(np.prod(shape))) for of, shape in case.values.values()]
    shapes = [shape for _, shape in case.values.values()]
    every = itertools.product(*spans)
    return [{n: np.reshape(v, s) for n, v, s in zip(names, values, shapes, strict=True)} for values in every]


@cache
def weights(name: str, number: int, missing: float | None = None) -> np.ndarray:
    """Return the log density of the model as it is written at all combinations, for one of the points."""
    made, point = declared(CASES[name]), dict(CASES[name].points[number])
    if missing is not None:
        point["captures_missing"] = np.full(1, missing)
    assert made.reported is not None
    return np.array([sum(log_densities(made.reported, {**point, **one}).values()) for one in combinations(CASES[name])])


def expected_logs(name: str, number: int) -> np.ndarray:
    """Return these log densities; a missing capture, which is 0 or 1, is summed out, too."""
    if "captures_missing" not in CASES[name].points[number]:
        return weights(name, number)
    return np.logaddexp(weights(name, number, 0.0), weights(name, number, 1.0))


@pytest.mark.parametrize("name", CASES)
def test_the_density_is_the_sum_over_all_values_of_all_elements(name: str) -> None:
    case = CASES[name]
    made = declared(case)
    for number, point in enumerate(case.points):
        expected = logsumexp(expected_logs(name, number))
        assert sum(log_densities(made, point).values()) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("name", CASES)
def test_the_gradient_is_that_of_finite_differences(name: str) -> None:
    with building():
        model = PyMC3Model(pymc3_model(declared(CASES[name])))
    density = model.log_density()
    for shift in (0.0, 0.7):
        point = model.initial_points("jitter+adapt_diag", [1])[0] + shift
        value, gradient = density.evaluate(point)
        assert np.isfinite(value)
        slope = approx_fprime(point, lambda p: density.evaluate(p)[0], 1e-7)
        np.testing.assert_allclose(gradient, slope, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_elements_are_drawn_from_their_exact_distribution(name: str) -> None:
    case, count = CASES[name], 20_000
    made = declared(case)
    point = {n: v for n, v in case.points[0].items() if not n.endswith("_missing")}
    logs = expected_logs(name, 0)
    chances = np.exp(logs - logsumexp(logs))
    assert made.recover is not None
    draws = {n: np.broadcast_to(v, (2, count // 2, *np.shape(v))) for n, v in point.items()}
    found = made.recover(draws, np.random.default_rng(1))
    each = combinations(case)
    for variable, (values, shape) in case.values.items():
        assert found[variable].shape == (2, count // 2, *shape)
        for value in values:
            wanted = np.sum([c * (one[variable] == value) for c, one in zip(chances, each, strict=True)], axis=0)
            wanted = np.minimum(wanted, 1.0)  # up to rounding
            share = (found[variable] == value).mean(axis=(0, 1))
            assert np.all(np.abs(share - wanted) <= 4.5 * np.sqrt(wanted * (1 - wanted) / count) + 1e-9)
    # elements are drawn together: the commonest combination has its own probability
    best = int(np.argmax(chances))
    same = np.ones((2, count // 2), dtype=bool)
    for variable, value in each[best].items():
        same &= (found[variable] == value).reshape(2, count // 2, -1).all(axis=-1)
    assert abs(same.mean() - chances[best]) < 4.5 * np.sqrt(chances[best] * (1 - chances[best]) / count)
    if "number" in found:
        assert np.array_equal(found["number"], found["z"].sum(axis=-1))


OBSERVED = {
    "capture_recapture": ["captures"],
    "occupancy_by_rows": ["seen"],
    "membership_of_rows_and_two_outcomes": ["length", "seen"],
    "abundance": ["count"],
    "several_variables": ["length", "size"],
}


@pytest.mark.parametrize("name", OBSERVED)
def test_the_term_of_an_observation_is_its_density_given_all_others(name: str) -> None:
    case = CASES[name]
    made = declared(case)
    assert made.recover is not None
    assert made.terms is not None
    draws = {n: np.broadcast_to(v, (1, 3, *np.shape(v))) for n, v in case.points[0].items()}
    drawn = {**draws, **made.recover(draws, np.random.default_rng(3))}
    terms = made.terms(drawn)
    assert set(terms) == set(OBSERVED[name])
    for likelihood in OBSERVED[name]:
        values = np.asarray(data()[likelihood].values, dtype=float)
        dims = data()[likelihood].dims
        assert terms[likelihood].shape == (1, 3, *values.shape)
        for draw in range(3):
            fixed = {n: int(drawn[n][0, draw]) for n, (_, shape) in case.values.items() if not shape}
            whole = fixed_total(case, made, fixed)
            for place in np.ndindex(values.shape):
                without = values.copy()
                without[place] = np.nan
                rest = fixed_total(case, declared(case, **{likelihood: (dims, without)}), fixed)
                assert terms[likelihood][0, draw][place] == pytest.approx(whole - rest, rel=1e-9, abs=1e-9)


def fixed_total(case: Case, made: Declaration, fixed: Mapping[str, int]) -> float:
    """Return the log density given variables without dims; they are fixed by a sum over the other values only."""
    if not fixed:
        return sum(log_densities(made, case.points[0]).values())
    text = case.text
    for name, value in fixed.items():
        text = text.replace(f"  {name}: {{dist: Marginal, of: {{dist: DiscreteUniform, lower: 0, upper: 2}}}}\n", "")
        text = text.replace(f"* {name}", f"* {value}")
    changes = {
        item.name: (item.observed.dims, np.where(item.observed.missing.mask, np.nan, item.observed.values))
        for item in made.reported.items  # type: ignore[union-attr]
        if hasattr(item, "observed") and item.observed.missing is not None
    }
    one = Case(text, case.values, case.points, {**case.changes, **changes})
    return sum(log_densities(declared(one), case.points[0]).values())


REFUSED = [
    ("{dist: Bernoulli, p: 'z[in_site] * sigmoid(a)', observed: captures}", "one by one|clash|fit"),
    ("{dist: Bernoulli, p: 'mean(z) * sigmoid(a)', observed: captures}", "'mean' can't be used"),
    ("{dist: Bernoulli, p: 'z[0] * sigmoid(a)', observed: captures}", "can't be indexed in this way"),
]


@pytest.mark.parametrize(("likelihood", "words"), REFUSED)
def test_what_would_need_all_elements_at_once_is_refused(likelihood: str, words: str) -> None:
    text = f"""
priors:
  a: {{dist: Normal, mu: 0, sigma: 1}}
  z: {{dist: Marginal, of: {{dist: Bernoulli, p: 0.5, dims: [individual]}}}}
likelihood: {{captures: {likelihood}}}
"""
    spec = DeclarativeSpec.model_validate({"name": "m", "type": "declarative", **yaml.safe_load(text)})
    found = static_check(spec) or check(data(), spec)
    assert found
    with pytest.raises(UserError, match=words):
        build(data(), spec)


def test_elements_of_two_variables_that_meet_in_each_observation_are_refused() -> None:
    text = """
priors:
  a: {dist: Normal, mu: 0, sigma: 1}
  z: {dist: Marginal, of: {dist: Bernoulli, p: 0.5, dims: [individual]}}
  v: {dist: Marginal, of: {dist: Bernoulli, p: 0.5, dims: [occasion]}}
likelihood: {captures: {dist: Bernoulli, p: sigmoid(a + z + v), observed: captures}}
"""
    spec = DeclarativeSpec.model_validate({"name": "m", "type": "declarative", **yaml.safe_load(text)})
    (problem,) = check(data(), spec)
    assert "'z' (individual) and 'v' (occasion), whose elements can't be summed out one by one" in problem.message
