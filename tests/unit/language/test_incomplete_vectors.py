"""Vectors with missing elements: density, gradient, and what is drawn of them, against SciPy's marginals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy import stats
from scipy.optimize import approx_fprime

from bayesrun.engines.pymc3 import ENGINE
from bayesrun.models.declarative import MODEL, DeclarativeSpec

ROWS = np.random.default_rng(4).normal(size=(12, 3)) * [1.0, 2.0, 0.5] + [0.0, 1.0, -1.0]
GAPS = np.zeros(ROWS.shape, dtype=bool)
GAPS[[0, 1, 1, 4, 6, 7, 7, 7, 9], [1, 0, 2, 2, 0, 0, 1, 2, 1]] = True  # row 7 has no value at all
COVARIANCE = np.array([[1.0, 0.6, 0.1], [0.6, 2.0, -0.3], [0.1, -0.3, 0.8]])
GIVEN = {"cov": COVARIANCE, "chol": np.linalg.cholesky(COVARIANCE), "tau": np.linalg.inv(COVARIANCE)}


def compiled(dist: str, given: str) -> Any:
    prior = {"a": {"dist": "Normal", "mu": 0, "sigma": 1, "dims": ["outcome"]}}
    prior["s"] = {"dist": "HalfNormal", "sigma": 1}
    scale = {"cov": "s ** 2 * M", "chol": "s * M", "tau": "M / s ** 2"}[given]
    body: dict[str, Any] = {"dist": dist, "mu": "a + 0.5 * x", given: scale, "observed": "y"}
    if dist == "MvStudentT":
        body["nu"] = "3 + s"
    data = xr.Dataset(
        {
            "y": (("obs", "outcome"), np.where(GAPS, np.nan, ROWS)),
            "x": ("obs", np.linspace(-1.0, 1.0, len(ROWS))),
            "M": (("row", "column"), GIVEN[given]),
        }
    )
    spec = DeclarativeSpec(name="m", type="declarative", priors=prior, likelihood={"y_obs": body})
    assert MODEL.check is not None
    assert MODEL.check(data, spec) == []
    ENGINE.set_up()
    return ENGINE.compile(MODEL.build(data, spec))


def expected_terms(dist: str, a: Any, s: float) -> Any:
    """The term of each row: SciPy's density of its observed elements."""
    terms = []
    for row, gaps, x in zip(ROWS, GAPS, np.linspace(-1.0, 1.0, len(ROWS)), strict=True):
        seen = ~gaps
        if not seen.any():
            terms.append(np.nan)
            continue
        matrix, mean = s**2 * COVARIANCE[np.ix_(seen, seen)], (a + 0.5 * x)[seen]
        of = (
            stats.multivariate_normal(mean, matrix) if dist == "MvNormal" else stats.multivariate_t(mean, matrix, 3 + s)
        )
        terms.append(of.logpdf(row[seen]))
    return np.array(terms)


@pytest.mark.parametrize("dist", ["MvNormal", "MvStudentT"])
@pytest.mark.parametrize("given", ["chol", "cov", "tau"])
def test_each_row_has_the_density_of_its_observed_elements(dist: str, given: str) -> None:
    model = compiled(dist, given)
    a, s = np.array([0.3, 0.8, -1.2]), 1.3
    draws = {"a": a[None, None], "s": np.array([[s]])}
    np.testing.assert_allclose(model.log_likelihood(["y_obs"], draws)["y_obs"][0, 0], expected_terms(dist, a, s))

    density = model.log_density()
    point = np.array([0.3, 0.8, -1.2, np.log(s)])
    value, gradient = density.evaluate(point)
    prior = stats.norm.logpdf(a).sum() + stats.halfnorm.logpdf(s) + np.log(s)
    np.testing.assert_allclose(value, prior + np.nansum(expected_terms(dist, a, s)))
    np.testing.assert_allclose(gradient, approx_fprime(point, lambda p: density.evaluate(p)[0], 1e-7), rtol=2e-5)


@pytest.mark.parametrize("dist", ["MvNormal", "MvStudentT"])
def test_missing_elements_are_drawn_given_the_others_of_their_row(dist: str) -> None:
    model = compiled(dist, "chol")
    a, s, count = np.array([0.3, 0.8, -1.2]), 1.3, 40_000
    draws = {"a": np.tile(a, (1, count, 1)), "s": np.full((1, count), s)}
    found = model.recover(draws, 1)["y_obs_missing"][0]
    assert found.shape == (count, GAPS.sum())
    x = np.linspace(-1.0, 1.0, len(ROWS))
    for place, (row, element) in enumerate(zip(*np.nonzero(GAPS), strict=True)):
        seen, mean = ~GAPS[row], a + 0.5 * x[row]
        matrix = s**2 * COVARIANCE
        rest = ROWS[row][seen] - mean[seen]
        weights = np.linalg.solve(matrix[np.ix_(seen, seen)], matrix[seen, element]) if seen.any() else rest
        variance = matrix[element, element] - weights @ matrix[seen, element]
        centre = mean[element] + weights @ rest
        if dist == "MvStudentT":
            freedom = 3 + s + seen.sum()
            squares = rest @ np.linalg.solve(matrix[np.ix_(seen, seen)], rest) if seen.any() else 0.0
            variance *= (3 + s + squares) / freedom
            of = stats.t(freedom, centre, np.sqrt(variance))
        else:
            of = stats.norm(centre, np.sqrt(variance))
        # the largest distance of distribution functions; a p-value per place, of nine
        assert stats.kstest(found[:, place], of.cdf).pvalue > 1e-3
    pair = [place for place, (row, _) in enumerate(zip(*np.nonzero(GAPS), strict=True)) if row == 7][:2]
    if dist == "MvNormal":
        rho = COVARIANCE[0, 1] / np.sqrt(COVARIANCE[0, 0] * COVARIANCE[1, 1])
        got = np.corrcoef(found[:, pair].T)[0, 1]
        assert abs(got - rho) < 4 * (1 - rho**2) / np.sqrt(count)
