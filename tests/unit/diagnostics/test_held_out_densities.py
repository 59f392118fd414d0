"""Densities of held-out points from draws of exact posteriors of a normal mean, against their closed form."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from bayesrun.diagnostics.numerics.held_out_densities import (
    FEW_DRAWS,
    bridged_ratio,
    deciding_draws,
    mean_density,
    path_density,
    sum_error,
)


def _draws(value: float, seed: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the log likelihood of `value` in draws without and with it, and its exact density: 4 rows, noise 1."""
    rng = np.random.default_rng(seed)
    without = rng.normal(0.0, 0.5, (4, 500))  # flat prior, 4 rows of mean 0
    included = rng.normal(value / 5, np.sqrt(1 / 5), (4, 500))
    return norm.logpdf(value, without), norm.logpdf(value, included), float(norm.logpdf(value, 0, np.sqrt(1.25)))


@pytest.mark.parametrize("value", [0.5, 3.0, 8.0])
def test_both_estimates_are_right_within_their_errors_and_the_bridge_is_the_better_one(value: float) -> None:
    z, errors = [], []
    for seed in range(40):
        without, included, exact = _draws(value, seed)
        bridged, bridged_error, _ = bridged_ratio(without, included)
        (plain,), (plain_error,) = mean_density(without[None])
        z.append((bridged - exact) / bridged_error)
        errors.append((bridged - exact, plain - exact, bridged_error, plain_error))
    assert abs(np.mean(z)) < 4 / np.sqrt(40) and 0.7 < np.std(z) < 1.35
    of_bridge, of_mean = (np.sqrt(np.mean(np.square(column))) for column in list(zip(*errors, strict=True))[:2])
    assert of_bridge < 1.1 * of_mean
    if value == 8.0:
        assert of_bridge < 0.5 * of_mean


def test_fits_of_different_length_are_bridged() -> None:
    z = []
    for seed in range(40):
        without, included, exact = _draws(3.0, seed)
        bridged, error, _ = bridged_ratio(without, included[:, :120])
        z.append((bridged - exact) / error)
    assert abs(np.mean(z)) < 4 / np.sqrt(40) and 0.7 < np.std(z) < 1.35


def test_posteriors_with_nothing_in_common_are_told_and_bridged_by_a_path() -> None:
    value, exact = 100.0, float(norm.logpdf(100.0, 0, np.sqrt(1.25)))
    rng = np.random.default_rng(1)

    def terms(weight: float) -> np.ndarray:
        precision = 4 + weight
        return norm.logpdf(value, rng.normal(weight * value / precision, np.sqrt(1 / precision), (4, 500)))

    fits = {weight: terms(weight) for weight in (0.0, 1.0)}
    first = path_density(fits)
    assert first.gaps == ((0.0, 1.0),) and abs(first.log_density - exact) > 20 * first.mcse
    while (found := path_density(fits)).gaps:
        fits |= {0.5 * sum(gap): terms(0.5 * sum(gap)) for gap in found.gaps}
    assert len(fits) > 8 and found.mcse < 1
    assert abs(found.log_density - exact) < 4 * found.mcse


def test_the_error_of_a_sum_counts_that_points_share_their_draws() -> None:
    """Ten points on one side of the mean: a draw that is good for one is good for all."""
    values = np.linspace(1.0, 2.0, 10)
    exact = norm.logpdf(values, 0, np.sqrt(1.25)).sum()
    z, independent = [], []
    for seed in range(60):
        draws = np.random.default_rng(seed).normal(0.0, 0.5, (4, 500))
        terms = norm.logpdf(values[:, None, None], draws)
        log_mean, mcse = mean_density(terms)
        z.append((log_mean.sum() - exact) / sum_error(terms))
        independent.append((log_mean.sum() - exact) / np.sqrt(np.square(mcse).sum()))
    assert abs(np.mean(z)) < 4 / np.sqrt(60) and 0.75 < np.std(z) < 1.3
    assert np.std(independent) > 2


def test_points_out_of_reach_of_the_draws_are_told() -> None:
    draws = np.random.default_rng(3).normal(0.0, 0.5, (4, 500))
    near, far = deciding_draws(norm.logpdf(np.array([0.5, 12.0])[:, None, None], draws))
    assert near > 1000 and far < FEW_DRAWS
    assert deciding_draws(np.zeros((1, 4, 500))) == pytest.approx([2000.0])
