"""Ranks of simulation-based calibration: the test of uniformity is exact, and sees what is not uniform."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from bayesrun.diagnostics.calibration import holm, judge_ranks, ranks, simultaneous_bands, uniformity

RNG = np.random.default_rng(3)


def test_ranks_count_the_draws_that_are_less() -> None:
    draws = np.array([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [7.0, 8.0, 9.0]])
    assert ranks(np.array([0.0, 2.5, 10.0]), draws, 0).tolist() == [0, 2, 3]


def test_equal_values_are_placed_at_random() -> None:
    found = ranks(np.ones(4000), np.ones((4000, 3)), 1)
    assert stats.chisquare(np.bincount(found, minlength=4)).pvalue > 0.001


@pytest.mark.parametrize("fits, draws", [(3, 3), (4, 2), (5, 1)])
def test_the_p_value_is_exact(fits: int, draws: int) -> None:
    """Over all possible ranks, as many as uniform ranks have a p-value up to each value that it takes."""
    every = np.array(
        [uniformity(np.array(one), draws).p_value for one in itertools.product(range(draws + 1), repeat=fits)]
    )
    for value in np.unique(every.round(9)):
        assert np.mean(every <= value + 1e-9) == pytest.approx(value, abs=1e-9)


@pytest.mark.parametrize("fits, draws", [(60, 63), (200, 99)])
def test_bands_hold_uniform_ranks_with_their_probability(fits: int, draws: int) -> None:
    bands, tries = simultaneous_bands(fits, draws, 0.9), 2000
    found = RNG.integers(draws + 1, size=(tries, fits))
    below = (found[:, None, :] < np.round(bands.at * (draws + 1))[:, None]).mean(axis=2)
    inside = np.mean(np.all((below >= bands.lower - 1e-12) & (below <= bands.upper + 1e-12), axis=1))
    assert abs(inside - 0.9) < 0.02 + 4 * np.sqrt(0.09 / tries)  # of counts, so that 0.9 itself need not be possible
    assert inside > 0.9 - 4 * np.sqrt(0.09 / tries)
    outside = np.array([uniformity(one, draws).p_value < 0.1 for one in found[:300]])
    assert abs(outside.mean() - 0.1) < 0.02 + 4 * np.sqrt(0.09 / 300)


@pytest.mark.parametrize("shape", [(1.7, 1.0), (0.6, 0.6), (2.0, 2.0)])  # biased, too narrow, too wide posteriors
def test_ranks_that_are_not_uniform_are_seen(shape: tuple[float, float]) -> None:
    found = np.floor(RNG.beta(*shape, size=250) * 64).astype(int)
    assert uniformity(found, 63).p_value < 0.01


def test_several_quantities_are_adjusted_for_their_number() -> None:
    assert holm(np.array([0.01, 0.04, 0.03, 0.5])).tolist() == pytest.approx([0.04, 0.09, 0.09, 0.5])
    tries = [min(one.p_adjusted for one in judge_ranks(RNG.integers(64, size=(50, 8)), 63)) for _ in range(150)]
    assert np.mean(np.array(tries) < 0.1) < 0.1 + 4 * np.sqrt(0.09 / 150)


@pytest.mark.parametrize(
    "shape, reading",
    [((1.7, 1.0), "too low"), ((1.0, 1.7), "too high"), ((0.6, 0.6), "too narrow"), ((2.0, 2.0), "too wide")],
)
def test_the_shape_of_ranks_is_put_into_words(shape: tuple[float, float], reading: str) -> None:
    (judged,) = judge_ranks(np.floor(RNG.beta(*shape, size=(250, 1)) * 64).astype(int), 63)
    assert judged.reading == f"the posterior is {reading}"
