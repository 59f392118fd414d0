"""Weights and `observed_if` of multivariate likelihoods: one for each vector, against SciPy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pymc3 as pm
import pytest
import theano
import xarray as xr
import yaml
from scipy import stats
from scipy.special import gammaln

from bayesrun.engines.pymc3.build import build
from bayesrun.models.declarative import DeclarativeSpec, check, static_check
from bayesrun.models.declarative import build as declare

ROWS = 5
RNG = np.random.default_rng(11)
WEIGHTS = np.array([0.5, 2.0, 0.0, 1.0, 3.0])
TRIALS = np.array([6, 9, 4, 7, 5])
COUNTS = np.array([RNG.multinomial(n, [0.2, 0.3, 0.5]) for n in TRIALS])
SHARES = RNG.dirichlet([2.0, 3.0, 4.0], ROWS)
POINTS = RNG.normal(size=(ROWS, 3)) + 1.0
COVARIANCE = np.array([[2.0, 0.3, 0.1], [0.3, 1.0, 0.2], [0.1, 0.2, 1.5]])
K = 0.7
P = np.array([0.2, 0.3, 0.5])
SOFTMAX = np.exp([0.0, K, 0.4]) / np.exp([0.0, K, 0.4]).sum()

Case = tuple[str, np.ndarray, Callable[[int], float]]
CASES: dict[str, Case] = {
    "MvNormal": (
        "mu: k, cov: cov",
        POINTS,
        lambda i: float(stats.multivariate_normal([K] * 3, COVARIANCE).logpdf(POINTS[i])),
    ),
    "MvStudentT": (
        "mu: k, nu: 4, cov: cov",
        POINTS,
        lambda i: float(stats.multivariate_t([K] * 3, COVARIANCE, 4).logpdf(POINTS[i])),
    ),
    "Dirichlet": (
        'a: "stack(k, 2.0, 3.0)"',
        SHARES,
        lambda i: float(stats.dirichlet([K, 2.0, 3.0]).logpdf(SHARES[i])),
    ),
    "Multinomial": (
        'n: n, p: "softmax(stack(0.0, k, 0.4))"',
        COUNTS,
        lambda i: float(stats.multinomial(TRIALS[i], SOFTMAX).logpmf(COUNTS[i])),
    ),
    "MultinomialLogit": (
        'n: n, eta: "stack(k, 0.4)"',
        COUNTS,
        lambda i: float(stats.multinomial(TRIALS[i], SOFTMAX).logpmf(COUNTS[i])),
    ),
    "DirichletMultinomial": (
        'n: n, a: "stack(k, 2.0, 3.0)"',
        COUNTS,
        lambda i: _dirichlet_multinomial(COUNTS[i], np.array([K, 2.0, 3.0])),
    ),
}


def _dirichlet_multinomial(x: np.ndarray, a: np.ndarray) -> float:
    n, total = x.sum(), a.sum()
    whole = gammaln(n + 1) + gammaln(total) - gammaln(n + total)
    return float(whole + (gammaln(x + a) - gammaln(x + 1) - gammaln(a)).sum())


def data(values: np.ndarray) -> xr.Dataset:
    return xr.Dataset(
        {
            "y": (("obs", "part"), values.astype(float)),
            "w": ("obs", WEIGHTS),
            "n": ("obs", TRIALS),
            "seen": ("obs", [1, 0, 1, 1, 0]),
            "cov": (("part", "part_again"), COVARIANCE),
        },
        coords={"obs": np.arange(ROWS), "part": ["a", "b", "c"]},
    )


def spec_of(name: str, modifiers: str) -> DeclarativeSpec:
    own = f"{{dist: {name}, {CASES[name][0]}, observed: y, {modifiers}}}"
    raw = yaml.safe_load(f"priors: {{k: {{dist: HalfNormal, sigma: 1}}}}\nlikelihood: {{y_obs: {own}}}")
    return DeclarativeSpec.model_validate({"name": "m", "type": "declarative", **raw})


def terms(name: str, modifiers: str, frame: xr.Dataset) -> tuple[np.ndarray, Any]:
    spec = spec_of(name, modifiers)
    assert [*static_check(spec), *check(frame, spec)] == []
    with theano.config.change_flags(cxx="", mode="FAST_COMPILE"):
        model: pm.Model = build(declare(frame, spec))
        found = model["y_obs"].logp_elemwiset.eval({model["k"]: K})
        slope = model.dlogp()(model.test_point)
    return found, slope


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with np.errstate(all="ignore"):
        yield


@pytest.mark.parametrize("name", CASES)
def test_a_weight_multiplies_the_term_of_its_vector(name: str) -> None:
    _, values, exact = CASES[name]
    found, slope = terms(name, "weights: w", data(values))
    assert found == pytest.approx([w * exact(i) for i, w in enumerate(WEIGHTS)], rel=1e-9)
    assert np.isfinite(slope).all()


@pytest.mark.parametrize("name", CASES)
def test_a_vector_that_is_not_observed_has_no_term_also_where_it_is_missing(name: str) -> None:
    _, values, exact = CASES[name]
    frame = data(values)
    frame["y"][1] = np.nan
    frame["y"][4, 2] = np.nan
    found, slope = terms(name, "observed_if: seen == 1", frame)
    assert found == pytest.approx([exact(0), 0, exact(2), exact(3), 0], rel=1e-9)
    assert np.isfinite(slope).all()


@pytest.mark.parametrize("name", CASES)
def test_a_plain_likelihood_has_one_term_for_each_vector(name: str) -> None:
    _, values, exact = CASES[name]
    found, _ = terms(name, "weights: null", data(values))
    assert found == pytest.approx([exact(i) for i in range(ROWS)], rel=1e-9)


def test_impossible_counts_concern_their_own_vector_only() -> None:
    frame = data(COUNTS)
    frame["n"][2] = 3
    for name in ("Multinomial", "DirichletMultinomial"):
        found, _ = terms(name, "weights: null", frame)
        assert np.isneginf(found[2]) and np.isfinite(np.delete(found, 2)).all()


FAULTS = [
    ("censored: {upper: 2}", "MvNormal", "MvNormal can't be censored", "weights and observed_if are possible"),
    ("truncated: {lower: 0}", "Dirichlet", "Dirichlet can't be truncated", "weights and observed_if are possible"),
    ("weights: y", "MvNormal", "part", ""),
    ("observed_if: seen >= 0", "MvNormal", "holds for 1 rows whose value is missing", ""),
]


@pytest.mark.parametrize(("modifiers", "name", "message", "hint"), FAULTS, ids=[m for m, *_ in FAULTS])
def test_what_a_vector_can_not_have_is_refused(modifiers: str, name: str, message: str, hint: str) -> None:
    frame = data(CASES[name][1])
    if modifiers.startswith("observed_if"):
        frame["y"][1, 0] = np.nan
    (problem,) = check(frame, spec_of(name, modifiers))
    assert problem.key.startswith(f"model.likelihood.y_obs.{modifiers.split(':')[0]}")
    assert message in problem.message and hint in (problem.hint or "")


def test_a_series_has_no_weights() -> None:
    raw = {
        "name": "m",
        "type": "declarative",
        "priors": {"k": {"dist": "HalfNormal", "sigma": 1}},
        "likelihood": {"y_obs": {"dist": "AR", "rho": [0.5], "sigma": "k", "observed": "w", "weights": "n"}},
    }
    (problem,) = check(data(POINTS), DeclarativeSpec.model_validate(raw))
    assert "AR takes no weights" in problem.message and "depend on each other" in (problem.hint or "")
