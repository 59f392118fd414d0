"""Coordinates of strongly correlated posteriors: exact on a Gaussian, none where they would not help."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bayesrun.engines.base import Block, LogDensity
from bayesrun.samplers.base import NutsSpec
from bayesrun.samplers.initial_points import find_coordinates, strongest_correlation
from bayesrun.samplers.nutpie import in_coordinates


def gaussian(covariance: np.ndarray, mean: np.ndarray) -> LogDensity:
    precision = np.linalg.inv(covariance)

    def density(point: Any) -> tuple[float, Any]:
        moved = point - mean
        return float(-0.5 * moved @ precision @ moved), -precision @ moved

    return LogDensity((Block("x", 0, mean.size, (mean.size,)),), np.zeros(mean.size), density)


def strong(scale: float = 1.0) -> np.ndarray:
    sd = np.array([1.0, scale, 3.0])
    return np.outer(sd, sd) * np.array([[1, 0.99, 0], [0.99, 1, 0], [0, 0, 1.0]])


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e3])
def test_they_are_the_posteriors_own_on_a_gaussian(scale: float) -> None:
    found = find_coordinates(gaussian(strong(scale), np.array([1.0, scale, 2.0])), NutsSpec())
    assert found is not None
    np.testing.assert_allclose(found.factor @ found.factor.T, strong(scale), rtol=1e-3, atol=1e-6 * scale)
    np.testing.assert_allclose(found.mode, [1.0, scale, 2.0], rtol=1e-3, atol=1e-3)


def test_starts_that_are_far_off_come_nearer_and_others_stay() -> None:
    found = find_coordinates(gaussian(strong(), np.zeros(3)), NutsSpec())
    assert found is not None
    points = np.array([[0.1, 0.1, 1.0], [1000.0, -1000.0, 0.0]])
    moved = found.nearer(points)
    np.testing.assert_allclose(moved[0], points[0], atol=1e-6)
    away = np.linalg.solve(found.factor, moved[1] - found.mode)
    assert np.max(np.abs(away)) == pytest.approx(20.0)


def test_weak_correlations_have_none() -> None:
    assert find_coordinates(gaussian(np.array([[1, 0.5], [0.5, 1]]), np.zeros(2)), NutsSpec()) is None


def test_an_init_of_ones_own_has_none() -> None:
    assert find_coordinates(gaussian(strong(), np.zeros(3)), NutsSpec(init="jitter+adapt_diag")) is None


def test_a_saddle_has_none() -> None:
    def density(point: Any) -> tuple[float, Any]:
        return float(0.5 * point @ point), point

    assert find_coordinates(LogDensity((Block("x", 0, 2, (2,)),), np.ones(2), density), NutsSpec()) is None


def test_the_mapped_gradient_is_that_of_the_mapped_density() -> None:
    density = gaussian(strong(), np.ones(3)).evaluate
    mapped, shift = np.linalg.cholesky(strong()), np.array([0.5, -0.5, 1.0])
    moved = in_coordinates(density, mapped)
    point, step = np.array([0.3, -1.0, 0.7]), 1e-6
    value, gradient = moved(point, shift)
    assert value == pytest.approx(density(mapped @ point + shift)[0])
    for axis in range(3):
        ahead, back = (moved(point + sign * step * np.eye(3)[axis], shift)[0] for sign in (1, -1))
        assert gradient[axis] == pytest.approx((ahead - back) / (2 * step), rel=1e-5)


@pytest.mark.parametrize(("size", "has"), [(60, True), (150, False)])
def test_a_hierarchy_of_many_parameters_keeps_its_own_coordinates(size: int, has: bool) -> None:
    """The density of a non-centred hierarchy rises as its scale does: its mode does not tell how it is elsewhere."""
    rng = np.random.default_rng(5)
    y = rng.normal(0.0, 1.0, size=size - 2)

    def density(point: np.ndarray) -> tuple[float, np.ndarray]:
        mean, scale, offsets = point[0], np.exp(point[1]), point[2:]
        apart = y - mean - scale * offsets
        value = -0.5 * apart @ apart - 0.5 * offsets @ offsets - 0.5 * (mean**2 + scale**2) / 1e6 + point[1]
        of_scale = scale * (apart @ offsets) - scale**2 / 1e6 + 1
        return float(value), np.r_[apart.sum() - mean / 1e6, of_scale, scale * apart - offsets]

    model = LogDensity((Block("x", 0, size, (size,)),), np.zeros(size), density)
    assert strongest_correlation(density, model.initial_point) > 0.9
    assert (find_coordinates(model, NutsSpec()) is not None) == has


@pytest.mark.parametrize("size", [60, 150])
def test_a_normal_posterior_of_many_parameters_has_them(size: int) -> None:
    covariance = np.full((size, size), 0.95) + 0.05 * np.eye(size)
    assert find_coordinates(gaussian(covariance, np.ones(size)), NutsSpec()) is not None
