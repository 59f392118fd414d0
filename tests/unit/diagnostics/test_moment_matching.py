"""Moment matching against the exact leave-one-out densities of a conjugate regression with influential points."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
from scipy.stats import norm

from bayesrun.diagnostics.base import GOOD_K
from bayesrun.diagnostics.numerics.moment_matching import Affine, match_moments
from bayesrun.diagnostics.numerics.psis import leave_one_out

_SEEDS = 30
_DRAWS = 2000
_PRIOR_SD = 10.0


@lru_cache(maxsize=1)
def _data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    design = np.c_[np.ones(30), rng.standard_t(2, size=30), rng.normal(size=30)]
    design[0, 1] = 12.0
    response = design @ [1.0, 0.5, -1.0] + rng.normal(size=30)
    response[0] += 12.0
    response[5] -= 5.0
    return design, response


def _posterior(keep: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and covariance of the coefficients given some observations, with sd 1."""
    design, response = _data()
    own = design[keep]
    covariance = np.linalg.inv(own.T @ own + np.eye(3) / _PRIOR_SD**2)
    return covariance @ own.T @ response[keep], covariance


def _density(points: np.ndarray) -> np.ndarray:
    design, response = _data()
    residuals = response - points @ design.T
    return np.asarray(-0.5 * (residuals**2).sum(axis=1) - 0.5 * (points**2).sum(axis=1) / _PRIOR_SD**2)


def test_influential_points_get_their_exact_density() -> None:
    design, response = _data()
    mean, covariance = _posterior(np.ones(30, bool))
    rng = np.random.default_rng(1)
    errors, plain = [], []
    left = np.arange(30) != 0
    own_mean, own_covariance = _posterior(left)
    sd = np.sqrt(1 + design[0] @ own_covariance @ design[0])
    exact = norm.logpdf(response[0], design[0] @ own_mean, sd)
    for _ in range(_SEEDS):
        points = rng.multivariate_normal(mean, covariance, size=_DRAWS)
        found = match_moments(
            points, _density(points), _density, lambda at: norm.logpdf(response[0], at @ design[0]), 1.0, 0.5
        )
        assert found.pareto_k <= GOOD_K
        errors.append(found.elpd - exact)
        plain.append(leave_one_out([norm.logpdf(response[0], points @ design[0])[None]], 1.0).elpd_i[0] - exact)
    assert abs(np.mean(errors)) < 4 * np.std(errors) / np.sqrt(_SEEDS) + 0.02
    assert np.std(errors) < 0.1
    assert abs(np.mean(plain)) > 1.0  # what it is good for


def test_a_point_that_needs_no_map_has_its_plain_estimate() -> None:
    design, response = _data()
    rng = np.random.default_rng(2)
    points = rng.multivariate_normal(*_posterior(np.ones(30, bool)), size=_DRAWS)
    likelihood = norm.logpdf(response[9], points @ design[9])
    found = match_moments(
        points, _density(points), _density, lambda at: norm.logpdf(response[9], at @ design[9]), 1.0, 0.7
    )
    plain = leave_one_out([likelihood[None]], 1.0)
    assert found.elpd == pytest.approx(plain.elpd_i[0], abs=1e-6)
    assert found.pareto_k == pytest.approx(plain.pareto_k[0], abs=1e-6)


def test_the_density_of_points_that_are_not_moved_is_not_computed_again() -> None:
    design, response = _data()
    rng = np.random.default_rng(1)
    points = rng.multivariate_normal(*_posterior(np.ones(30, bool)), size=_DRAWS)
    sizes: dict[str, list[int]] = {"density": [], "likelihood": []}

    def density(at: np.ndarray) -> np.ndarray:
        sizes["density"].append(len(at))
        return _density(at)

    def likelihood(at: np.ndarray) -> np.ndarray:
        sizes["likelihood"].append(len(at))
        return np.asarray(norm.logpdf(response[0], at @ design[0]))

    match_moments(points, _density(points), density, likelihood, 1.0, 0.5)
    assert sizes["density"][-2:] == [_DRAWS // 2] * 2  # one half moved there, the other one back
    assert sizes["likelihood"][-1] == _DRAWS // 2
    assert sizes["likelihood"].count(_DRAWS) == 1 + sizes["density"].count(_DRAWS)


def test_maps_combine_and_go_back() -> None:
    rng = np.random.default_rng(3)
    one, two = (Affine(rng.normal(size=(3, 3)), rng.normal(size=3)) for _ in range(2))
    points = rng.normal(size=(7, 3))
    both = two.after(one)
    assert np.allclose(both(points), two(one(points)))
    assert np.allclose(both.back(both(points)), points)
    assert both.log_volume == pytest.approx(one.log_volume + two.log_volume)
