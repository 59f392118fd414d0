"""Densities of held-out points from draws of exact posteriors of a normal mean, against their closed form."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from bayesrun.diagnostics.numerics.held_out_densities import bridged_density, mean_density


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
        bridged, bridged_error = bridged_density(without, included)
        (plain,), (plain_error,) = mean_density(without[None])
        z.append((bridged - exact) / bridged_error)
        errors.append((bridged - exact, plain - exact, bridged_error, plain_error))
    assert abs(np.mean(z)) < 4 / np.sqrt(40) and 0.7 < np.std(z) < 1.35
    of_bridge, of_mean = (np.sqrt(np.mean(np.square(column))) for column in list(zip(*errors, strict=True))[:2])
    assert of_bridge < 1.1 * of_mean
    if value == 8.0:
        assert of_bridge < 0.5 * of_mean
