"""Latent processes in whitened form: their density, the coordinates that are chosen, and which models have them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr
import yaml
from scipy import stats
from scipy.special import gammaln

from bayesrun.language.declaration import Declaration, Deterministic, Random
from bayesrun.language.operations import evaluate
from bayesrun.language.values import node_of
from bayesrun.models import declarative
from bayesrun.models.declarative import DeclarativeSpec
from bayesrun.models.declarative.whitened_processes import sight_of
from tests.contract.numpy_engine.engine import log_densities

X = np.array([0.0, 0.4, 1.1, 1.5, 2.7, 3.0, 4.2])
COUNTS = np.array([40.0, 37, 29, 3, 0, 9, 77])
LATENT = """
priors:
  alpha: {dist: HalfNormal, sigma: 2}
  b: {dist: Normal, mu: 0, sigma: 1}
  f: {dist: GaussianProcess, x: x, mu: b, kernel: {matern32: {sd: alpha, lengthscale: 1.3}}}
likelihood: {counts: {dist: Poisson, mu: exp(f), observed: k}}
"""


def declared(text: str, counts: Any = COUNTS) -> Declaration:
    data = xr.Dataset({"x": ("row", X), "k": ("row", counts), "w": ("row", np.ones(7))}, coords={"row": np.arange(7)})
    spec = DeclarativeSpec.model_validate({"name": "m", "type": "declarative", **yaml.safe_load(text)})
    assert declarative.static_check(spec) == []
    assert declarative.check(data, spec) == []
    return declarative.build(data, spec)


def variables(made: Declaration) -> set[str]:
    return {item.name for item in made.items if isinstance(item, Random)}


def process_at(made: Declaration, point: dict[str, Any]) -> Any:
    (item,) = [item for item in made.items if isinstance(item, Deterministic) and item.name == "f"]
    return evaluate(node_of(item.value), point.__getitem__)


@pytest.mark.parametrize("counts", [COUNTS, np.where(X == 1.5, np.nan, COUNTS)], ids=["whole", "missing"])
def test_the_density_is_that_of_the_process_in_other_coordinates(counts: Any) -> None:
    made = declared(LATENT, counts)
    assert variables(made) == {"alpha", "b", "f_waves"}
    z = np.random.default_rng(2).normal(size=7)
    missing = {"counts_missing": np.array([2.0])} if np.isnan(counts).any() else {}
    for alpha, b in ((0.7, 0.4), (2.5, -1.0)):
        point = {"alpha": alpha, "b": b, "f_waves": z, **missing}
        f = process_at(made, point)
        steps = 1e-5 * np.eye(7)
        jacobian = [
            process_at(made, {**point, "f_waves": z + step}) - process_at(made, {**point, "f_waves": z - step})
            for step in steps
        ]
        _, volume = np.linalg.slogdet(np.array(jacobian) / 2e-5)
        r = np.sqrt(3) * np.abs(X[:, None] - X[None, :]) / 1.3
        covariance = alpha**2 * (1 + r) * np.exp(-r) + 1e-8 * np.eye(7)
        expected = stats.multivariate_normal(np.full(7, b), covariance).logpdf(f) + volume
        terms = log_densities(made, point)
        assert terms["f_waves"] + terms["f_jacobian"] == pytest.approx(expected, abs=1e-5)


def _spread(text: str, name: str, counts: Any) -> float:
    """Return the sd of the log density given the hyperparameters, less that of standard normal numbers."""
    made, rng, found = declared(text, counts), np.random.default_rng(5), []
    for _ in range(40):
        z = rng.normal(size=7)
        terms = log_densities(made, {"alpha": 2.0, "b": 2.0, name: z})
        found.append(terms[name] + terms.get("f_jacobian", 0.0) + terms["counts"] - stats.norm.logpdf(z).sum())
    return float(np.std(found))


def test_coordinates_are_nearly_those_of_the_posterior() -> None:
    counts = np.where(COUNTS == 0, 5.0, COUNTS)
    noncentred = LATENT.replace("1.3}}", "1.3}}, parameterization: noncentered")
    assert _spread(LATENT, "f_waves", counts) < 1 < 50 < _spread(noncentred, "f_offset", counts)


def test_what_is_reported_is_the_process_as_it_was_written() -> None:
    made = declared(LATENT)
    assert made.reported is not None
    assert variables(made.reported) == {"alpha", "b", "f"}
    assert made.helpers == {"f_waves"}


def test_the_likelihood_of_counts_is_seen_as_their_logarithm() -> None:
    sight = sight_of(lambda f: COUNTS * f - np.exp(f) - gammaln(COUNTS + 1), 7)
    assert sight is not None
    positive = COUNTS > 0
    np.testing.assert_allclose(sight.information[positive], COUNTS[positive], rtol=1e-3)
    np.testing.assert_allclose(sight.target[positive], np.log(COUNTS[positive]), atol=1e-3)
    assert 0 < sight.information[4] < 1 and sight.target[4] < 0  # a count of 0


def test_rows_that_are_missing_say_nothing_and_others_must_be_apart() -> None:
    absent = np.where(COUNTS == 9, np.nan, COUNTS)
    sight = sight_of(lambda f: absent * f - np.exp(f), 7)
    assert sight is not None
    assert sight.information[5] == sight.target[5] == 0
    assert sight_of(lambda f: -((f - np.roll(f, 1)) ** 2), 7) is None
    assert sight_of(lambda f: np.zeros(7), 7) is None
    assert sight_of(lambda f: -0.5 * np.sum(f**2), 7) is None


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("mu: exp(f)", "mu: exp(b + f)"),
        ("mu: exp(f)", 'mu: "exp(cumsum(f))"'),
        ("observed: k", "observed: k, weights: w"),
        ("lengthscale: 1.3}}", "lengthscale: 1.3}}, parameterization: noncentered"),
        ("lengthscale: 1.3}}", "lengthscale: 1.3}}, parameterization: centered"),
        ("likelihood:", 'potentials: {p: "-sum(f ** 2)"}\nlikelihood:'),
    ],
)
def test_other_models_are_sampled_as_before(before: str, after: str) -> None:
    made = declared(LATENT.replace(before, after))
    assert variables(made) & {"f", "f_offset"} and "f_waves" not in variables(made)


def test_a_deterministic_may_stand_between_process_and_likelihood() -> None:
    text = LATENT.replace("mu: exp(f)", "mu: rate").replace(
        "likelihood:", "deterministics: {rate: exp(f)}\nlikelihood:"
    )
    assert "f_waves" in variables(declared(text))
